"""Files of results/<experiment> that the rule `tabulate` reads: those planned by the current settings."""

from __future__ import annotations

from pathlib import Path

from lddm.settings import Settings
from lddm.settings.build import sweep_points


def scored(settings: Settings) -> list[str]:
    """Names of scored video sets: real videos (reference), reconstructions (autoencoder alone), and the generators."""
    return ["real", "reconstruction", *settings.synthesis.generators]


def quality_files(settings: Settings) -> list[Path]:
    """Scores, one file per fold and generator."""
    return [
        Path(f"fold-{fold}/quality/{name}.json")
        for fold in range(settings.split.folds_to_run)
        for name in scored(settings)
    ]


def classification_files(settings: Settings) -> list[Path]:
    """Predictions of the ablation, one file per fold, classifier, regime and seed."""
    folders = [f"classification/{classifier}/{regime}" for classifier, regime in settings.classification.cells()]
    return _seeds(settings, folders)


def sweep_files(settings: Settings) -> list[Path]:
    """Predictions of the sweep, one file per fold, classifier, regime, point and seed; none without a sweep."""
    sweep = settings.sweep
    folders = [
        f"sweep/{classifier}/{regime}/{point}"
        for classifier in sweep.classifiers
        for regime in sweep.regimes
        for point in sweep_points(settings)
    ]
    return _seeds(settings, folders)


def _seeds(settings: Settings, folders: list[str]) -> list[Path]:
    return [
        Path(f"fold-{fold}/{folder}/seed-{seed}.json")
        for fold in range(settings.split.folds_to_run)
        for folder in folders
        for seed in range(settings.classification.seeds)
    ]
