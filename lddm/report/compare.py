"""Comparison of experiments: scores, AUCs, and the settings that differ."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from lddm.errors import LddmError
from lddm.report.headline import headline_scores
from lddm.report.metric_names import primary, shown
from lddm.report.results import Results, flat


def compare(folders: list[Path]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Compare numbers and settings of experiments.

    Args:
        folders: results/<experiment>, at least two.

    Returns:
        Numbers: one row per number (name, better), one column per experiment, as "value [low, high] (n)". Settings: one row
        per differing key, one column per experiment.

    Raises:
        LddmError: an experiment is not finished, or two have the same name.
    """
    names = [folder.resolve().name for folder in folders]
    if len(set(names)) < len(names):
        raise LddmError(f"two experiments are named '{names[0]}'", "rename a folder, or set the config key experiment")
    for folder in folders:
        Results(folder).check_finished()
    columns = {name: _numbers(Results(folder)) for name, folder in zip(names, folders, strict=True)}
    numbers = pd.DataFrame(columns)
    numbers.index = pd.MultiIndex.from_tuples(numbers.index, names=["what", "better"])
    saved = {name: Results(folder).saved_settings() or {} for name, folder in zip(names, folders, strict=True)}
    settings = pd.DataFrame({name: pd.Series(flat(values), dtype=object) for name, values in saved.items()})
    settings = settings.drop(index=["experiment"], errors="ignore")
    differs = settings.apply(lambda row: row.map(repr).nunique() > 1, axis=1)
    return numbers.fillna("–"), settings[differs].astype(object).where(settings[differs].notna(), "–")


def _numbers(found: Results) -> dict[tuple[str, str], str]:
    numbers: dict[tuple[str, str], str] = {}
    for metric, generator, part in headline_scores(found.quality()):
        low, high = (
            part[c].iloc[0] if len(part) == 1 else f(part["value"]) for c, f in (("ci_low", min), ("ci_high", max))
        )
        count = f"n = {int(part['n_synthetic'].sum())}"
        blind = "" if part["sees_motion"].iloc[0] else " (blind to motion)"
        numbers[f"{metric}{blind}, {generator}", part["better"].iloc[0]] = _cell(part["value"].mean(), low, high, count)
    ablation = found.classification()
    tested = primary(ablation)
    for row in ablation[ablation["metric"] == tested].itertuples():
        count = f"n = {row.n_test}, {row.n_folds} x {row.n_seeds} runs"
        numbers[f"{shown(tested)}, {row.classifier}, {row.regime}", "higher"] = _cell(
            row.mean, row.ci_low, row.ci_high, count
        )
    return numbers


def _cell(value: float, low: float, high: float, count: str) -> str:
    interval = f" [{low:.3g}, {high:.3g}]" if pd.notna(low) else ""
    return f"{value:.3g}{interval} ({count})"
