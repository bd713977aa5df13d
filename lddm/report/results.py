"""Reading what the other rules left in results/<experiment>; the report knows files, not code."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lddm.errors import LddmError
from lddm.files import read_json


@dataclass(frozen=True)
class Results:
    """The folder results/<experiment>."""

    root: Path

    def quality(self) -> pd.DataFrame:
        """tables/quality.csv."""
        return self._table("quality")

    def classification(self) -> pd.DataFrame:
        """tables/classification.csv."""
        return self._table("classification")

    def comparisons(self) -> pd.DataFrame:
        """tables/comparisons.csv."""
        return self._table("comparisons")

    def sweep(self) -> pd.DataFrame:
        """tables/sweep.csv; no rows without a sweep."""
        return self._table("sweep")

    def sweep_comparisons(self) -> pd.DataFrame:
        """tables/sweep_comparisons.csv; no rows without a sweep."""
        return self._table("sweep_comparisons")

    def _table(self, name: str) -> pd.DataFrame:
        path = self.root / "tables" / f"{name}.csv"
        if not path.is_file():
            raise LddmError(f"{path} does not exist", "run the rule tabulate")
        return pd.read_csv(path, keep_default_na=False, na_values=[""])

    def absent_metrics(self) -> dict[str, str]:
        """Metric -> why it is absent, where it is absent everywhere."""
        rows = [row for path in sorted(self.root.glob("fold-*/quality/*.json")) for row in read_json(path)]
        present = {row["metric"] for row in rows if row["value"] is not None}
        return {row["metric"]: row.get("reason", "") for row in rows if row["metric"] not in present}

    def classification_runs(self) -> list[dict[str, Any]]:
        """All seed-<s>.json."""
        return [read_json(path) for path in sorted(self.root.glob("fold-*/classification/*/*/seed-*.json"))]

    def folds(self) -> list[int]:
        """Folds that were run."""
        return sorted(int(path.name.removeprefix("fold-")) for path in self.root.glob("fold-*") if path.is_dir())

    def meta(self) -> dict[str, Any]:
        """Size, frame rate, classes of the preprocessed data."""
        return read_json(self.root / "data/frames/meta.json")

    def videos(self) -> pd.DataFrame:
        """The completed index: a row a file, with the reason if it was excluded."""
        return pd.read_parquet(self.root / "data/frames/videos.parquet")

    def splits(self) -> pd.DataFrame:
        """Which patient is in which part of which fold."""
        return pd.read_parquet(self.root / "data/splits.parquet")

    def real_clip(self, clip_id: str) -> np.ndarray:
        """A real clip: uint8 (T + 1, S, S)."""
        return self.real_clips([clip_id])[0]

    def real_clips(self, clip_ids: list[str]) -> np.ndarray:
        """Real clips: uint8 (n, T + 1, S, S)."""
        first = pd.read_parquet(self.root / "data/frames/clips.parquet").set_index("clip_id")["first_frame"]
        frames = np.load(self.root / "data/frames/frames.npy", mmap_mode="r", allow_pickle=False)
        length = self.meta()["clip_length"] + 1
        return np.stack([frames[start : start + length] for start in first.loc[clip_ids]])

    def synthetic(self, fold: int, source: str) -> dict[str, tuple[np.ndarray, pd.DataFrame]]:
        """Generator -> (clips uint8 (n, T + 1, S, S), manifest) of a fold and source."""
        found = {}
        for folder in sorted((self.root / f"fold-{fold}/synthetic").glob(f"*/{source}")):
            shards = sorted(folder.glob("shard-*.parquet"))
            if shards:
                arrays = [np.load(s.with_suffix(".npy"), mmap_mode="r", allow_pickle=False) for s in shards]
                table = pd.concat([pd.read_parquet(s) for s in shards], ignore_index=True)
                found[folder.parent.name] = np.concatenate(arrays), table
        return found

    def copies(self, fold: int, generator: str) -> pd.DataFrame | None:
        """The nearest training clip of each video of a generator; None if they were not searched for."""
        path = self.root / f"fold-{fold}/quality/{generator}_copies.csv"
        return pd.read_csv(path) if path.is_file() else None

    def jobs(self) -> list[dict[str, Any]]:
        """The newest record of each job, oldest job first."""
        newest: dict[Path, dict[str, Any]] = {}
        for path in sorted(self.root.glob("records/*/*/*/record.json")):
            record = read_json(path)
            known = newest.get(path.parents[1])
            if record["status"] == "FINISHED" and (known is None or record["attempt"] >= known["attempt"]):
                newest[path.parents[1]] = record
        return sorted(newest.values(), key=lambda record: record["started"])

    def settings(self) -> dict[str, Any]:
        """The settings of all jobs by flat key, e.g. diffusion.training.steps."""
        flat: dict[str, Any] = {}
        for job in self.jobs():
            flat |= _flat(job["settings"])
        return flat

    def training_logs(self) -> dict[str, pd.DataFrame]:
        """Newest finished attempt of each training job -> its metrics over steps, a column a name.

        Keys are "<rule> <wildcards>", e.g. "train_generator fold-0_generator-lddm".
        """
        logs = {}
        for folder in sorted(path for path in self.root.glob("records/train_*/*") if path.is_dir()):
            # by number and not by name: names hold the time, and clocks can go backwards
            records = [(read_json(path), path) for path in sorted(folder.glob("*/record.json"))]
            finished = [(record.get("attempt", 1), path) for record, path in records if record["status"] == "FINISHED"]
            if not finished or not (lines := max(finished)[1].with_name("metrics.jsonl")).is_file():
                continue
            rows = [json.loads(text) for text in lines.read_text().splitlines()]
            table = pd.DataFrame([{"step": row["step"], **row["values"]} for row in rows])
            logs[f"{folder.parent.name} {folder.name}"] = table.groupby("step").first().reset_index()
        return logs

    def pipeline(self) -> str:
        """Identity of the pipeline whose records are the newest."""
        records = sorted(self.root.glob("records/*/*/*/record.json"), key=lambda path: path.parent.name)
        return read_json(records[-1])["pipeline"] if records else "by-hand"


def _flat(values: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(values, dict):
        return {prefix: values if not isinstance(values, list) else str(values)}
    return {
        k: v for key, value in values.items() for k, v in _flat(value, f"{prefix}.{key}" if prefix else key).items()
    }
