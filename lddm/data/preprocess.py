"""Conversion of files to memory-mapped square frames and clips, one file at a time to bound memory."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from lddm.data.clips import clip_starts, is_slower, resample
from lddm.data.duplicates import cluster_duplicates, video_hashes
from lddm.data.index import read_row
from lddm.data.quality_control import (
    clip_reason,
    file_reason,
    frame_steps,
    frame_views,
    length_reason,
    picture_range,
    rate_reason,
)
from lddm.data.square import fit_square, reduced
from lddm.errors import LddmError
from lddm.files import write_json
from lddm.io.recording import Recording, UnreadableFile
from lddm.settings.data import IndexSettings, PreprocessSettings

logger = logging.getLogger(__name__)


@dataclass
class PreprocessedFile:
    """Preprocessed frames and metadata of one file."""

    frames: np.ndarray  # uint8 (T, S, S), empty if excluded
    about: dict  # decoded fps, n_frames, height, width, excluded
    hashes: np.ndarray
    steps: np.ndarray  # differences of consecutive frames: `frame_steps` of lddm.data.quality_control
    views: np.ndarray  # coarse content of each frame: `frame_views` there


def prepare_file(
    row: dict, sources: IndexSettings, settings: PreprocessSettings, data_root: Path, seed: int
) -> PreprocessedFile:
    """Decode, check, resample and fit one file; problems are returned as an exclusion reason, never raised."""
    cv2.setNumThreads(1)
    stored = settings.stored_size or settings.size
    nothing = np.zeros((0, stored, stored), np.uint8)
    about = {key: row[key] for key in ("fps", "n_frames", "height", "width", "excluded")}
    about |= _described(Recording(nothing, np.zeros(0)))
    none = PreprocessedFile(nothing, about, np.zeros((0, 32), np.uint8), np.zeros(0, np.float32), np.zeros((0, 0)))
    if about["excluded"] is not None:
        return none
    try:
        recording = read_row(row, sources, data_root, settings.max_frames, seed)
    except UnreadableFile as error:
        about["excluded"] = f"unreadable: {error.message}"
        return none
    raw = recording.frames
    about |= {"fps": float(recording.fps), "n_frames": len(raw), "height": raw.shape[1], "width": raw.shape[2]}
    about |= _described(recording)
    about["excluded"] = file_reason(raw, row["kind"], settings)
    if about["excluded"] is None and row["kind"] == "video":
        about["excluded"] = rate_reason(recording.fps, settings)
    if about["excluded"] is not None:
        return none
    if row["kind"] == "video":
        if not np.isfinite(recording.fps):
            recording = recording.noted(f"frame rate unknown: {settings.fps:g} Hz assumed")
        recording = _between_flat_frames(recording, settings)
        raw = resample(recording, settings.fps)
        if is_slower(recording.fps, settings.fps):
            recording = recording.noted(f"slower than {settings.fps:g} Hz: kept at {recording.fps:.3g} Hz")
        about |= _described(recording)
        about["excluded"] = length_reason(len(raw), settings)
        if about["excluded"] is not None:
            return none
    else:
        if len(raw) > 1:
            about |= _described(recording.noted(f"the first of {len(raw)} frames is used as a still"))
        raw = raw[:1]
    frames = fit_square(raw, stored, settings.fit)
    small = reduced(frames, settings.size)  # so that thresholds do not depend on the stored size
    hashes = none.hashes if row["source"] == "phantom" else video_hashes(small)
    return PreprocessedFile(frames, about, hashes, frame_steps(small), frame_views(small))


def _described(recording: Recording) -> dict:
    """Columns of videos.parquet that describe how a file was read."""
    row, column = recording.spacing or (float("nan"), float("nan"))
    return {
        "native_fps": float(recording.fps),
        "spacing_row_mm": row,
        "spacing_column_mm": column,
        "colour": recording.colour,
        "notes": "; ".join(recording.notes),
    }


def _between_flat_frames(recording: Recording, settings: PreprocessSettings) -> Recording:
    """The recording without black or uniform frames at either end."""
    first, last = picture_range(recording.frames, settings)
    dropped = len(recording.frames) - (last - first)
    if not dropped:
        return recording
    return recording.part(first, last).noted(f"{dropped} black or uniform frames at the ends dropped")


def preprocess(
    index: pd.DataFrame,
    sources: IndexSettings,
    settings: PreprocessSettings,
    data_root: Path,
    out_dir: Path,
    seed: int,
    workers: int = 1,
) -> None:
    """Write the frame store of an index: frames.npy, videos.parquet, clips.parquet, meta.json.

    All files are written to a temporary folder beside `out_dir`, which is renamed at the end.

    Raises:
        LddmError: no usable video is left; the message lists the reasons.
    """
    index = index.astype(object).where(index.notna(), None)
    rows = index.to_dict("records")
    partial_dir = out_dir.with_name(f".{out_dir.name}.partial")
    shutil.rmtree(partial_dir, ignore_errors=True)
    partial_dir.mkdir(parents=True)
    work = partial(prepare_file, sources=sources, settings=settings, data_root=Path(data_root), seed=seed)
    try:
        videos, clips, hashes, offset = [], [], [], 0
        with open(partial_dir / "frames.raw", "wb") as raw:
            for number, (row, done) in enumerate(zip(rows, _run(work, rows, workers), strict=True), start=1):
                stored = len(done.frames)
                raw.write(done.frames.tobytes())
                placed = {"first_frame": offset if stored else -1, "stored_frames": stored}
                videos.append(row | done.about | placed)
                hashes.append(done.hashes)
                if row["kind"] == "video" and stored:
                    clips += clips_of(videos[-1], done, settings)
                offset += stored
                if number % 100 == 0 or number == len(rows):
                    logger.info("%d of %d files, %d frames", number, len(rows), offset)
        table = cluster_duplicates(pd.DataFrame(videos), hashes, settings.duplicate_frames)
        if not clips or offset == 0:
            reasons = table["excluded"].value_counts().head(5).to_dict()
            raise LddmError(f"no usable video is left; exclusions: {reasons}", _way_out(table))
        _write_tables(partial_dir, table, pd.DataFrame(clips), settings, sources)
        _finish_frames(partial_dir, offset, settings.stored_size or settings.size)
        shutil.rmtree(out_dir, ignore_errors=True)
        partial_dir.rename(out_dir)
    finally:
        shutil.rmtree(partial_dir, ignore_errors=True)


def _run(work, rows: list[dict], workers: int) -> Iterator[PreprocessedFile]:
    if workers == 1:
        yield from map(work, rows)
        return
    with ProcessPoolExecutor(workers) as pool:  # a bounded window, so that results do not accumulate in memory
        window = 4 * workers
        pending = [pool.submit(work, row) for row in rows[:window]]
        for place in range(len(rows)):
            try:
                if place + window < len(rows):
                    pending.append(pool.submit(work, rows[place + window]))
                done = pending[0].result()
            except BrokenProcessPool:  # a decoder crashed, or the system killed the process for its memory use
                lost = [row["path"] for row, one in zip(rows[place:], pending, strict=False) if one.exception()]
                hint = "give the job more memory, or find and remove the file that crashes the decoder"
                raise LddmError(f"a process died while reading one of {', '.join(lost[:workers])}", hint) from None
            del pending[0]
            yield done


def clips_of(video: dict, done: PreprocessedFile, settings: PreprocessSettings) -> list[dict]:
    """The clips of a video, excluded ones with the reason."""
    length = settings.clip_length
    return [
        {
            "clip_id": f"{video['id']}@{start}",
            "id": video["id"],
            "first_frame": video["first_frame"] + start,
            "label": video["label"],
            "patient_id": video["patient_id"],
            "excluded": clip_reason(
                done.steps[start : start + length], done.views[start : start + length + 1], settings
            ),
        }
        for start in clip_starts(video["stored_frames"], settings)
    ]


def _way_out(videos: pd.DataFrame) -> str:
    """Hint for the case that no video is usable."""
    slower = videos[videos["excluded"].fillna("").str.startswith("slower")]
    if len(slower) == 0:
        return "see the column excluded of index.parquet and the settings of preprocess"
    rate = float(np.floor(10 * slower["native_fps"].min() / 0.9)) / 10
    return f"set preprocess.fps to {min(rate, slower['native_fps'].min()):g}, the rate of the slowest file"


def common_rate(videos: pd.DataFrame, settings: PreprocessSettings) -> float:
    """Frame rate of the store in Hz: the target, or the common rate if `allow_slower` kept only slower videos of one rate."""
    used = videos[(videos["kind"] == "video") & videos["excluded"].isna()]
    rates = used["native_fps"].dropna()
    slower = [is_slower(rate, settings.fps) for rate in rates]
    if len(rates) and all(slower) and rates.max() - rates.min() < 0.02 * rates.max():
        return float(rates.median())
    if any(slower):
        logger.warning("%d videos are slower than %g Hz and keep their own rate", sum(slower), settings.fps)
    return settings.fps


def _write_tables(
    folder: Path, videos: pd.DataFrame, clips: pd.DataFrame, settings: PreprocessSettings, sources: IndexSettings
) -> None:
    """Write the tables and meta.json; a clip inherits its video's cluster and, if the video was excluded later, the reason."""
    by_id = videos.set_index("id")
    clips["cluster"] = by_id["cluster"].loc[clips["id"]].to_numpy()
    late = by_id["excluded"].loc[clips["id"]].to_numpy()
    clips["excluded"] = [own if own is not None else whole for own, whole in zip(clips["excluded"], late, strict=True)]
    for column in ("cluster", "excluded"):
        videos[column] = videos[column].astype("string")
        clips[column] = clips[column].astype("string")
    for column in ("fps",):
        videos[column] = videos[column].astype(float)
    videos.to_parquet(folder / "videos.parquet", index=False)
    clips.to_parquet(folder / "clips.parquet", index=False)
    meta = {
        "size": settings.stored_size or settings.size,
        "model_size": settings.size,
        "fps": common_rate(videos, settings),
        "fit": settings.fit,
        "clip_length": settings.clip_length,
        **sources.labels.to_meta(),
    }
    write_json(folder / "meta.json", meta)


def _finish_frames(folder: Path, count: int, size: int) -> None:
    """Convert the raw frames to .npy block by block, without reading all of them into memory."""
    target = np.lib.format.open_memmap(folder / "frames.npy", mode="w+", dtype=np.uint8, shape=(count, size, size))
    with open(folder / "frames.raw", "rb") as raw:
        for start in range(0, count, 4096):
            block = np.frombuffer(raw.read(4096 * size * size), np.uint8).reshape(-1, size, size)
            target[start : start + len(block)] = block
    target.flush()
    del target
    (folder / "frames.raw").unlink()
