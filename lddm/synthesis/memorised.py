"""Positive controls of the memorisation metrics: videos of a generator that has memorised its training set."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from lddm.autoencoder.measured import MeasuredMotion
from lddm.data.frames import FrameStore, fold_clips
from lddm.settings.models import SynthesisSettings
from lddm.synthesis.animate import Animator
from lddm.synthesis.memory import BatchSize
from lddm.synthesis.synthesize import reconstruct

Made = tuple[np.ndarray, pd.DataFrame]  # clips uint8 (n, T + 1, S, S), and their table
COUNT = 80  # clips per control, which take 3 s on one core


def memorised_clips(
    bundle: Path, store: FrameStore, splits: pd.DataFrame, fold: int, motion: Path | None, seed: int
) -> tuple[Made, Made]:
    """Reconstruct training clips with the autoencoder, and animate first frames of test clips with their latents.

    Both are decoded to uint8 frames like any synthetic video, and the metrics use only these frames.

    Args:
        bundle: model package of any generator of the fold; only its autoencoder is used.
        motion: measured motion of the clips, for a decoder that warps x0.
        seed: seed of the selection of training clips (at most `COUNT`) and of first frames.

    Returns:
        Reconstructed training clips with their rows of `fold_clips`, and animated stills with the rows of their test clips;
        both in the order of the training clips.
    """
    train, test = (fold_clips(store, splits, fold, part) for part in ("train", "test"))
    rng = np.random.default_rng([seed, 4])
    chosen = train.iloc[np.sort(rng.permutation(len(train))[:COUNT])].reset_index(drop=True)
    order = rng.permutation(len(test))
    onto = test.iloc[order[np.arange(len(chosen)) % len(order)]].reset_index(drop=True)
    animator = Animator.load(bundle)
    measured = MeasuredMotion.load(motion) if motion else None
    sizes = BatchSize(SynthesisSettings().batch_size, animator.device)
    stills = np.asarray(store.frames[onto["first_frame"].to_numpy(dtype=np.int64)])
    rebuilt = reconstruct(animator, store, chosen, sizes, measured)
    moved = reconstruct(animator, store, chosen, sizes, measured, stills)
    return (rebuilt, chosen), (moved, onto)
