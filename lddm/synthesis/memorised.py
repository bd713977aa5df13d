"""What a generator with a perfect memory would make: positive controls of the measures of memorisation."""

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

Made = tuple[np.ndarray, pd.DataFrame]  # clips uint8 (n, T + 1, S, S), and the table they belong to
COUNT = 80  # clips of each control: 3 s on one core


def memorised_clips(
    bundle: Path, store: FrameStore, splits: pd.DataFrame, fold: int, motion: Path | None, seed: int
) -> tuple[Made, Made]:
    """Training clips through the autoencoder, and first frames of test clips moved by the latents of training clips.

    Both go the whole way of a synthetic video: encoder, decoder, uint8 frames. Nothing is known of them to the measures but these
    frames.

    Args:
        bundle: of any generator of the fold; only its autoencoder is used.
        motion: measured motion of the clips, for a decoder that moves x0.
        seed: of the training clips, up to `COUNT`, and of the first frames that their latents move.

    Returns:
        Rebuilt training clips with their rows of `fold_clips`, and moved stills with the rows of the test clips that they are
        of, in the order of the same training clips.
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
