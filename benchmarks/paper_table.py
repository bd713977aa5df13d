"""Tables of `benchmarks.paper`: means over trainings with intervals over patients and trainings, and differences."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import t as student_t

from lddm.files import atomic_path, read_json
from lddm.metrics.catalogue import about
from lddm.settings import Settings
from lddm.settings.planned import scored
from lddm.statistics.jackknife import standard_error
from lddm.statistics.p_values import holm

# (experiment, generator) -> name in the table, in the order of the table.
METHODS = {
    ("paper", "real"): "real videos",
    ("paper", "lddm"): "LDDM (paper variant)",
    ("ours", "lddm"): "LDDM (ours)",
    ("paper", "cinn"): "cINN (published)",
    ("paper", "motion_transfer"): "motion transfer",
    ("paper", "static"): "x0 repeated",
    ("paper", "pixel"): "pixel diffusion",
    ("paper", "reconstruction"): "reconstruction (paper variant)",
    ("ours", "reconstruction"): "reconstruction (ours)",
}
OURS = "LDDM (paper variant)"  # method compared with all others
REFERENCES = ("heldout", "same x0")
MAY_BE_NEGATIVE = ("kernel_video", "kvd", "kid", "jedi_unbiased")  # unbiased estimates of a distance
# Columns of table.md; every other row with these references is in quality.csv.
FIRST: tuple[str, ...] = ("fvd", "kvd", "dt_fvd", "lpips", "lpips_vgg", "lpips_alex", "frechet_video")
FIRST += ("flow_magnitude", "temporal_difference", "strain_error", "l1", "perceptual")


@dataclass(frozen=True)
class Sources:
    """Results of one experiment.

    Attributes:
        folder: results/<experiment>.
        settings: settings of the experiment.
    """

    folder: Path
    settings: Settings

    @cached_property
    def rows(self) -> pd.DataFrame:
        """Rows of quality.csv for all trainings, with the additional columns `training` and `replicates`."""
        found = []
        for fold in range(self.settings.split.folds_to_run):
            for name in scored(self.settings):
                path = self.folder / f"fold-{fold}/quality/{name}.json"
                found += [row | {"training": 0} for row in read_json(path)]
            for path in sorted((self.folder / f"study/trainings/fold-{fold}").glob("*.json")):
                number = int(path.stem.rsplit("-", 1)[1])
                found += [row | {"training": number} for row in read_json(path)["rows"]]
        table = pd.DataFrame(found)
        return table[table["source"] == "heldout"].reset_index(drop=True)

    def costs(self, name: str) -> dict[str, Any]:
        """Seconds per video and number of parameters; empty for real videos and reconstructions."""
        path = self.folder / f"study/costs/{name}.json"
        return read_json(path) if path.is_file() else {}


@dataclass(frozen=True)
class Estimate:
    """Mean over trainings, then over folds.

    Attributes:
        folds: values of the trainings of each fold.
        patients: jackknife replicates per fold, averaged over its trainings: (folds, groups) or None.
    """

    folds: list[np.ndarray]
    patients: list[np.ndarray] | None

    @classmethod
    def of(cls, rows: pd.DataFrame) -> Estimate:
        """Build from the rows of one metric of one generator."""
        groups = [list(part["replicates"]) for _, part in rows.groupby("fold")] if "replicates" in rows else []
        whole = groups and all(isinstance(each, list) and each for group in groups for each in group)
        replicates = [np.mean(group, axis=0) for group in groups] if whole else None
        return cls([part["value"].to_numpy(float) for _, part in rows.groupby("fold")], replicates)

    @property
    def values(self) -> np.ndarray:
        """Values per fold and training."""
        return np.concatenate(self.folds)

    @property
    def value(self) -> float:
        """Mean over folds and trainings."""
        return float(np.mean([fold.mean() for fold in self.folds]))

    def trainings(self) -> tuple[float, int]:
        """Variance of the mean caused by other trainings, and its degrees of freedom.

        Within folds only: what other folds would change is due to their patients, whom the methods share.
        """
        again = [fold for fold in self.folds if len(fold) > 1]
        variance = sum(float(fold.var(ddof=1)) / len(fold) for fold in again) / len(self.folds) ** 2
        return variance, sum(len(fold) - 1 for fold in again)

    def variances(self, other: Estimate | None = None) -> list[tuple[float, int]]:
        """Variance components and degrees of freedom of the mean, or of its difference to `other` on the same patients."""
        if self.patients is None or (other is not None and other.patients is None):
            return []
        against = [np.zeros_like(each) for each in self.patients] if other is None else other.patients or []
        if [len(each) for each in self.patients] != [len(each) for each in against]:
            return []  # different patients
        errors = [standard_error(a - b) ** 2 for a, b in zip(self.patients, against, strict=True)]
        parts = [(sum(errors) / len(errors) ** 2, sum(len(each) - 1 for each in self.patients))]
        return parts + [one.trainings() for one in (self, other) if one is not None]

    def interval(self, other: Estimate | None = None) -> tuple[float, float, float, float]:
        """Mean (or difference), 95 % limits and p-value of a t-test with Welch-Satterthwaite degrees of freedom."""
        value = self.value - (other.value if other else 0.0)
        parts = [(variance, freedom) for variance, freedom in self.variances(other) if variance > 0]
        if not parts:
            return value, math.nan, math.nan, math.nan
        total = sum(variance for variance, _ in parts)
        freedom = total**2 / sum(variance**2 / degrees for variance, degrees in parts)
        half = float(student_t.ppf(0.975, freedom)) * math.sqrt(total)
        p = 2 * float(student_t.sf(abs(value) / math.sqrt(total), freedom))
        return value, value - half, value + half, p


def quality(sources: dict[str, Sources]) -> pd.DataFrame:
    """One row per method, metric and reference: mean, interval and value per training, or the reason for absence."""
    found = []
    for (kind, generator), name in METHODS.items():
        rows = sources[kind].rows
        rows = rows[(rows["generator"] == generator) & (rows["reference"].isin([*REFERENCES, ""]))]
        for (metric, reference), part in rows.groupby(["metric", "reference"], sort=False):
            row: dict[str, Any] = {"method": name, "metric": metric, "reference": reference}
            row |= {"better": part["better"].iloc[0], "features": part["features"].iloc[0]}
            if part["value"].isna().all():
                found.append(row | {"reason": part["reason"].dropna().iloc[0] if "reason" in part else ""})
                continue
            estimate = Estimate.of(part.dropna(subset=["value"]))
            value, low, high, _ = estimate.interval()
            low = low if metric in MAY_BE_NEGATIVE else max(low, 0.0) if value >= 0 else low
            row |= {"value": value, "ci_low": low, "ci_high": high, "trainings": len(estimate.values)}
            row |= {"each": " ".join(f"{v:.5g}" for v in estimate.values), "floor": part["floor"].mean()}
            found.append(row | {"n_real": part["n_real"].iloc[0], "n_synthetic": part["n_synthetic"].iloc[0]})
    return pd.DataFrame(found)


def differences(sources: dict[str, Sources]) -> pd.DataFrame:
    """Paper's variant minus each other method on the same patients; Holm-corrected p-values over all rows.

    The abstract of the paper claims LDDM < cINN in FVD, DT-FVD and LPIPS; these rows test that claim here.
    """
    kind, generator = next(key for key, name in METHODS.items() if name == OURS)
    ours, found = sources[kind].rows, []
    ours = ours[(ours["generator"] == generator) & ours["reference"].isin(REFERENCES) & ours["value"].notna()]
    for (other, against), name in METHODS.items():
        rows = sources[other].rows
        rows = rows[(rows["generator"] == against) & rows["value"].notna()]
        if name == OURS:
            continue
        for (metric, reference), part in ours.groupby(["metric", "reference"], sort=False):
            theirs = rows[(rows["metric"] == metric) & (rows["reference"] == reference)]
            # Features of a network that is trained per experiment are not comparable.
            if theirs.empty or (other != kind and metric in ("frechet_video", "kernel_video")):
                continue
            delta, low, high, p = Estimate.of(part).interval(Estimate.of(theirs))
            row = {"metric": metric, "reference": reference, "method": OURS, "against": name, "delta": delta}
            found.append(row | {"ci_low": low, "ci_high": high, "p_value": p, "better": part["better"].iloc[0]})
    table = pd.DataFrame(found).assign(p_holm=math.nan)
    tested = table["p_value"].notna()
    table.loc[tested, "p_holm"] = holm(table.loc[tested, "p_value"].to_numpy())
    return table


def classification(sources: dict[str, Sources]) -> pd.DataFrame:
    """AUC per classifier and regime: all regimes of the paper's variant, and those with LDDM of ours."""
    parts = []
    for kind, source in sources.items():
        table = pd.read_csv(source.folder / "tables/classification.csv")
        table = table[table["metric"] == "auc"].assign(experiment=kind)
        parts.append(table if kind == "paper" else table[table["regime"] == "real+lddm"])
    return pd.concat(parts, ignore_index=True)


def write_tables(sources: dict[str, Sources], out: Path) -> str:
    """Write quality.csv, differences.csv, classification.csv and table.md; returns the path of the latter."""
    tables = {"quality": quality(sources), "differences": differences(sources)}
    tables["classification"] = classification(sources)
    out.mkdir(parents=True, exist_ok=True)
    for name, table in tables.items():
        with atomic_path(out / f"{name}.csv") as temporary:
            table.to_csv(temporary, index=False)
    text = markdown(sources, **tables)
    with atomic_path(out / "table.md") as temporary:
        temporary.write_text(text)
    return text


def markdown(
    sources: dict[str, Sources], quality: pd.DataFrame, differences: pd.DataFrame, classification: pd.DataFrame
) -> str:
    """Format the three tables as Markdown."""
    seen = quality[quality["value"].notna() & quality["reference"].isin(REFERENCES)]
    columns = [name for name in FIRST if name in set(seen["metric"])]
    head = ["method", "trainings", *(f"{name} {'(up)' if about_higher(name) else ''}".strip() for name in columns)]
    head += ["seconds a video", "parameters (millions)"]
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for (kind, generator), name in METHODS.items():
        part = seen[seen["method"] == name]
        if part.empty:
            continue
        costs = sources[kind].costs(generator)
        cells = [name, str(int(part["trainings"].max())), *(_cell(part, metric) for metric in columns)]
        cells.append(f"{costs['seconds_a_video']:.3g}" if costs else "")
        cells.append(f"{sum(costs['parameters'].values()) / 1e6:.3g}" if costs else "")
        lines.append("| " + " | ".join(cells) + " |")
    absent = quality[quality["value"].isna()].drop_duplicates("metric")
    lines += ["", *(f"- {row.metric} is absent: {row.reason}" for row in absent.itertuples())]
    lines += ["", f"{OURS} minus the others:", "", "| metric | against | difference | p (Holm) |", "|---|---|---|---|"]
    for row in differences[differences["metric"].isin(columns)].itertuples():
        lines.append(
            f"| {row.metric} | {row.against} | {_range(row.delta, row.ci_low, row.ci_high)} | {row.p_holm:.2g} |"
        )
    lines += ["", "Classifiers:", "", "| classifier | trained on | of | AUC | minus real |", "|---|---|---|---|---|"]
    for row in classification.itertuples():
        delta = _range(row.delta_vs_real, row.delta_ci_low, row.delta_ci_high) if row.regime != "real" else ""
        auc = _range(row.mean, row.ci_low, row.ci_high)
        lines.append(f"| {row.classifier} | {row.regime} | {row.experiment} | {auc} | {delta} |")
    return "\n".join(lines) + "\n"


def about_higher(metric: str) -> bool:
    """Whether higher is better; metrics missing from the catalogue are treated as distances."""
    try:
        return about(metric).higher
    except KeyError:
        return False


def _cell(part: pd.DataFrame, metric: str) -> str:
    found = part[part["metric"] == metric]
    if found.empty:
        return ""
    row = found.iloc[0]
    return _range(row["value"], row["ci_low"], row["ci_high"])


def _range(value: float, low: float, high: float) -> str:
    return f"{value:.3g}" if math.isnan(low) else f"{value:.3g} ({low:.3g} to {high:.3g})"
