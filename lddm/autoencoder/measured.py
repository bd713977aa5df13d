"""Measured motion of all clips of an experiment: computed once, used by every training of stage 1 and by `encode`."""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from lddm.data.frames import FrameStore, ReducedFrames
from lddm.errors import LddmError
from lddm.motion.field_of_view import view_spans
from lddm.motion.low_rank import MotionCode, measure_motion
from lddm.settings.models import AutoencoderSettings
from lddm.training.identity import code_hash, library_versions
from lddm.training.weights import load_weights, save_weights

if TYPE_CHECKING:
    import pandas as pd

logger = logging.getLogger(__name__)
CHUNK = 16  # clips per job of a process
DIRECTIONS = ("forward", "backward")
CODE = ("code", "libraries")  # identify the method rather than the data


@dataclass(frozen=True)
class MeasuredMotion:
    """Low-rank motion of clips, by clip id.

    Attributes:
        codes: the motion of each clip ("forward") and, if training uses time reversal, of the reversed clip ("backward").
        row: clip id -> row of the codes.
        views: by direction, field-of-view spans of x0 of each clip and of its mirror image, int16 (n, 2, S, 2)
            (`lddm.motion.field_of_view.view_spans`); older files have none.
        about: how it was measured: rank, map_size, passes, frame size, T, SHA-256 of the frames and of the code, libraries.
    """

    codes: dict[str, MotionCode]
    row: dict[str, int]
    about: dict[str, Any]
    views: dict[str, Tensor] = field(default_factory=dict)

    def of(self, clips: pd.DataFrame, backward: bool = False) -> MotionCode:
        """The motion of clips (rows with `clip_id`), in their order.

        Raises:
            LddmError: the motion of a clip was not measured.
        """
        direction = DIRECTIONS[backward]
        rows = self._rows(clips)
        if direction not in self.codes:
            raise _not_measured("time-reversed clips")
        return self.codes[direction][rows]

    def views_of(self, clips: pd.DataFrame, backward: bool = False) -> Tensor | None:
        """Field-of-view spans of clips, int16 (n, 2, S, 2); None if they were not measured.

        Raises:
            LddmError: as `of`.
        """
        views = self.views.get(DIRECTIONS[backward])
        return None if views is None else views[self._rows(clips)]

    def _rows(self, clips: pd.DataFrame) -> Tensor:
        missing = [name for name in clips["clip_id"] if name not in self.row]
        if missing:
            raise _not_measured(f"clip {missing[0]}")
        return torch.tensor([self.row[name] for name in clips["clip_id"]])

    def save(self, path: Path) -> None:
        """Write a file for `load`."""
        tensors: dict[str, Tensor] = {}
        for direction, code in self.codes.items():
            tensors |= {f"{direction}.maps": code.maps, f"{direction}.coefficients": code.coefficients}
        tensors |= {f"{direction}.views": views for direction, views in self.views.items()}
        save_weights(path, tensors, "motion", clip=list(self.row), **self.about)

    @classmethod
    def load(cls, path: Path) -> MeasuredMotion:
        """Load a file written by `save`.

        Raises:
            LddmError: see `load_weights`.
        """
        tensors, about = load_weights(path, "motion")
        try:
            row = {name: number for number, name in enumerate(about.pop("clip"))}
            codes = {
                direction: MotionCode(tensors[f"{direction}.maps"], tensors[f"{direction}.coefficients"])
                for direction in DIRECTIONS
                if direction == "forward" or f"{direction}.maps" in tensors
            }
        except KeyError as error:
            raise LddmError(f"{path} lacks {error}", "run the rule measure_motion again") from None
        views = {direction: tensors[f"{direction}.views"] for direction in codes if f"{direction}.views" in tensors}
        return cls(codes, row, about, views)

    def check(self, settings: AutoencoderSettings, store: FrameStore, current: bool = False) -> None:
        """Refuse motion that was measured with other settings or on other frames.

        Args:
            current: also refuse motion measured by other code. A new training requires motion measured by the current code;
                an existing model is used with the motion with which it was trained.

        Raises:
            LddmError: see above.
        """
        expected = _about(settings, store)
        differing = [
            key for key, value in expected.items() if self.about.get(key) != value and (current or key not in CODE)
        ]
        if settings.time_reversal and "backward" not in self.codes:
            differing.append("direction")
        if differing:
            was = ", ".join(f"{key} {self.about.get(key)} instead of {expected.get(key)}" for key in differing)
            raise LddmError(f"the motion was measured differently: {was}", "run the rule measure_motion again")


def measure_store(
    settings: AutoencoderSettings, store: FrameStore, clips: pd.DataFrame | None = None, processes: int = 1
) -> MeasuredMotion:
    """Measure the motion of clips, in parallel; the result does not depend on the number of processes.

    Args:
        settings: rank, map size, passes of optical flow, and time reversal.
        store: frames at the size of the model.
        clips: clips to measure; default: all that are not excluded.
        processes: number of parallel processes.

    Raises:
        LddmError: there are no clips.
    """
    clips = store.clips[store.clips["excluded"].isna()] if clips is None else clips
    if clips.empty:
        raise LddmError("no clip is usable", "see the exclusion reasons in data/frames/clips.parquet")
    try:
        found = {
            direction: _measure_all(settings, store, clips, direction, processes)
            for direction in DIRECTIONS[: 1 + settings.time_reversal]
        }
    finally:
        if processes > 1:
            # joblib keeps its processes for the next call, and later forks of this process would hang on their threads
            from joblib.externals.loky import get_reusable_executor

            get_reusable_executor().shutdown(wait=True, kill_workers=True)
    row = {name: number for number, name in enumerate(clips["clip_id"])}
    codes = {direction: code for direction, (code, _) in found.items()}
    views = {direction: seen for direction, (_, seen) in found.items()}
    return MeasuredMotion(codes, row, _about(settings, store), views)


def _not_measured(what: str) -> LddmError:
    return LddmError(f"the motion of {what} was not measured", "run the rule measure_motion again")


def _measure_all(
    settings: AutoencoderSettings, store: FrameStore, clips: pd.DataFrame, direction: str, processes: int
) -> tuple[MotionCode, Tensor]:
    import joblib  # not at the top: `lddm animate` imports this file, and measures nothing

    step = -1 if direction == "backward" else 1
    jobs = (joblib.delayed(_measure)(frames[:, ::step], settings) for frames in _chunks(store, clips))
    parts: list[MotionCode] = []
    views: list[Tensor] = []
    for part, seen in joblib.Parallel(n_jobs=processes, return_as="generator")(jobs):
        parts.append(part)
        views.append(seen)
        if len(parts) % 8 == 0 or len(parts) * CHUNK >= len(clips):
            logger.info("motion %s: %d of %d clips", direction, min(len(parts) * CHUNK, len(clips)), len(clips))
    code = MotionCode(torch.cat([p.maps for p in parts]), torch.cat([p.coefficients for p in parts]))
    return code, torch.cat(views)


def _measure(frames: np.ndarray, settings: AutoencoderSettings) -> tuple[MotionCode, Tensor]:
    """Motion of clips uint8 (n, T + 1, S, S), and field-of-view spans of x0 and of its mirror image, int16 (n, 2, S, 2)."""
    views = np.stack([view_spans(x0) for x0 in (frames[:, 0], frames[:, 0, :, ::-1])], axis=1)
    motion = measure_motion(frames, settings.motion_rank, settings.map_size, settings.flow_passes)
    return motion, torch.from_numpy(views)


def _chunks(store: FrameStore, clips: pd.DataFrame):
    for start in range(0, len(clips), CHUNK):
        yield np.asarray(store.clip_frames(clips.iloc[start : start + CHUNK]))


def _about(settings: AutoencoderSettings, store: FrameStore) -> dict[str, Any]:
    return {
        "rank": settings.motion_rank,
        "map_size": settings.map_size,
        "passes": settings.flow_passes,
        "size": store.size,
        "frames": store.clip_length,
        "pixels": _content(store),
        "code": code_hash("motion"),
        "libraries": library_versions("cv2", "numpy"),
    }


def _content(store: FrameStore, chunk: int = 4096) -> str:
    """SHA-256 of the stored frames; downsampled frames are determined by these and the size."""
    frames = store.frames.frames if isinstance(store.frames, ReducedFrames) else store.frames
    digest = hashlib.sha256(str(frames.shape).encode())
    for start in range(0, len(frames), chunk):
        digest.update(np.ascontiguousarray(frames[start : start + chunk]).data)
    return digest.hexdigest()
