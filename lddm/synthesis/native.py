"""Videos at native size: layers decoded at the model's size are upsampled and applied to the original still."""

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

REACH = 0.6  # of the distance to the border of the frame: at most, tissue is stretched by 1 / (1 - 0.6) there
LETTER = 60.0  # grey levels: pixels of burned-in text that exceed the tissue below by more than this are static


class NativeStill:
    """A still at native size, to which the layers decoded at the model's size are applied.

    Tissue moves only inside the field of view, which is detected at full size. All pixels outside (borders, text, rulers)
    are static, and so is the edge of the fan: motion fades out within `rim` pixels of it. Text burned into the tissue is
    static, too.

    ASSUME: tissue that enters the field of view looks like the tissue beside it, mirrored at the edge. The decoder's own
    inpainting is smooth, and dark for a fan if the training images were rectangles.
    ASSUME: image parts outside the square ("crop") move with the adjacent tissue: fields are extrapolated beyond the square
    by their outermost values. Static parts would tear off.

    Args:
        image: uint8 (H, W).
        fit: how the image was fitted to the model's square.
        device: device for computing frames.
    """

    def __init__(self, image: np.ndarray, fit: SquareFit, device: torch.device):
        self.image, self.fit, self.device = image, fit, device
        self.still = self._on_device(to_float(image))
        self.moves = moving_part(image)  # (H, W)
        rows, columns = fit.positions()
        self.down, self.across = (bicubic_weights(at, fit.size).to(device) for at in (rows, columns))  # (H, S), (W, S)
        self.cells = [low_pass_weights(at, fit.size, device) for at in (rows, columns)]
        self.scale = torch.tensor(fit.scale, device=device, dtype=torch.float32)[:, None, None]
        # the edge of a fan is blurred, over more pixels in a still of higher resolution
        rim = max(1, round(max(fit.scale) / 4))
        depth = cv2.distanceTransform(np.pad(self.moves, 1, mode="edge").astype(np.uint8), cv2.DIST_L2, 5)[1:-1, 1:-1]
        share = np.clip(depth / (rim + 1), 0, 1)
        words = burned_in_words(image)
        if words.any():  # text is static; the tissue below it, inpainted from its surroundings, moves
            image = cv2.inpaint(image, words.astype(np.uint8), 3, cv2.INPAINT_TELEA)
            share *= 1 - np.clip((self.image - image.astype(np.float32)) / LETTER, 0, 1)
        self.share = self._on_device(share.astype(np.float32))
        self.tissue = refine(self._on_device(to_float(mirror_at_edge(image, depth > rim))))

    def _on_device(self, image: np.ndarray) -> Tensor:
        return torch.from_numpy(image).to(self.device)[None, None]  # (1, 1, H, W)

    def enlarge(self, maps: Tensor) -> Tensor:
        """Upsample maps float (..., S, S) on the square to (..., H, W) on the still, without the borders added by "pad"."""
        return self.down @ maps @ self.across.T

    @torch.no_grad()
    def frames(self, layers: Layers) -> Iterator[np.ndarray]:
        """Generate frames 1..T one by one, since each needs a dozen maps of the size of the still.

        Args:
            layers: decoded layers, batch size 1.

        Yields:
            uint8 (H, W).
        """
        new = torch.sigmoid(layers.occlusion_logits - OPEN)
        for parts in zip(layers.motion[0], new[0, 0], layers.log_gain[0, 0], strict=True):
            yield to_uint8(self._frame(*parts))[0, 0].cpu().numpy()

    def _frame(self, motion: Tensor, new: Tensor, log_gain: Tensor) -> Tensor:
        """One frame float (1, 1, H, W) from motion (2, S, S), occlusion (S, S) and log-gain (S, S)."""
        moved = warp(self.tissue, within_frame(self.enlarge(motion) * self.scale)[None], beyond="border")
        moved = moved + self.enlarge(new) * low_pass(self.tissue[..., ::2, ::2] - moved, self.cells[0], self.cells[1])
        moved = apply_gain(moved, self.enlarge(log_gain))
        return self.still + self.share * (moved.clamp(-1, 1) - self.still)


def within_frame(motion: Tensor) -> Tensor:
    """Shrink displacements smoothly towards the border of the frame, so that no tissue is taken from beyond it.

    There is none: mirrored tissue shows each structure twice, and repeated border pixels are streaks. Displacements of up to half
    of `REACH` times the distance to the border stay as they are; larger ones approach `REACH` times the distance.

    Args:
        motion: float (2, H, W) in pixels, (axial, lateral).

    Returns:
        float (2, H, W).
    """
    limited = []
    for axis, field in enumerate(motion):
        places = torch.arange(field.shape[axis], device=field.device, dtype=field.dtype)
        places = places[:, None] if axis == 0 else places
        room = torch.where(field < 0, places, field.shape[axis] - 1 - places).clamp_min(1e-3)
        share = field.abs() / room
        most = REACH - REACH**2 / (4 * share.clamp_min(REACH / 2))
        limited.append(torch.where(share > REACH / 2, field.sign() * room * most, field))
    return torch.stack(limited)


def mirror_at_edge(image: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Fill the pixels of an image uint8 (H, W) outside a mask bool (H, W) by reflection at the nearest edge of the mask."""
    if inside.all() or not inside.any():
        return image
    padded = np.pad(inside, 12, mode="edge").astype(np.uint8)  # wider than the smoothing kernel
    depths = [cv2.distanceTransform(mask, cv2.DIST_L2, cv2.DIST_MASK_PRECISE) for mask in (1 - padded, padded)]
    smooth = cv2.GaussianBlur(depths[0] - depths[1], (0, 0), 3.0)  # a staircase edge would tear the texture
    beyond, down, across = (values[12:-12, 12:-12] for values in (smooth, *np.gradient(smooth)))
    rows, columns = np.indices(image.shape, dtype=np.float32)
    reach = 2 * beyond + 2  # the outermost pixel is partly black
    across, down = (columns - reach * across).astype(np.float32), (rows - reach * down).astype(np.float32)
    out = image
    for _ in range(2):  # at a corner the first reflection may still lie outside
        mirrored = cv2.remap(out, across, down, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT)
        out = np.where(inside, image, mirrored)
    return out
