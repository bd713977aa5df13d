"""Frame times: from what a file states to one time per frame, and the plausible range of frame rates."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

SLOWEST, FASTEST = 0.1, 1000.0  # Hz; what a file states beyond is a time base or damage, not a frame rate
LONGEST = 20.0  # s between two frames, and ten usual intervals: beyond, the clock was reset and nothing was recorded
STEADY = 0.1  # share of an interval by which the frames of a steady recording may miss their times


def plausible_rate(rate: float | None) -> float:
    """The rate in Hz, or NaN if it is missing or not between 0.1 and 1000 Hz."""
    if rate is None or not math.isfinite(rate) or not SLOWEST <= rate < FASTEST:
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
    highest = np.maximum.accumulate(np.where(np.isfinite(given), given, -math.inf))
    ascending = np.isfinite(given) & np.append(True, given[1:] > highest[:-1])
    if ascending.mean() < 0.9:  # no usable time stamps
        return everything, everything / rate, rate, ()
    keep = np.flatnonzero(ascending)
    notes: tuple[str, ...] = ()
    if len(keep) < count:
        notes = (f"{count - len(keep)} frames without an ascending time dropped",)
    times = given[keep] - given[keep[0]]
    if len(keep) < 2:
        return keep, times, float("nan"), notes
    steps = np.diff(times)
    jumps = steps > max(LONGEST, 10 * float(np.median(steps)))
    if jumps.any():
        notes += (f"{int(jumps.sum())} jumps of the clock by up to {steps.max():.3g} s left out",)
        steps = np.where(jumps, np.median(steps), steps)
        times = np.append(0.0, np.cumsum(steps))
    order = np.arange(len(times))
    interval, start = np.polyfit(order, times, 1)
    off = np.abs(times - start - interval * order).max()
    if interval > 0 and off <= STEADY * interval + 0.6 * resolution:
        fitted = round(1 / float(interval), 6)
        agreed = abs(fitted - rate) <= max(0.005, 2 * STEADY / len(times)) * rate  # False for NaN
        rate = rate if agreed else plausible_rate(fitted)
        return keep, order / rate, rate, notes
    rate = plausible_rate(1 / float(np.median(steps)))
    if math.isnan(rate):
        return keep, np.full(len(times), math.nan), rate, notes
    return keep, times, rate, (*notes, f"uneven frame times, {steps.min():.3g} to {steps.max():.3g} s apart")
