"""Fonts for names in any script: an installed font with the characters, or a legible substitute."""

from __future__ import annotations

import functools
import re
import unicodedata

from PIL import ImageFont

DEFAULT = "DejaVu Sans"  # comes with matplotlib: Latin, Greek, Cyrillic and more
# Fonts that draw a box for every letter, and TeX fonts, which map letters to symbols.
UNUSABLE = re.compile(r"last ?resort|adobe (not)?(blank|def)|cm[a-z]+\d+$", re.IGNORECASE)
REGULAR = (400, "normal", "regular", "book")  # weights


def legible(text: str) -> str:
    """Replace characters without a font by their code points, e.g. (U+826F), so that texts remain distinct."""
    if text.isascii() and text.isprintable():
        return text  # covered by the default font, without importing matplotlib
    letters = unicodedata.normalize("NFC", text)
    return "".join(letter if _fonts(letter) is not None else f"(U+{ord(letter):04X})" for letter in letters)


def class_names(classes: list[str]) -> list[str]:
    """Class names for figures: unchanged if all can be drawn, else "class 0", "class 1"."""
    if all(_fonts(unicodedata.normalize("NFC", name)) is not None for name in classes):
        return [unicodedata.normalize("NFC", name) for name in classes]
    return [f"class {number}" for number in range(len(classes))]


def use_fonts(*texts: str) -> None:
    """Let matplotlib fall back to the fonts that these texts need."""
    import matplotlib

    families = list(matplotlib.rcParams["font.family"])
    for text in texts:
        families += [name for name, _ in _fonts(unicodedata.normalize("NFC", text)) or [] if name not in families]
    matplotlib.rcParams["font.family"] = families


def pillow_font(text: str, size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """A Pillow font with all characters of a legible text, because Pillow uses a single font per text."""
    if text.isascii():
        return ImageFont.load_default(size)
    needed = {ord(letter) for letter in text if not letter.isspace()}
    path = next((path for _, path in _candidates() if needed <= _letters(path)), None)
    return ImageFont.load_default(size) if path is None else ImageFont.truetype(path, size)


@functools.cache
def _fonts(text: str) -> list[tuple[str, str]] | None:
    """Family and file of the fonts that together cover a text, the default first; None if there are none."""
    missing = {ord(letter) for letter in text if letter.isprintable() and not letter.isspace()}
    chosen = []
    for name, path in _candidates():
        if found := missing & _letters(path):
            chosen.append((name, path))
            missing -= found
        if not missing:
            return chosen
    return None


@functools.cache
def _candidates() -> list[tuple[str, str]]:
    """Family and file of all usable fonts: the default first, then by name, regular weights before others."""
    from matplotlib import font_manager

    known = [
        (entry.name, entry.weight not in REGULAR, entry.fname)
        for entry in font_manager.fontManager.ttflist
        if entry.style == "normal" and not UNUSABLE.match(entry.name)
    ]
    return [(DEFAULT, font_manager.findfont(DEFAULT)), *((name, path) for name, _, path in sorted(known))]


@functools.cache
def _letters(path: str) -> frozenset[int]:
    """Code points that a font has; none if it cannot be opened."""
    from matplotlib.ft2font import FT2Font

    try:
        return frozenset(FT2Font(path).get_charmap())
    except (OSError, RuntimeError):
        return frozenset()
