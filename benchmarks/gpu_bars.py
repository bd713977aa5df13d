"""Performance targets on a GPU and whether the measurements reach them: held, missed, or not measured."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class Bar:
    """A performance target.

    Attributes:
        name: measured quantity.
        wanted: lower limit, or upper limit if `below`.
        of: maps the output of `benchmarks.gpu` to the measured number; None if it was not measured.
        unit: unit of the number.
        below: whether smaller is better.
    """

    name: str
    wanted: float
    of: Callable[[dict[str, Any]], float | None]
    unit: str
    below: bool = False

    def judge(self, made: dict[str, Any]) -> dict[str, Any]:
        """The target with the measured number; `held` is None if there is none."""
        found = self.of(made)
        held = None if found is None else found <= self.wanted if self.below else found >= self.wanted
        return {"name": self.name, "wanted": self.wanted, "unit": self.unit, "measured": found, "held": held}


def _best(begins: str, value: str, **about: Any) -> Callable[[dict[str, Any]], float | None]:
    """Function that returns the largest value among the rows whose name has a prefix."""

    def of(made: dict[str, Any]) -> float | None:
        rows = [row for row in made["rows"] if row["name"].startswith(begins)]
        rows = [row for row in rows if all(row.get(name) == wanted for name, wanted in about.items())]
        return max((row[value] for row in rows if row.get(value) is not None), default=None)

    return of


def _whole(made: dict[str, Any]) -> float | None:
    whole = made.get("end_to_end") or {}
    return whole["whole_s"] if whole.get("finished") else None


BARS = (
    Bar("stage 2, denoiser, batch 32", 150, _best("stage 2, denoiser: graphs", "rate", batch=32), "steps/s"),
    Bar("stage 1, warp decoder, best batch", 4000, _best("stage 1, warp", "rate"), "clips/s"),
    Bar("stage 1, spade decoder, best batch", 0.25, _best("stage 1, spade", "share_of_peak"), "of peak"),
    Bar("synthesis in one step, on the device", 10_000, _best("synthesis, one step, on the device", "rate"), "clips/s"),
    Bar("... to arrays of the host", 10_000, _best("synthesis, one step, further samples", "rate"), "clips/s"),
    Bar("config/lung.yaml at 128 px, whole", 240, _whole, "s", below=True),
)


def judged(made: dict[str, Any]) -> Rows:
    """Judge all targets."""
    return [bar.judge(made) for bar in BARS]


def said(bar: dict[str, Any]) -> str:
    """ "held", "missed" or "not measured"."""
    return {True: "held", False: "missed", None: "not measured"}[bar["held"]]


def lines(bars: Rows) -> list[str]:
    """Markdown table of the targets."""
    made = ["| | wanted | measured | |", "|---|---|---|---|"]
    for bar in bars:
        found = "–" if bar["measured"] is None else f"{bar['measured']:.4g} {bar['unit']}"
        made.append(f"| {bar['name']} | {bar['wanted']:g} {bar['unit']} | {found} | {said(bar)} |")
    return made
