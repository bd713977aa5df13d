"""Encoding of clips to the latents on which stage 2 is trained."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from lddm.autoencoder.clips import ClipDataset
from lddm.autoencoder.measured import MeasuredMotion
from lddm.autoencoder.model import Autoencoder
from lddm.data.frames import FrameStore, fold_clips
from lddm.latent.dataset import known_labels, save_latents
from lddm.training.parallel import pick_device


@torch.no_grad()
def encode_clips(
    autoencoder_path: Path,
    store: FrameStore,
    splits: pd.DataFrame,
    fold: int,
    out: Path,
    measured: MeasuredMotion | None = None,
) -> int:
    """Encode the train and val clips of a fold, also mirrored and time-reversed; test clips are never read here.

    Args:
        measured: measured motion of the clips, for decoder warp.

    Returns:
        Number of latents written.
    """
    device = pick_device()
    model = Autoencoder.load(autoencoder_path).to(device)
    measured = model.checked(measured, store)
    rows: list[pd.DataFrame] = []
    means, stds, flips, backwards = [], [], [], []
    variants = list(itertools.product((False, True), (False, True) if model.settings.time_reversal else (False,)))
    for part in ("train", "val"):
        clips = fold_clips(store, splits, fold, part)
        dataset = ClipDataset(store, clips, measured, device)
        for mirrored, backward in variants:
            for start in range(0, len(clips), 32):
                index = np.arange(start, min(start + 32, len(clips)))
                every = np.ones(len(index), dtype=bool)
                batch = dataset.read(index, every & mirrored, every & backward)
                posterior = model.encode(batch.video, batch.motion)
                means.append(posterior.mean.cpu())
                stds.append((0.5 * posterior.logvar).exp().cpu())
            rows.append(clips.assign(train=part == "train"))
            flips.append(torch.full((len(clips),), mirrored))
            backwards.append(torch.full((len(clips),), backward))
    table = pd.concat(rows, ignore_index=True)
    mean = torch.cat(means)
    train = torch.tensor(table["train"].to_numpy(dtype=bool))
    save_latents(
        out,
        spec=model.spec,
        clip=table["clip_id"].tolist(),
        mean=mean,
        std=torch.cat(stds),
        flipped=torch.cat(flips),
        backward=torch.cat(backwards),
        label=known_labels(table["label"], table["labelled"]),
        train=train,
    )
    return len(mean)
