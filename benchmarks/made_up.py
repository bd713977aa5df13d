"""Simulated clips of noise with random motion, read like training data."""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch

from lddm.autoencoder.clips import ClipDataset
from lddm.autoencoder.measured import DIRECTIONS, MeasuredMotion
from lddm.data.frames import FrameStore
from lddm.motion.field_of_view import view_spans
from lddm.motion.low_rank import MotionCode
from lddm.settings.models import AutoencoderSettings


def made_up_clips(
    settings: AutoencoderSettings, size: int, frames: int, count: int, device: torch.device
) -> ClipDataset:
    """Data set of `count` clips of `frames` + 1 frames, with motion and field-of-view masks if the decoder warps x0."""
    draw = np.random.default_rng(0)
    stored = draw.integers(0, 256, (count * (frames + 1), size, size), dtype=np.uint8)
    names = [f"clip-{number}" for number in range(count)]
    clips = pd.DataFrame({"clip_id": names, "first_frame": np.arange(count) * (frames + 1)})
    meta = {"size": size, "fps": 10.0, "clip_length": frames, "classes": ["a", "b"]}
    store = FrameStore(stored, pd.DataFrame(), clips, meta)
    if settings.decoder != "warp":
        return ClipDataset(store, clips, None, device)
    rank, side, rng = settings.motion_rank, settings.map_size, torch.Generator().manual_seed(0)
    maps, rows = torch.randn(count, rank, 2, side, side, generator=rng), torch.randn(count, rank, frames, generator=rng)
    x0 = stored[:: frames + 1]
    views = torch.from_numpy(np.stack([view_spans(x0), view_spans(x0[..., ::-1])], axis=1))
    measured = MeasuredMotion(
        {name: MotionCode(maps, rows) for name in DIRECTIONS},
        {name: number for number, name in enumerate(names)},
        {},
        dict.fromkeys(DIRECTIONS, views),
    )
    return ClipDataset(store, clips, measured, device)
