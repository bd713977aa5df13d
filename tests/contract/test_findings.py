"""The first page of results agrees with docs/results/effects.csv, and a finished run replaces its own rows only."""

from pathlib import Path

import pandas as pd
import pytest

from benchmarks import findings
from lddm.errors import LddmError

ROOT = Path(__file__).resolve().parents[2]


def effects() -> pd.DataFrame:
    return pd.read_csv(ROOT / findings.EFFECTS)


def comparisons(shift: float = 0.0) -> pd.DataFrame:
    rows = [
        {
            "classifier": "strain", "regime": regime, "against": against, "delta_auc": 0.1 + shift, "ci_low": 0.05,
            "ci_high": 0.15, "p_bootstrap": 0.01, "p_holm": 0.04, "n_patients": 7, "n_runs": 2,
        }
        for regime, against in findings.OF_A_RUN.values()
    ]  # fmt: skip
    return pd.DataFrame(rows)


def test_the_first_page_is_made_from_the_file_and_short():
    page = (ROOT / findings.PAGE).read_text()
    assert findings.between(page, "findings", findings.effects_table(effects())) == page
    assert len(page.splitlines()) <= 120


def test_each_effect_lies_in_its_interval_and_names_a_page():
    table = effects()
    assert ((table["ci_low"] <= table["difference"]) & (table["difference"] <= table["ci_high"])).all()
    assert all((ROOT / "docs/results" / page).is_file() for page in table["page"])


def test_a_run_replaces_its_own_rows_only():
    before, after = effects(), findings.updated(effects(), comparisons(0.01))
    ours = before["command"] == "make run"
    assert (after.loc[ours, "difference"] == 0.11).all() and set(after.loc[ours, "runs"]) == {"2 seeds"}
    pd.testing.assert_frame_equal(after[~ours], before[~ours])
    with pytest.raises(LddmError, match="no comparison of real\\+lddm with real\\+cinn"):
        findings.updated(effects(), comparisons()[lambda t: t["against"] != "real+cinn"])


def test_tables_leave_out_what_was_not_measured():
    measured = [
        ("real", "test", 0.5, 0.1, 0.9),
        ("lddm", "heldout", 0.7, None, None),
        ("lddm", "stills", 0.8, None, None),
    ]
    quality = pd.DataFrame(measured, columns=["generator", "source", "value", "ci_low", "ci_high"])
    quality = quality.assign(metric="flicker", reference="heldout")
    line = next(line for line in findings.quality_table(quality).splitlines() if line.startswith("| flicker"))
    assert line == "| flicker, W1 | 0.5 (0.1, 0.9) | – | 0.7 | – | – | – |"
    with pytest.raises(LddmError, match="no markers"):
        findings.between("a page", "findings", "")
