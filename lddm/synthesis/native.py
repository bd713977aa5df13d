"""Videos at the still's own size: what was decoded in the model's square is enlarged and applied to the still itself."""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np
import torch
from torch import Tensor

from lddm.autoencoder.decoder import OPEN, Layers, apply_gain
from lddm.data.ranges import to_float, to_uint8
from lddm.data.square import SquareFit
from lddm.motion.warp import bicubic_weights, low_pass, low_pass_weights, refine, warp
from lddm.synthesis.burned_in import burned_in_words
from lddm.synthesis.moving_part import moving_part

LETTER = 60.0  # grey levels above the tissue below: pixels of burned-in words that are brighter by this stand still


class NativeStill:
    """A still at its own size, ready to be moved by what a decoder makes in the model's square.

    Inside the field of view of the still, which is found at full size, tissue moves; outside it (borders, text, rulers)
    every pixel stays as it is, so that the edge of a fan stands still. Along that edge motion fades within `rim` pixels. Words
    burned into the tissue stand still, too.

    ASSUME: what enters the field of view looks like the tissue beside it, mirrored at the edge. The decoder's own guess of
    it is smooth and, for a fan where training had rectangles, dark.
    ASSUME: what "crop" leaves outside the square moves with the tissue beside it: fields are continued beyond the square by
    their outermost values. Standing still, it would tear off.

    Args:
        image: uint8 (H, W).
        fit: how it was fitted into the square of the model.
        device: where frames are computed.
    """

    def __init__(self, image: np.ndarray, fit: SquareFit, device: torch.device):
        self.image, self.fit, self.device = image, fit, device
        self.still = self._on_device(to_float(image))
        self.moves = moving_part(image)  # (H, W)
        rows, columns = fit.positions()
        self.down, self.across = (bicubic_weights(at, fit.size).to(device) for at in (rows, columns))  # (H, S), (W, S)
        self.cells = [low_pass_weights(at, fit.size, device) for at in (rows, columns)]
        self.scale = torch.tensor(fit.scale, device=device, dtype=torch.float32)[:, None, None]
        rim = max(1, round(max(fit.scale) / 4))  # the edge of a fan is blurred, by more where the still is finer
        depth = cv2.distanceTransform(np.pad(self.moves, 1, mode="edge").astype(np.uint8), cv2.DIST_L2, 5)[1:-1, 1:-1]
        share = np.clip(depth / (rim + 1), 0, 1)
        words = burned_in_words(image)
        if words.any():  # they stand still; what moves is the tissue below them, as far as their surroundings tell
            image = cv2.inpaint(image, words.astype(np.uint8), 3, cv2.INPAINT_TELEA)
            share *= 1 - np.clip((self.image - image.astype(np.float32)) / LETTER, 0, 1)
        self.share = self._on_device(share.astype(np.float32))
        self.tissue = refine(self._on_device(to_float(mirror_at_edge(image, depth > rim))))

    def _on_device(self, image: np.ndarray) -> Tensor:
        return torch.from_numpy(image).to(self.device)[None, None]  # (1, 1, H, W)

    def enlarge(self, maps: Tensor) -> Tensor:
        """Maps float (..., S, S) on the square -> (..., H, W) on the still, without what lies in the borders of "pad"."""
        return self.down @ maps @ self.across.T

    @torch.no_grad()
    def frames(self, layers: Layers) -> Iterator[np.ndarray]:
        """Frames 1..T, one after the other, since each takes a dozen maps of the still's size.

        Args:
            layers: what was decoded for it, of batch size 1.

        Yields:
            uint8 (H, W).
        """
        new = torch.sigmoid(layers.occlusion_logits - OPEN)
        for parts in zip(layers.motion[0], new[0, 0], layers.log_gain[0, 0], strict=True):
            yield to_uint8(self._frame(*parts))[0, 0].cpu().numpy()

    def _frame(self, motion: Tensor, new: Tensor, log_gain: Tensor) -> Tensor:
        """One frame float (1, 1, H, W): motion (2, S, S), and (S, S) each of the share of new tissue and the log-gain."""
        moved = warp(self.tissue, (self.enlarge(motion) * self.scale)[None], beyond="reflection")
        moved = moved + self.enlarge(new) * low_pass(self.tissue[..., ::2, ::2] - moved, self.cells[0], self.cells[1])
        moved = apply_gain(moved, self.enlarge(log_gain))
        return self.still + self.share * (moved.clamp(-1, 1) - self.still)


def mirror_at_edge(image: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """An image uint8 (H, W) whose pixels outside a mask bool (H, W) show what lies inside, mirrored at the nearest edge."""
    if inside.all() or not inside.any():
        return image
    padded = np.pad(inside, 12, mode="edge").astype(np.uint8)  # by more than the reach of the smoothing
    depths = [cv2.distanceTransform(mask, cv2.DIST_L2, cv2.DIST_MASK_PRECISE) for mask in (1 - padded, padded)]
    smooth = cv2.GaussianBlur(depths[0] - depths[1], (0, 0), 3.0)  # steps in the edge of a mask would tear the texture
    beyond, down, across = (values[12:-12, 12:-12] for values in (smooth, *np.gradient(smooth)))
    rows, columns = np.indices(image.shape, dtype=np.float32)
    reach = 2 * beyond + 2  # the outermost pixel is half black
    across, down = (columns - reach * across).astype(np.float32), (rows - reach * down).astype(np.float32)
    out = image
    for _ in range(2):  # at a corner the first mirror image still shows what is outside
        mirrored = cv2.remap(out, across, down, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT)
        out = np.where(inside, image, mirrored)
    return out
