"""Frame times from the stated time stamps of a file, and the plausible range of frame rates."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

SLOWEST, FASTEST = 0.1, 1000.0  # Hz; a stated rate outside is a time base or damage, not a frame rate
LONGEST = 20.0  # s; a step above this and ten usual intervals is a reset of the clock
FEWEST = 0.5  # minimum share of frames with an ascending time stamp for the stamps to be used
STEADY = 0.1  # maximum deviation of a frame time in a steady recording, as a share of the interval


def plausible_rate(rate: float | None) -> float:
    """The rate in Hz, or NaN if it is missing or not between 0.1 and 1000 Hz."""
    if rate is None or not math.isfinite(rate) or not SLOWEST <= rate <= FASTEST:
        return float("nan")
    return float(rate)


def frame_times(
    stamps: Sequence[float | None], stated: float | None = None, resolution: float = 0.0
) -> tuple[np.ndarray, np.ndarray, float, tuple[str, ...]]:
    """Times of frames from their time stamps.

    Time stamps that deviate from even spacing only by rounding count as even. The duration of the last frame is ignored,
    because a hold at the end is unrelated to the rate.

    Args:
        stamps: time of each frame in s, in presentation order; None if missing.
        resolution: step in s to which the stamps are rounded.
        stated: frame rate of the header in Hz, used if the stamps are missing or agree with it.

    Returns:
        indices of the frames to keep (frames whose time goes backwards are dropped), their times float64 (T,) from 0
        (NaN if unknown), the nominal rate in Hz (NaN if unknown), and notes.
    """
    count, rate = len(stamps), plausible_rate(stated)
    everything = np.arange(count)
    if count < 2:
        return everything, np.zeros(count), float("nan"), ()
    given = np.array([math.nan if stamp is None else stamp for stamp in stamps], dtype=np.float64)
    given, notes = _without_resets(given)
    even = _even(given, rate, resolution)
    if even is not None:  # also if the clock is so coarse that neighbours share a stamp
        return everything, everything / even, even, notes
    highest = np.maximum.accumulate(np.where(np.isfinite(given), given, -math.inf))
    ascending = np.isfinite(given) & np.append(True, given[1:] > highest[:-1])
    if ascending.mean() < FEWEST:
        some = int(ascending.sum())
        useless = (f"time stamps ignored: only {some} of {count} ascend",) if some > 1 else ()
        return everything, everything / rate, rate, (*notes, *useless)
    keep = np.flatnonzero(ascending)
    if len(keep) < count:
        notes += (f"{count - len(keep)} frames without an ascending time dropped",)
    times = given[keep] - given[keep[0]]
    if len(keep) < 2:
        return keep, times, float("nan"), notes
    steps = np.diff(times)
    jumps = steps > max(LONGEST, 10 * float(np.median(steps)))
    if jumps.any():
        notes += (f"{int(jumps.sum())} jumps of the clock by up to {steps.max():.3g} s removed",)
        steps = np.where(jumps, np.median(steps), steps)
        times = np.append(0.0, np.cumsum(steps))
    even = _even(times, rate, resolution)
    if even is not None:
        return keep, np.arange(len(times)) / even, even, notes
    rate = plausible_rate(1 / float(np.median(steps)))
    if math.isnan(rate):
        return keep, np.full(len(times), math.nan), rate, notes
    return keep, times, rate, (*notes, f"uneven frame times, {steps.min():.3g} to {steps.max():.3g} s apart")


def _without_resets(given: np.ndarray) -> tuple[np.ndarray, tuple[str, ...]]:
    """Time stamps (T,), made continuous where the clock was reset, as in concatenated files, and a note.

    A clock counts as reset if at least a tenth of the frames, and at least two, follow at earlier times in ascending order.
    """
    steps = np.diff(given)
    usual = steps[steps > 0]
    back = np.flatnonzero(steps < 0)
    if not np.isfinite(given).all() or not len(usual):
        return given, ()
    parts = np.split(given, back + 1)
    earlier = [int((part <= given[last]).sum()) for last, part in zip(back, parts[1:], strict=True)]
    if not earlier or min(earlier) < max(2, 0.1 * len(given)):  # no reset, or single frames out of order
        return given, ()
    whole = np.where(steps < 0, np.median(usual), steps)
    note = f"the clock is reset {len(back)} times: the segments are joined"
    return given[0] + np.append(0.0, np.cumsum(whole)), (note,)


def _even(times: np.ndarray, rate: float, resolution: float) -> float | None:
    """The rate in Hz of times (T,) that are evenly spaced up to rounding (NaN if implausible), or None.

    Args:
        rate: stated rate in Hz or NaN; returned if it agrees.
        resolution: step in s to which the times are rounded.
    """
    if not np.isfinite(times).all() or (np.diff(times) < 0).any():
        return None
    order = np.arange(len(times))
    interval, start = np.polyfit(order, times, 1)
    off = np.abs(times - start - interval * order).max()
    steps = np.diff(times)
    if steps.min() > 0 and abs(float(np.median(steps)) - resolution) < 0.1 * resolution:
        resolution = 0.0  # one tick per frame, as in AVI: stamps are exact, so a longer step is a missing frame
    if interval <= 0 or off > STEADY * interval + 0.6 * resolution:
        return None
    fitted = round(1 / float(interval), 6)
    agreed = abs(fitted - rate) <= max(0.005, 2 * STEADY / len(times)) * rate  # False for NaN
    return rate if agreed else plausible_rate(fitted)
