"""Reader of the outputs of all rules in results/<experiment>."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pandas as pd
import yaml

from lddm.errors import LddmError
from lddm.files import read_json, reading
from lddm.report.plan import Plan
from lddm.settings import Settings, planned
from lddm.settings.build import identity, load
from lddm.task import Task

WHOLE = "settings/whole.yaml"  # written by the workflow before the first job


@dataclass(frozen=True)
class Results:
    """The folder results/<experiment>.

    Attributes:
        root: the folder, at any location.
        settings: the whole config; None = as saved in the folder. Outputs of earlier settings are ignored.
    """

    root: Path
    settings: Settings | None = None

    @classmethod
    def saved(cls, root: Path) -> Results:
        """The results of a folder, with the settings saved in it.

        Raises:
            LddmError: no settings are saved, or this version does not support them.
        """
        return cls(root, _saved(root))

    @property
    def plan(self) -> Plan:
        """Planned outputs of the given settings, or else of those saved in the folder (LddmError if there are none)."""
        return Plan(_saved(self.root) if self.settings is None else self.settings)

    def saved_settings(self) -> dict[str, Any] | None:
        """The config of the current run, or else of the last finished one, as written."""
        if (self.root / WHOLE).is_file():
            with reading(self.root / WHOLE, "settings"):
                return yaml.safe_load(
                    (self.root / WHOLE).read_text(encoding="utf-8")
                )  # written by yaml.safe_dump, e.g. 1.0e-05
        if (self.root / "provenance.json").is_file():
            return read_json(self.root / "provenance.json")["settings"]
        return None

    def pipeline(self) -> str:
        """Identifier of the pipeline with these settings."""
        return identity(self.plan.settings)

    def check_finished(self) -> None:
        """Refuse tables of an earlier config if a run with other settings has been started since.

        Raises:
            LddmError: the last finished run had other settings.
        """
        path = self.root / "provenance.json"
        if not (path.is_file() and (self.root / WHOLE).is_file()):
            return
        if read_json(path).get("pipeline") not in (None, self.pipeline()):
            raise LddmError(
                f"{self.root}: the tables are of an earlier config, and the run of the current one has not finished",
                "run the workflow to its end first",
            )

    def quality(self) -> pd.DataFrame:
        """tables/quality.csv."""
        return self._table("quality")

    def memorisation(self) -> pd.DataFrame:
        """tables/memorisation.csv."""
        return self._table("memorisation")

    def classification(self) -> pd.DataFrame:
        """tables/classification.csv."""
        return self._table("classification")

    def comparisons(self) -> pd.DataFrame:
        """tables/comparisons.csv."""
        return self._table("comparisons")

    def transfer(self) -> pd.DataFrame:
        """tables/transfer.csv."""
        return self._table("transfer")

    def sweep(self) -> pd.DataFrame:
        """tables/sweep.csv; empty without a sweep."""
        return self._table("sweep")

    def sweep_comparisons(self) -> pd.DataFrame:
        """tables/sweep_comparisons.csv; empty without a sweep."""
        return self._table("sweep_comparisons")

    def confusion(self) -> pd.DataFrame:
        """tables/confusion.csv; empty for two classes and for a regression."""
        task = self.task()
        return pd.DataFrame() if task.kind == "binary" or task.is_regression else self._table("confusion")

    def task(self) -> Task:
        """The task, i.e. the kind of label."""
        return Task.of_meta(self.meta())

    def _table(self, name: str) -> pd.DataFrame:
        path = self.root / "tables" / f"{name}.csv"
        if not path.is_file():
            raise LddmError(f"{path} does not exist", "run the rule tabulate")
        return pd.read_csv(path, keep_default_na=False, na_values=[""])

    def absent_metrics(self) -> dict[str, str]:
        """Metrics without any value -> reason."""
        plan = self.plan
        files = [self.root / path for path in planned.quality_files(plan.settings)]
        rows = [row for path in files for row in read_json(path)]
        present = {row["metric"] for row in rows if row["value"] is not None}
        return {row["metric"]: row.get("reason", "") for row in rows if row["metric"] not in present}

    def classification_runs(self) -> list[dict[str, Any]]:
        """seed-<s>.json of each fold, network and regime."""
        plan = self.plan
        return [
            read_json(self.root / f"fold-{fold}/classification/{classifier}/{regime}/seed-{seed}.json")
            for fold in plan.folds
            for classifier, regime in plan.settings.classification.cells()
            for seed in plan.seeds
        ]

    def folds(self) -> list[int]:
        """Folds that are run."""
        return list(self.plan.folds)

    def leftovers(self) -> list[str]:
        """Unused folders and files of earlier settings; topmost ones only, relative to the results folder."""
        plan, found = self.plan, list[str]()
        for depth in range(1, 6):
            for path in sorted(self.root.glob("/".join(["fold-*", *["*"] * (depth - 1)]))):
                name = path.relative_to(self.root).as_posix()
                inside = any(name.startswith(f"{other}/") for other in found)
                if not inside and not path.name.startswith(".") and not plan.makes(name):
                    found.append(name)
        return found

    def meta(self) -> dict[str, Any]:
        """Size, frame rate and classes of the preprocessed data."""
        return read_json(self.root / "data/frames/meta.json")

    def videos(self) -> pd.DataFrame:
        """The completed index: one row per file, with the reason if excluded."""
        return pd.read_parquet(self.root / "data/frames/videos.parquet")

    def splits(self) -> pd.DataFrame:
        """Assignment of files and patients to the sets of each fold."""
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
        """Generator -> (clips uint8 (n, T + 1, S, S), manifest) of a fold and source.

        Raises:
            LddmError: planned videos are missing.
        """
        plan, found = self.plan, {}
        for name in plan.scored[1:]:
            if source not in plan.sources(name):
                continue
            folder = self.root / f"fold-{fold}/synthetic/{name}/{source}"
            shards = [folder / f"shard-{shard}.parquet" for shard in plan.shards]
            if missing := [shard for shard in shards if not shard.is_file()]:
                raise LddmError(f"{missing[0]} does not exist", "run the workflow to its end, or the rule synthesize")
            arrays = [np.load(s.with_suffix(".npy"), mmap_mode="r", allow_pickle=False) for s in shards]
            table = pd.concat([pd.read_parquet(s) for s in shards], ignore_index=True)
            found[name] = np.concatenate(arrays), table
        return found

    def copies(self, fold: int, generator: str) -> pd.DataFrame | None:
        """The nearest training clip of each video of a generator; None if no search was done."""
        path = self.root / f"fold-{fold}/quality/{generator}_copies.csv"
        return pd.read_csv(path) if generator in self.plan.scored and path.is_file() else None

    def jobs(self) -> list[dict[str, Any]]:
        """The newest finished record of each job of the current settings, oldest job first."""
        return sorted((record for _, record in self._records()), key=lambda record: record["started"])

    def training_logs(self) -> dict[str, pd.DataFrame]:
        """Metrics over steps of the newest finished attempt of each training job, one column per name.

        Keys are "<rule> <wildcards>", e.g. "train_generator fold-0_generator-lddm".
        """
        logs = {}
        for folder, record in self._records():
            lines = folder / "metrics.jsonl"
            if not record["rule"].startswith("train_") or not lines.is_file():
                continue
            rows = [json.loads(text) for text in lines.read_text().splitlines()]
            table = pd.DataFrame([{"step": row["step"], **row["values"]} for row in rows])
            logs[f"{record['rule']} {folder.parent.name}"] = table.groupby("step").first().reset_index()
        return dict(sorted(logs.items()))

    def _records(self) -> Iterator[tuple[Path, dict[str, Any]]]:
        """Folder and content of the newest finished record of each job of the current settings.

        Attempts are ordered by number, because their names contain the time and clocks can be set back. Sweep points share a
        folder of records with the ablation, but each is a separate job.
        """
        plan = self.plan
        newest: dict[tuple[Path, str], tuple[Path, dict[str, Any]]] = {}
        for path in sorted(self.root.glob("records/*/*/*/record.json")):
            record = read_json(path)
            if record["status"] != "FINISHED":
                continue
            names = [relative_name(output, record) for output in record["outputs"]]
            point = next((str(PurePosixPath(name).parent) for name in names if "/sweep/" in name), "")
            job = path.parents[1], point
            if job not in newest or record["attempt"] >= newest[job][1]["attempt"]:
                newest[job] = path.parent, record | {"names": names}
        for folder, record in newest.values():
            if not record["names"] or any(map(plan.makes, record["names"])):
                yield folder, record


def _saved(root: Path) -> Settings:
    raw = Results(root).saved_settings()
    if raw is None:
        raise LddmError(
            f"{root} has neither {WHOLE} nor provenance.json, which contain the settings of its run",
            "check the path, or run the workflow to its end",
        )
    try:
        return load(raw)
    except LddmError as error:
        raise LddmError(
            f"the settings of {root} are not valid in this version of lddm: {error.message}",
            "run the workflow again with this version",
        ) from error


def relative_name(output: dict[str, Any], record: dict[str, Any]) -> str:
    """Path of a recorded output relative to results/<experiment>; unchanged if it is outside."""
    if output.get("name"):
        return output["name"]
    parts = PurePosixPath(output["path"]).parts  # records of lddm 0.1.0 have only the path below the working directory
    place = parts.index(record["experiment"]) + 1 if record.get("experiment") in parts else 0
    return str(PurePosixPath(*parts[place:]))


def flat(values: Any, prefix: str = "") -> dict[str, Any]:
    """Nested settings by flat key, e.g. diffusion.training.steps; lists as JSON with sorted keys."""
    if not isinstance(values, dict):
        return {prefix: values if not isinstance(values, list) else json.dumps(values, sort_keys=True, default=str)}
    return {k: v for key, value in values.items() for k, v in flat(value, f"{prefix}.{key}" if prefix else key).items()}
