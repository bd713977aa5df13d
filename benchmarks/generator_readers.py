"""Task-based evaluation of generated motion: classifiers tested on reconstructions or trained on animated stills."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.generator_fold import Fold
from lddm.classification.networks import CLASSIFIERS
from lddm.classification.statistics import scores
from lddm.classification.train import PACKAGES, Inputs, predict, train_classifier
from lddm.data.frames import fold_stills
from lddm.statistics.auc import area_under_curve
from lddm.statistics.resampling import patient_weights
from lddm.training.identity import Identity
from lddm.training.state import remove_state

STRAIN = CLASSIFIERS["strain"]
LESSON = {"steps": 300, "batch_size": 16, "learning_rate": 1e-3, "ema_decay": 0.0, "val_every": 50}
READERS = 5  # the AUC of one classifier on 240 clips varies by 0.01 between seeds
RESAMPLES = 2000


def _inputs(fold: Fold, part: str) -> Inputs:
    table, frames = fold.clips(part)
    return STRAIN.prepare(frames), table["label"].to_numpy()


def _reader(fold: Fold, name: str, real: Inputs | None, added: Inputs | None, seed: int) -> nn.Module:
    """Train a strain classifier; validation patients select the training step."""
    training = fold.settings.classification.training.model_copy(update=LESSON)
    val = _inputs(fold, "val")
    identity = Identity.of(training, seed, {"real": real, "added": added, "val": val}, PACKAGES, name=name)
    state: Path = fold.folder / "readers" / name
    network = train_classifier(STRAIN.build, training, real, added, val, 0.5, seed, state, lambda *_: None, identity)
    remove_state(state)
    return network


def fidelity(label: np.ndarray, patients: np.ndarray, on_real: np.ndarray, on_rebuilt: np.ndarray) -> dict[str, float]:
    """AUC preserved by reconstructions: mean over classifiers, 95 % interval over patients.

    Args:
        label: 0 or 1, (n,).
        patients: patient of each clip, (n,); patients are resampled, not clips.
        on_real, on_rebuilt: probabilities of class 1, (classifiers, n), for a real clip and its reconstruction.
    """
    drawn = patient_weights(patients, RESAMPLES, np.random.default_rng(0))
    weights = np.concatenate([np.ones_like(drawn[:1]), drawn])  # first row: the unchanged clips
    real, rebuilt = (
        np.mean([scores(label, probability, 0.5, weights)["auc"] for probability in readers], axis=0)
        for readers in (on_real, on_rebuilt)
    )
    low, high = np.nanquantile(rebuilt[1:] / real[1:], (0.025, 0.975))
    shares = {"task_fidelity": float(rebuilt[0] / real[0]), "fidelity_low": float(low), "fidelity_high": float(high)}
    return {"auc_real": float(real[0]), "auc_reconstruction": float(rebuilt[0])} | shares


def task_fidelity(fold: Fold, stage1: int, real: np.ndarray, rebuilt: np.ndarray) -> dict[str, float]:
    """Test classifiers trained on all real training clips on real held-out clips and on their reconstructions."""
    train = _inputs(fold, "train")
    table, _ = fold.clips("test")
    inputs = [STRAIN.prepare(videos) for videos in (real, rebuilt)]
    probability = []
    for seed in range(READERS * stage1, READERS * (stage1 + 1)):
        network = _reader(fold, f"real-{seed}", train, None, seed)
        probability.append([predict(network, videos) for videos in inputs])
    on_real, on_rebuilt = np.array(probability).transpose(1, 0, 2)  # (readers, 2, n) -> (2, readers, n)
    return fidelity(table["label"].to_numpy(), table["patient_id"].to_numpy(), on_real, on_rebuilt)


def taught_auc(fold: Fold, name: str, animated: Callable[[np.ndarray, Tensor], np.ndarray]) -> float:
    """AUC on real held-out clips of a classifier trained only on animated labelled stills.

    Args:
        animated: returns videos uint8 (n, T + 1, S, S) for x0 uint8 (n, S, S) and labels int64 (n,).
    """
    stills = fold_stills(fold.store, fold.splits, 0)
    label = torch.tensor(stills["label"].to_numpy(), dtype=torch.int64)
    videos = animated(np.array(fold.store.still_frames(stills)), label)
    network = _reader(fold, name, None, (STRAIN.prepare(videos), label.numpy()), 0)
    inputs, truth = _inputs(fold, "test")
    return area_under_curve(truth, predict(network, inputs))
