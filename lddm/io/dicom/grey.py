"""Conversion of DICOM samples to grey levels 0-255: palette, colour, rescale, window, bit depth (PS3.3 C.7.6.3, C.11)."""

from __future__ import annotations

import numpy as np
from pydicom.dataset import Dataset
from pydicom.pixels import apply_color_lut, apply_modality_lut, apply_voi_lut, convert_color_space

from lddm.io.dicom.window import is_little, prepare_rescale, prepare_table, prepare_window
from lddm.io.recording import is_coloured, to_eight_bits

PARTIAL = "YBR_PARTIAL_422"
LUMINANCE = np.array([0.299, 0.587, 0.114], dtype=np.float32)  # ITU-R BT.601


class GreyLevels:
    """Convert the frames of one file to grey.

    Colour, palette and windowed frames are converted one at a time. Monochrome frames of more than 8 bits without a window
    are kept until `finish`, because they share one scale.

    Attributes:
        colour: whether any frame so far was coloured.
        notes: assumptions.
    """

    def __init__(self, header: Dataset) -> None:
        self.header = header
        self.photometric = str(header.get("PhotometricInterpretation", "MONOCHROME2"))
        self.bits = int(header.get("BitsStored") or header.get("BitsAllocated") or 8)
        self.signed = int(header.get("PixelRepresentation") or 0) == 1
        self.colour = False
        self.notes = prepare_rescale(header)
        self.window, said = prepare_window(header)
        self.notes += said
        if header.get("ModalityLUTSequence"):
            self.bits, self.signed = prepare_table(header.ModalityLUTSequence[0], is_little(header)), False
        self.as_stored = "ModalityLUTSequence" not in header and (_identity(header) or self._only_scaled())
        self._looked = 0
        self._entry_bits = 0

    def __call__(self, frame: np.ndarray) -> np.ndarray:
        """Samples (H, W) or (H, W, 3) -> uint8 (H, W), or float32 values that `finish` scales."""
        if self.photometric == "PALETTE COLOR":
            return self._luminance(_eight(apply_color_lut(frame, self.header), self._table_bits()))
        if frame.ndim == 3:
            frame = _eight(frame, self.bits)
            return self._luminance(_full_range(frame) if self.photometric == PARTIAL else frame)
        values = frame if self.as_stored else apply_modality_lut(frame, self.header)
        if self.window is not None:
            low, high = self.window
            values = apply_voi_lut(values, self.header)
            grey = (values - low) * (255 / (high - low))
            return self._inverted(np.clip(np.rint(grey), 0, 255).astype(np.uint8))
        if values.dtype == np.uint8 and self.bits == 8:
            return self._inverted(values)
        return values.astype(np.float32)

    def finish(self, values: np.ndarray) -> np.ndarray:
        """Scale the converted frames (T, H, W) together: uint8."""
        if values.dtype == np.uint8:
            return values
        low, high = float(np.nanmin(values)), float(np.nanmax(values))
        whole = bool(np.isfinite(values).all() and (values == np.rint(values)).all())
        around_zero = self.signed and self.as_stored and low < 0 and self.bits < 16
        if around_zero:
            middle = 2 ** (self.bits - 1)
            values, low, high = values + middle, low + middle, high + middle
        if whole and low >= 0 and high < 65536:
            known = self.bits < 16 and high < 2**self.bits and (around_zero or not self.signed)
            stated = self.bits if known else None
            grey, note = to_eight_bits(values, stated)
            self.notes += [note] if note else []
            return self._inverted(grey)
        self.notes.append("no window stated: values scaled from minimum to maximum")
        values = np.nan_to_num(values, nan=low, posinf=high, neginf=low)
        values -= low
        values *= 255 / max(high - low, 1e-9)
        return self._inverted(np.rint(values).astype(np.uint8))

    def _only_scaled(self) -> bool:
        """Whether stored values are grey levels: without a window, a rescaling with positive slope only changes the unit."""
        known = self.bits < 16 and not self.signed
        return self.window is None and known and float(self.header.get("RescaleSlope") or 1) > 0

    def _table_bits(self) -> int:
        """Bit depth of the palette entries, inferred once from the whole table: 8-bit entries may be stored in 16-bit words."""
        if self._entry_bits == 0:
            first = int(self.header.RedPaletteColorLookupTableDescriptor[1])
            count = int(self.header.RedPaletteColorLookupTableDescriptor[0]) or 65536
            every = np.arange(first, first + count).clip(0, 65535).astype(np.uint16)[None]
            entries = apply_color_lut(every, self.header)
            highest = int(entries.max())
            self._entry_bits = 16 if highest > 255 else 8
            stated = int(self.header.RedPaletteColorLookupTableDescriptor[2])
            if stated > 8 and highest <= 255:
                self.notes.append(f"no palette entry exceeds {highest}: read as 8 bits")
        return self._entry_bits

    def _luminance(self, rgb: np.ndarray) -> np.ndarray:
        if self._looked % 16 == 0 and not self.colour:
            self.colour = is_coloured(rgb)
        self._looked += 1
        return np.rint(rgb[..., :3] @ LUMINANCE).astype(np.uint8)

    def _inverted(self, grey: np.ndarray) -> np.ndarray:
        return 255 - grey if self.photometric == "MONOCHROME1" else grey


def _identity(header: Dataset) -> bool:
    """Whether rescaling is the identity."""
    return float(header.get("RescaleSlope") or 1) == 1 and float(header.get("RescaleIntercept") or 0) == 0


def _full_range(frame: np.ndarray) -> np.ndarray:
    """Convert Y 16-235 and Cb, Cr 16-240 to RGB 0-255, uint8 (H, W, 3) (ITU-R BT.601; PS3.3 C.7.6.3.1.2)."""
    scaled = (frame - np.array([16.0, 128, 128])) * (255 / np.array([219.0, 224, 224])) + np.array([0.0, 128, 128])
    full = np.rint(scaled).clip(0, 255).astype(np.uint8)
    return convert_color_space(full, "YBR_FULL", "RGB")


def _eight(values: np.ndarray, bits: int) -> np.ndarray:
    """Scale colour samples of the given bit depth to uint8."""
    if values.dtype == np.uint8:
        return values
    return np.rint(values * (255 / (2**bits - 1))).clip(0, 255).astype(np.uint8)
