"""Check of frame size and clip length against all networks of a configuration, before the first job."""

from __future__ import annotations

from lddm.errors import LddmError
from lddm.settings import Settings

USUAL_MAPS = range(4, 33)  # map sizes that are suggested; other fitting sizes work too


def check_sizes(settings: Settings) -> None:
    """Raise LddmError unless the networks of both stages accept the frame size and the clip length.

    Networks halve the frame until they reach the grid of the maps, and the generators start at half the frame size. So
    preprocess.size must be 2, 4, 8, ... times autoencoder.map_size wherever maps are used, and preprocess.clip_length
    1, 2, 4, ... times autoencoder.grid_frames for latent grid. Decoder spade upsamples at least twice. A larger
    preprocess.stored_size must be a multiple of preprocess.size, and needs generators that warp the still.
    """
    size, frames, model = settings.preprocess.size, settings.preprocess.clip_length, settings.autoencoder
    half = size // 2 if size % 2 == 0 else 0
    mistakes: list[tuple[str, str]] = []
    maps = model.decoder == "warp" or model.latent != "vector"
    if maps and not _halves(half, model.map_size):
        fitting = [side for side in USUAL_MAPS if _halves(half, side)]
        sizes = [model.map_size * 2**k for k in range(1, 9) if 32 <= model.map_size * 2**k <= 512]
        mistakes.append(
            (
                f"preprocess.size {size} does not fit autoencoder.map_size {model.map_size}: expected 2, 4, 8, ... times it",
                ", or ".join(_set("autoencoder.map_size", fitting) + _set("preprocess.size", sizes)),
            )
        )
    if model.latent == "grid" and not _halves(frames, model.grid_frames):
        fitting = [count for count in range(2, frames) if _halves(frames, count)] or [frames]
        lengths = [model.grid_frames * 2**k for k in range(9) if 2 <= model.grid_frames * 2**k <= 64]
        mistakes.append(
            (
                f"preprocess.clip_length {frames} does not fit autoencoder.grid_frames {model.grid_frames}: expected 1, 2, 4, "
                "... times it",
                ", or ".join(_set("autoencoder.grid_frames", fitting) + _set("preprocess.clip_length", lengths)),
            )
        )
    if model.decoder == "warp" and model.motion_rank > frames:
        mistakes.append(
            (
                f"autoencoder.motion_rank {model.motion_rank} exceeds preprocess.clip_length {frames}: a clip of T frames has "
                "at most T motion maps",
                f"set autoencoder.motion_rank to {frames} or less",
            )
        )
    for multiple, who, used in (
        (4, "autoencoder.decoder spade", model.decoder == "spade" and not maps),
        (8, "generator pixel", "pixel" in settings.synthesis.generators),
    ):
        if used and size % multiple:
            near = sorted({max(16, size // multiple * multiple), (size // multiple + 1) * multiple})
            mistakes.append(
                (
                    f"preprocess.size {size} does not fit {who}: expected a multiple of {multiple}",
                    ", or ".join(_set("preprocess.size", near)),
                )
            )
    stored = settings.preprocess.stored_size or size
    if stored % size:
        near = [size * times for times in range(max(1, stored // size), stored // size + 2)]
        mistakes.append(
            (
                f"preprocess.stored_size {stored} does not fit preprocess.size {size}: expected a multiple of it",
                ", or ".join(_set("preprocess.stored_size", near)),
            )
        )
    elif stored > size and (model.decoder != "warp" or "pixel" in settings.synthesis.generators):
        mistakes.append(
            (
                f"preprocess.stored_size {stored}: decoder spade and generator pixel output frames of preprocess.size",
                "set preprocess.stored_size to null, or use decoder warp and drop generator pixel",
            )
        )
    if mistakes:
        raise LddmError("\n".join(text for text, _ in mistakes), "; ".join(hint for _, hint in mistakes))


def _halves(large: int, small: int) -> bool:
    """Whether `large` is 1, 2, 4, ... times `small`."""
    times = large // small
    return times * small == large and times > 0 and times & (times - 1) == 0


def _set(key: str, values: list[int]) -> list[str]:
    """Suggestion to set `key` to one of `values`; empty if there are none."""
    if not values:
        return []
    *most, last = map(str, values)
    return [f"set {key} to " + (", ".join(most) + " or " if most else "") + last]
