"""Frame times: from what a file states to one time per frame, and the plausible range of frame rates."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

SLOWEST, FASTEST = 0.1, 1000.0  # Hz; what a file states beyond is a time base or damage, not a frame rate
LONGEST = 20.0  # s between two frames, and ten usual intervals: beyond, the clock was reset and nothing was recorded
FEWEST = 0.5  # share of the frames that need an ascending time stamp for the stamps to be used
STEADY = 0.1  # share of an interval by which the frames of a steady recording may miss their times


def plausible_rate(rate: float | None) -> float:
    """The rate in Hz, or NaN if it is missing or not between 0.1 and 1000 Hz."""
    if rate is None or not math.isfinite(rate) or not SLOWEST <= rate <= FASTEST:
        return float("nan")
    return float(rate)


def frame_times(
    stamps: Sequence[float | None], stated: float | None = None, resolution: float = 0.0
) -> tuple[np.ndarray, np.ndarray, float, tuple[str, ...]]:
    """Times of frames from their time stamps.

    Time stamps that miss an even spacing by rounding only count as even. The duration of the last frame is not used: a
    rest at the end says nothing about the rate.

    Args:
        stamps: time of each frame in s, in the order of presentation; None where there is none.
        resolution: step in s to which the stamps are rounded.
        stated: frame rate of the header in Hz, used where the stamps are missing or agree with it.

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
    if even is not None:  # also where the clock is so coarse that neighbours share a stamp
        return everything, everything / even, even, notes
    highest = np.maximum.accumulate(np.where(np.isfinite(given), given, -math.inf))
    ascending = np.isfinite(given) & np.append(True, given[1:] > highest[:-1])
    if ascending.mean() < FEWEST:
        some = int(ascending.sum())
        useless = (f"time stamps not used: only {some} of {count} ascend",) if some > 1 else ()
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
        notes += (f"{int(jumps.sum())} jumps of the clock by up to {steps.max():.3g} s left out",)
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
    """Time stamps (T,) that go on where the clock was set back, as in files that were joined, and a note.

    A clock counts as set back if at least a tenth of the frames, and two, follow at earlier times, in ascending order.
    """
    steps = np.diff(given)
    usual = steps[steps > 0]
    back = np.flatnonzero(steps < 0)
    if not np.isfinite(given).all() or not len(usual):
        return given, ()
    parts = np.split(given, back + 1)
    earlier = [int((part <= given[last]).sum()) for last, part in zip(back, parts[1:], strict=True)]
    if not earlier or min(earlier) < max(2, 0.1 * len(given)):  # none, or disorder of single frames
        return given, ()
    whole = np.where(steps < 0, np.median(usual), steps)
    note = f"the clock is set back {len(back)} times: the parts are joined"
    return given[0] + np.append(0.0, np.cumsum(whole)), (note,)


def _even(times: np.ndarray, rate: float, resolution: float) -> float | None:
    """The rate in Hz of times (T,) that are evenly spaced but for rounding (NaN if implausible), or None.

    Args:
        rate: stated rate in Hz or NaN, which is returned if it agrees.
        resolution: step in s to which the times are rounded.
    """
    if not np.isfinite(times).all() or (np.diff(times) < 0).any():
        return None
    order = np.arange(len(times))
    interval, start = np.polyfit(order, times, 1)
    off = np.abs(times - start - interval * order).max()
    steps = np.diff(times)
    if steps.min() > 0 and abs(float(np.median(steps)) - resolution) < 0.1 * resolution:
        resolution = 0.0  # one tick per frame, as in AVI: the stamps are exact, and a longer step is a missing frame
    if interval <= 0 or off > STEADY * interval + 0.6 * resolution:
        return None
    fitted = round(1 / float(interval), 6)
    agreed = abs(fitted - rate) <= max(0.005, 2 * STEADY / len(times)) * rate  # False for NaN
    return rate if agreed else plausible_rate(fitted)
