"""Fidelity of generated videos to the requested target, measured by regressors trained on real clips.

    python -m benchmarks.targets results/phantom_stiffness

Several stills are animated for the same targets, evenly spaced quantiles of those of the training clips. Writes
study/targets-<generator>.json: rank correlations of requested and predicted targets, over all videos, per still, and on real
test clips, where it is the upper bound given by the regressors.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
import typer
from scipy.stats import spearmanr

from lddm.classification.agreement import target_scores
from lddm.classification.ensemble import remove_ensemble_state, train_ensemble
from lddm.classification.heads import head_of
from lddm.classification.networks import CLASSIFIERS
from lddm.classification.regimes import real_clips
from lddm.classification.train import PACKAGES, predict
from lddm.data.frames import FrameStore, fold_stills
from lddm.errors import LddmError
from lddm.files import write_json
from lddm.settings.stages import parse
from lddm.synthesis.animate import Animator
from lddm.task import Task
from lddm.training.identity import Identity

READERS = 3  # number of regressors in the ensemble
SEED = 9000  # in addition to those of the ablation


def targets(results: Path, generator: str, stills: int, values: int) -> dict[str, Any]:
    """Compute the content of study/targets-<generator>.json."""
    settings = parse(str(results / "settings/whole.yaml"))
    store, splits = FrameStore.open(results / "data/frames"), pd.read_parquet(results / "data/splits.parquet")
    task = Task.of_meta(store.meta)
    if not task.is_regression:
        raise LddmError(f"{results} has classes, not a number", "pass an experiment with index.task regression")
    name, own = settings.classification.classifiers[0], settings.classification
    entry, head, state = CLASSIFIERS[name], head_of(task), results / "study/state"
    clips = {part: real_clips(store, splits, 0, part) for part in ("train", "val", "test")}
    inputs = {part: (entry.prepare(some.frames), some.labels) for part, some in clips.items()}
    identity = Identity.of(own, settings.seed, dict(inputs), PACKAGES, name="targets")
    networks = train_ensemble(
        entry,
        own.training_for(name),
        READERS,
        inputs["train"],
        inputs["val"],
        head,
        SEED,
        state,
        lambda *_: None,
        identity,
    )

    def read(videos: np.ndarray) -> np.ndarray:
        """Predicted targets (n,) of clips uint8 (n, T + 1, S, S)."""
        prepared = entry.prepare(videos)
        return np.mean([predict(network, prepared, head=head) for network in networks], axis=0)

    real, truth = read(clips["test"].frames), clips["test"].labels
    asked = np.quantile(clips["train"].labels, np.linspace(0.05, 0.95, values))
    table = fold_stills(store, splits, 0)
    table = table.iloc[np.linspace(0, len(table) - 1, min(stills, len(table))).astype(int)]
    x0 = np.repeat(np.asarray(store.still_frames(table)), values, axis=0)
    each = np.tile(asked, len(table))
    animator = Animator.load(results / f"fold-0/generators/{generator}/bundle")
    drawn = read(animator.animate_batch(x0, each, settings.seed))
    remove_ensemble_state(state)
    of_stills = [spearmanr(asked, row).statistic for row in drawn.reshape(-1, values)]
    return {
        "generator": generator,
        "classifier": name,
        "stills": len(table),
        "asked": asked.tolist(),
        "read_mean": drawn.reshape(-1, values).mean(axis=0).tolist(),
        "read_std": drawn.reshape(-1, values).std(axis=0).tolist(),
        "rank_correlation": float(spearmanr(each, drawn).statistic),
        "rank_correlation_of_a_still": float(np.mean(of_stills)),
        "rank_correlation_of_means": float(spearmanr(asked, drawn.reshape(-1, values).mean(axis=0)).statistic),
        "rank_correlation_real": float(spearmanr(truth, real).statistic),
        "r2_real": float(target_scores(truth, real, np.ones((1, len(truth))))["r2"][0]),
    }


def main(
    results: Annotated[Path, typer.Argument(help="results/<experiment> with a regression task")],
    generator: Annotated[str, typer.Option(help="name of the generator")] = "lddm",
    stills: Annotated[int, typer.Option(min=2, help="number of stills to animate")] = 64,
    values: Annotated[int, typer.Option(min=3, help="number of targets per still")] = 8,
) -> None:
    """Measure how well generated videos follow the requested target."""
    found = targets(results, generator, stills, values)
    path = results / f"study/targets-{generator}.json"
    write_json(path, found)
    for key, value in found.items():
        typer.echo(f"{key}: {value}")
    typer.echo(f"Made {path}")


if __name__ == "__main__":
    typer.run(main)
