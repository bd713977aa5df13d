"""Long videos: motion of overlapping windows, composed relative to the real still."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields

import torch
from torch import Tensor

from lddm.autoencoder.decoder import Layers, WarpDecoder
from lddm.motion.warp import warp_sequence

# ASSUME: tissue oscillates about its rest position. This share of the mean squared displacement of a candidate is added to
# its error on the overlap, so that among equally good candidates the one closer to the still is kept.
RESTORING = 0.2

# (first frame of a window, float (1, 1, S, S), window index from 1) -> candidates: layers (n, ...)
Candidates = Callable[[Tensor, int], Layers]


@torch.no_grad()
def extend(
    decoder: WarpDecoder, x0: Tensor, first: Layers, candidates: Candidates, length: int, overlap: int
) -> Layers:
    """Continue the motion of one window over further windows.

    Each further window starts `overlap` frames before the end, from the frame composed there. A single frame shows positions,
    not velocities. Of several candidates, the one is kept whose motion on the overlap is closest to the known motion and whose
    displacement remains small. Its displacement v is composed with the displacement u of its first frame,
    u'(p) = v(p) + f u(p + v(p)), so that every frame is the real still, interpolated once. Old and new layers are blended
    over the overlap.

    ASSUME: u and the gain of the first frame of a window fade out over the window (f falls from 1 to 0 as half a cosine),
    since tissue returns to its rest position and brightness does not drift. Otherwise displacements would accumulate as a
    random walk, and rough fields as marbled texture.

    Args:
        decoder: composes the first frames of further windows.
        x0: float (1, 1, S, S).
        first: layers of the first window, batch size 1.
        candidates: samples the candidates for a window.
        length: number of frames; with one window at most the frames of `first`.
        overlap: frames shared by two windows, at least 1 and less than T.

    Returns:
        Layers of batch size 1 and `length` frames.

    Raises:
        ValueError: the overlap leaves no new frames.
    """
    window = first.motion.shape[1]
    if length > window and not 1 <= overlap < window:
        raise ValueError(f"overlap must be from 1 to {window - 1}, got {overlap}")
    known, number = first, 1
    while known.motion.shape[1] < length:
        start = known.motion.shape[1] - overlap  # the window begins at frame `start`, counted from 1
        origin = frames_of(known, start - 1, start)
        drawn = candidates(decoder.compose(x0, origin).frames[:, :, 0], number)
        motion = _continued(origin.motion, drawn.motion)
        error = (motion[:, :overlap] - known.motion[:, start:]).square().flatten(1).mean(dim=1)
        error += RESTORING * motion.square().flatten(1).mean(dim=1)
        best = int(error.argmin())
        known = _joined(known, _composed(origin, drawn.one(best), motion[best : best + 1]), overlap)
        number += 1
    return frames_of(known, 0, length)


def frames_of(layers: Layers, first: int, last: int) -> Layers:
    """Select frames `first` to `last` - 1, counted from 0."""
    part = slice(first, last)
    return Layers(layers.motion[:, part], layers.occlusion_logits[:, :, part], layers.log_gain[:, :, part])


def _continued(origin: Tensor, motion: Tensor) -> Tensor:
    """Compose motion (n, T, 2, S, S) with an initial displacement (1, 1, 2, S, S): motion relative to the still."""
    carried = warp_sequence(origin[0].expand(len(motion), -1, -1, -1), motion).transpose(1, 2)
    return motion + _fading(motion)[:, None] * carried


def _composed(origin: Layers, window: Layers, motion: Tensor) -> Layers:
    """Layers of a window relative to the still; `motion` already is."""
    before = warp_sequence(origin.log_gain[:, :, 0], window.motion)  # (1, 1, T, S, S)
    return Layers(motion, window.occlusion_logits, window.log_gain + _fading(motion) * before)


def _fading(motion: Tensor) -> Tensor:
    """Weights that fall from 1 to 0 as half a cosine over the frames of motion (n, T, ...): (T, 1, 1)."""
    count = motion.shape[1]
    share = torch.arange(1, count + 1, device=motion.device, dtype=motion.dtype) / count
    return (0.5 * (1 + torch.cos(torch.pi * share)))[:, None, None]


def _joined(known: Layers, new: Layers, overlap: int) -> Layers:
    """Concatenate both in time and blend them over the overlap. Time is axis 1 of motion and axis 2 of the other fields."""
    share = torch.arange(1, overlap + 1, device=known.motion.device, dtype=known.motion.dtype) / (overlap + 1)
    weight = share[:, None, None]
    parts = []
    for axis, field in zip((1, 2, 2), fields(Layers), strict=True):
        old, late = getattr(known, field.name), getattr(new, field.name)
        kept, shared = old.split([old.shape[axis] - overlap, overlap], dim=axis)
        begun, rest = late.split([overlap, late.shape[axis] - overlap], dim=axis)
        across = weight[:, None] if axis == 1 else weight
        parts.append(torch.cat([kept, shared + across * (begun - shared), rest], dim=axis))
    return Layers(*parts)
