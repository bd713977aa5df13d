"""quality_comparisons.csv: score differences between LDDM and each other generator on the same patients."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from scipy.special import stdtr, stdtrit

from lddm.files import read_json
from lddm.statistics.jackknife import standard_error
from lddm.statistics.p_values import holm, verdict

COMPARED = [
    "source",
    "metric",
    "features",
    "reference",
    "generator",
    "against",
    "delta",
    "ci_low",
    "ci_high",
    "p_value",
    "p_holm",
    "better",
    "n_folds",
    "verdict",
]
GENERATOR = "lddm"
REFERENCES = ("heldout", "same x0")


def quality_comparisons(files: list[Path]) -> pd.DataFrame:
    """LDDM minus each other generator, and minus real videos, on the same test patients.

    The standard error of a difference is a jackknife that omits the same patients from both scores; it does not include the
    variation between trainings of the generators. p-values are two-sided (t distribution) and Holm-corrected over all rows of
    the table.

    Args:
        files: quality JSON files of all folds and generators.
    """
    rows = [row for path in files for row in read_json(path)]
    table = pd.DataFrame([row for row in rows if row.get("replicates") and row["source"] == "heldout"])
    if table.empty:
        return pd.DataFrame(columns=COMPARED)
    table = table[table["reference"].isin(REFERENCES) | (table["metric"] == "diversity")]
    # the accuracy in the name differs between folds
    table["features"] = table["features"].str.replace(r" \(.*", "", regex=True)
    keys, found = ["metric", "features", "reference"], []
    for key, part in table.groupby(keys, sort=True):
        ours = part[part["generator"] == GENERATOR].set_index("fold")
        for against in dict.fromkeys(name for name in part["generator"] if name != GENERATOR):
            theirs = part[part["generator"] == against].set_index("fold")
            if row := _difference(ours, theirs):
                what = dict(zip(keys, key, strict=True)) | {"source": "heldout", "generator": GENERATOR}
                found.append(what | {"against": against} | row)
    compared = pd.DataFrame(found, columns=COMPARED)
    if len(compared):
        compared["p_holm"] = holm(compared["p_value"].to_numpy())
        compared["verdict"] = [verdict(row.delta, row.p_holm, row.better == "higher") for row in compared.itertuples()]
    return compared


def _difference(ours: pd.DataFrame, theirs: pd.DataFrame) -> dict[str, object] | None:
    """Mean difference over the folds that both have; None if no fold has the same patients."""
    folds = [
        fold
        for fold in ours.index.intersection(theirs.index)
        if len(ours.loc[fold, "replicates"]) == len(theirs.loc[fold, "replicates"])
    ]
    if not folds:
        return None
    delta = float(np.mean([ours.loc[fold, "value"] - theirs.loc[fold, "value"] for fold in folds]))
    pairs = [(np.array(ours.loc[fold, "replicates"]), np.array(theirs.loc[fold, "replicates"])) for fold in folds]
    error = float(np.sqrt(sum(standard_error(a - b) ** 2 for a, b in pairs))) / len(folds)
    freedom = sum(len(a) - 1 for a, _ in pairs)
    if not np.isfinite(error):
        return None
    half = float(stdtrit(freedom, 0.975)) * error
    p = float(2 * stdtr(freedom, -abs(delta) / error)) if error > 0 else float(delta == 0)
    return {
        "delta": delta,
        "ci_low": delta - half,
        "ci_high": delta + half,
        "p_value": p,
        "better": ours["better"].iloc[0],
        "n_folds": len(folds),
    }
