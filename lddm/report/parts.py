"""Content of the report's templates: tables, images, numbers. No HTML: the templates escape all texts."""

from __future__ import annotations

import base64
import math
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from lddm.report.style import DPI

CSS_DPI = 96  # CSS pixels per inch


@dataclass(frozen=True)
class Cell:
    """A table cell.

    Attributes:
        text: main text.
        small: a second line in small print, e.g. the interval.
    """

    text: str
    small: str = ""


@dataclass(frozen=True)
class Table:
    """A table sortable by its headings; the first cell of each row names the row.

    Attributes:
        name: description of the table for screen readers.
    """

    name: str
    head: list[str]
    rows: list[list[Cell | str]]


@dataclass(frozen=True)
class Picture:
    """An embedded chart or film strip.

    Attributes:
        source: the PNG file as a data URI.
        alt: text alternative.
        width: natural width in CSS pixels.
        kind: "chart", which dark pages invert, or "strips".
    """

    source: str
    alt: str
    width: int
    kind: str


def picture(path: Path, alt: str, kind: str = "chart") -> Picture | None:
    """Embed a PNG of `lddm.report.style.save`; None if the file does not exist."""
    if not path.is_file():
        return None
    with Image.open(path) as opened:
        width = round(opened.width * CSS_DPI / DPI)
    return Picture(f"data:image/png;base64,{base64.b64encode(path.read_bytes()).decode()}", alt, width, kind)


def number(value: float | None) -> str:
    """Format with three significant digits; a dash if absent."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "–"
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"


def interval(low: float, high: float, signed: bool = False) -> str:
    """An interval, e.g. "0.6 to 0.81", or "+0.189 to +0.304" if signed."""
    return f"{low:+.3f} to {high:+.3f}" if signed else f"{number(low)} to {number(high)}"
