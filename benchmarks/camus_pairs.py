"""Pairs of end-diastole (ED) and end-systole (ES) from CAMUS, the motion between them, and synthetic two-frame videos.

The motion of both views of a patient is coupled, so one z contains both: their displacement fields are placed side by side,
with the apical two-chamber view on the left, and so are the two ED frames that condition a generator.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from scipy.ndimage import distance_transform_edt, gaussian_filter
from torch import Tensor
from torch.nn import functional as F

from lddm.data.sources.base import read_csv
from lddm.errors import LddmError
from lddm.io.image import read_image
from lddm.latent.spec import LatentSpec
from lddm.motion.field_of_view import view_of_spans, view_spans
from lddm.motion.invertibility import invertible_share
from lddm.motion.low_rank import shrinking
from lddm.motion.warp import refine, warp

VIEWS, PHASES = ("2CH", "4CH"), ("ED", "ES")
STORED = 224  # height and width of the files, in which the aspect ratio is not preserved
SIDE = 112  # pixels of the videos
CELLS = (16, 8)  # axial and lateral cells of a view: two views fill a map of 16 x 16
MOSAIC = 64  # height and width of the two ED frames side by side
REDUCED = 0.30  # mean area fraction change of both views below which contraction is reduced
SIGMA = 2.0  # pixels of a file: Gaussian smoothing of the images before the flow is measured
SMOOTH = 7.0  # pixels of a file: Gaussian smoothing of the flow; without it real motion would fold and be shrunk
MASK_SHARE = 0.75  # weight of the ventricle mask in the input of guided flow; the rest is the image
SPEC = LatentSpec("low_rank", frames=1, motion_rank=1, map_size=CELLS[0])


@dataclass(frozen=True)
class Pairs:
    """Patients with both views at both phases.

    Attributes:
        patient: patient names, str (n,).
        area_fraction_change: float64 (n,), mean of both views of 1 - area at ES / area at ED.
        frames: uint8 (n, 2 views, 2 phases, 224, 224).
        ventricle: bool, same shape: mask of the left ventricle.
    """

    patient: np.ndarray
    area_fraction_change: np.ndarray
    frames: np.ndarray
    ventricle: np.ndarray

    def of(self, patients: np.ndarray) -> Pairs:
        """Pairs of some patients, by index int (m,)."""
        return Pairs(*(getattr(self, field.name)[patients] for field in fields(self)))

    @property
    def label(self) -> np.ndarray:
        """Labels int64 (n,): 1 = reduced contraction."""
        return (self.area_fraction_change < REDUCED).astype(np.int64)


def read_pairs(folder: Path) -> Pairs:
    """Read areas.csv, images/ and masks/.

    Raises:
        LddmError: a file is missing, unreadable or of another size.
    """
    table = read_csv(folder / "areas.csv", ("patient_id", "view", "area_fraction_change"), "copy areas.csv again")
    table["area_fraction_change"] = table["area_fraction_change"].astype(float)
    change = table.groupby("patient_id")["area_fraction_change"].agg(["mean", "size"])
    patients = change.index[change["size"] == len(VIEWS)].to_numpy(dtype=str)
    if len(patients) < 10:
        raise LddmError(f"{folder} has both views of {len(patients)} patients", "copy the release again; 10 are needed")

    def read(kind: str) -> np.ndarray:
        images = [
            _read(folder / kind / f"{patient}_{view}_{phase}.png")
            for patient in patients
            for view in VIEWS
            for phase in PHASES
        ]
        return np.stack(images).reshape(len(patients), len(VIEWS), len(PHASES), STORED, STORED)

    return Pairs(patients, change.loc[patients, "mean"].to_numpy(), read("images"), read("masks") == 1)


def _read(path: Path) -> np.ndarray:
    image = read_image(path).frames[0]
    if image.shape != (STORED, STORED):
        raise LddmError(f"{path}: expected {STORED} x {STORED} grey pixels, got {image.shape}", "copy the file again")
    return image


def flow_between(first: np.ndarray, second: np.ndarray, sigma: float = SIGMA) -> np.ndarray:
    """Optical flow by DIS (Kroeger et al. 2016), such that first(p) = second(p + flow(p)).

    DIS is used because Farneback's flow separates reduced from preserved contraction less well for such large motion.

    Args:
        first, second: uint8 (n, H, W).
        sigma: standard deviation of the Gaussian smoothing of both images, in pixels of a file; 0 = none.

    Returns:
        float32 (n, 2, H, W), (axial, lateral).
    """
    # (the type stubs do not allow None as the initial flow)
    dis: Any = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    if sigma:
        width = sigma * first.shape[-1] / STORED
        first, second = (np.stack([cv2.GaussianBlur(i, (0, 0), width) for i in images]) for images in (first, second))
    return np.stack([dis.calc(a, b, None).transpose(2, 0, 1)[::-1] for a, b in zip(first, second, strict=True)])


def measured_motion(pairs: Pairs, guided: bool) -> Tensor:
    """z of all pairs, measured from ES back to ED: float32 (n, D), structure `SPEC`.

    Args:
        guided: whether the ventricle mask is part of the input of the flow. The mask determines the label, so this is allowed
            only for patients whose label may be known.
    """
    seen = pairs.frames
    if guided:
        seen = (255 * MASK_SHARE * pairs.ventricle + (1 - MASK_SHARE) * pairs.frames).astype(np.uint8)
    sigma = 0 if guided else SIGMA
    flows = np.stack([flow_between(seen[:, view, 1], seen[:, view, 0], sigma) for view in range(len(VIEWS))], axis=1)
    return as_latent(gaussian_filter(flows, (0, 0, 0, SMOOTH, SMOOTH), truncate=3))


def as_latent(flows: np.ndarray) -> Tensor:
    """Convert displacement fields float32 (n, 2 views, 2, 224, 224) in pixels to z float32 (n, D).

    The maps are the least-squares fit with respect to bicubic upsampling, in pixels of the mosaic.
    """
    down, across = (torch.from_numpy(shrinking(STORED, count)).float() for count in CELLS)
    maps = torch.einsum("rh,nvchw,kw->nvcrk", down, torch.from_numpy(flows), across)  # (n, V, 2, 16, 8)
    mosaic = torch.cat(list((maps * _scale()).unbind(1)), dim=3)  # (n, 2, 16, 16)
    return SPEC.join(mosaic, torch.ones(len(mosaic), 1, 1))


def _scale() -> Tensor:
    """Scale factors from pixels of a file to pixels of the mosaic, axial and lateral: (2, 1, 1)."""
    return torch.tensor([MOSAIC / STORED, MOSAIC / len(VIEWS) / STORED])[:, None, None]


def fields_of(z: Tensor) -> Tensor:
    """Displacement fields of both views from z (n, D), without folding: float32 (n, 2 views, 2, 112, 112) in pixels."""
    maps, rows = SPEC.split(z)
    views = torch.stack((maps * rows[:, :, :, None]).split(CELLS[1], dim=3), dim=1)  # (n, V, 2, 16, 8)
    views = views / _scale() * (SIDE / STORED)
    fields = F.interpolate(views.flatten(0, 1), size=(SIDE, SIDE), mode="bicubic").unflatten(0, views.shape[:2])
    share = invertible_share(fields.flatten(0, 1)[:, None]).reshape(*fields.shape[:2], 1, 1, 1)
    mean = fields.mean(dim=(3, 4), keepdim=True)
    return torch.where(share < 1, mean + share * (fields - mean), fields)


def small(frames: np.ndarray, side: int = SIDE) -> np.ndarray:
    """Downsample by area averaging: (..., H, W) -> (..., side, side), of the same dtype."""
    flat = frames.reshape(-1, *frames.shape[-2:])
    reduced = [cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA) for image in flat]
    return np.stack(reduced).reshape(*frames.shape[:-2], side, side)


def mosaics(end_diastole: np.ndarray) -> np.ndarray:
    """Place ED frames uint8 (n, 2 views, H, W) side by side: uint8 (n, 64, 64)."""
    shape = (MOSAIC // len(VIEWS), MOSAIC)
    return np.stack(
        [np.hstack([cv2.resize(v, shape, interpolation=cv2.INTER_AREA) for v in one]) for one in end_diastole]
    )


def animated(end_diastole: np.ndarray, z: Tensor) -> np.ndarray:
    """Synthesise the second frame of each view by warping ED with z inside the field of view.

    Pixels outside are filled from the nearest tissue before warping and restored afterwards. The edge of the sector is thus
    static, as in real pairs, and reveals no motion.

    Args:
        end_diastole: uint8 (n, 2 views, 112, 112).
        z: float (n, D).

    Returns:
        uint8 (n, 2 views, 112, 112).
    """
    still = end_diastole.reshape(-1, SIDE, SIDE)
    view = view_of_spans(torch.from_numpy(view_spans(still)), SIDE)[:, 0].numpy()  # (2 n, H, W)
    filled = np.stack([_filled(image, inside) for image, inside in zip(still, view, strict=True)])
    image = torch.from_numpy(filled).float()[:, None]
    moved = warp(refine(image), fields_of(z).flatten(0, 1))[:, 0].round().clamp(0, 255)
    return np.where(view, moved.numpy().astype(np.uint8), still).reshape(end_diastole.shape)


def _filled(image: np.ndarray, inside: np.ndarray) -> np.ndarray:
    rows, columns = distance_transform_edt(~inside, return_distances=False, return_indices=True)
    return image[rows, columns]


def moved_share(pairs: Pairs, z: Tensor) -> np.ndarray:
    """Area fraction change of the ED ventricle mask warped by z, mean of both views: float64 (n,).

    A pixel at ES belongs to the ventricle if its source pixel at ED does.
    """
    mask = torch.from_numpy(small(255 * pairs.ventricle[:, :, 0].astype(np.uint8))).float()  # (n, V, H, W)
    moved = warp(mask.flatten(0, 1)[:, None], fields_of(z).flatten(0, 1), "bilinear")[:, 0].unflatten(0, mask.shape[:2])
    before, after = ((part > 127.5).float().sum(dim=(2, 3)) for part in (mask, moved))
    return (1 - after / before.clamp_min(1)).mean(dim=1).double().numpy()
