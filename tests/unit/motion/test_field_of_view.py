"""Field of view of a still: fans, rectangles and full frames with shadows, markers, noise and fading tissue."""

import pytest
import torch

from lddm.motion import field_of_view as view
from lddm.motion.field_of_view import erode, field_of_view

PLACE = torch.arange(64.0)


def image(lit):
    """float (1, 1, 64, 64): speckle where `lit`, black elsewhere."""
    speckle = 0.2 + 0.5 * torch.rand(lit.shape, generator=torch.Generator().manual_seed(0))
    return torch.where(lit, speckle, -1.0)[None, None]


def fan(angle=0.5, depth=60.0):
    """bool (64, 64): a sector whose tip lies above the frame."""
    down, right = PLACE[:, None] + 12, PLACE - 31.5
    return (torch.atan2(right.abs(), down) < angle) & (down.square() + right.square() < (depth + 12) ** 2)


@pytest.mark.parametrize(
    "lit",
    [fan(), fan(0.35, 50), (PLACE[:, None] > 9) & (PLACE > 19) & (PLACE < 44), torch.ones(64, 64, dtype=torch.bool)],
    ids=["fan", "narrow fan", "rectangle", "whole frame"],
)
def test_the_mask_covers_bright_tissue_and_its_shadows(lit):
    shadowed = lit & ~((PLACE - 30).abs() < 4) | (lit & (PLACE[:, None] < 14))
    for seen in (lit, shadowed):
        view = field_of_view(image(seen))[0, 0]
        assert (view & ~lit).float().mean() < 0.01 and (seen & ~view).float().mean() < 1e-3  # a corner


def test_masks_of_a_batch_are_independent_and_black_images_are_fully_visible():
    images = torch.cat([image(fan()), -torch.ones(1, 1, 64, 64), image(fan(0.3))])
    views = field_of_view(images)
    assert all(torch.equal(view, field_of_view(one[None])[0]) for view, one in zip(views, images, strict=True))
    assert views[1].all() and not views[0].all()


MARKS = {
    "marker": [(2, 3, 3, 3)],
    "marker at the border": [(0, 0, 6, 6)],
    "large marker": [(1, 1, 10, 10)],
    "text": [(58, 1, 4, 12)],
    "several": [(0, 0, 4, 4), (0, 56, 4, 8), (59, 0, 5, 10), (59, 52, 5, 12)],
    "bar": [(6, 58, 30, 4)],
    "bar that touches the fan": [(16, 60, 32, 2)],
    "ruler at the border": [(2, 63, 38, 1), *((row, 61, 1, 2) for row in range(2, 40, 4))],
}


@pytest.mark.parametrize("noise", [0, 6], ids=["black", "noisy background"])
@pytest.mark.parametrize("boxes", MARKS.values(), ids=MARKS)
def test_markers_beside_a_fan_are_excluded(boxes, noise):
    rng = torch.Generator().manual_seed(1)
    bright, tissue = torch.zeros(64, 64, dtype=torch.bool), fan()
    for row, column, height, width in boxes:
        bright[row : row + height, column : column + width] = True
    background = -1 + 2 * noise / 255 * torch.rand(64, 64, generator=rng)
    view = field_of_view(torch.where(tissue | bright, image(tissue | bright), background))[0, 0]
    assert (view & ~tissue).float().mean() < 0.025 and not (tissue & ~view).any()


def test_tissue_that_fades_with_depth_has_no_lower_edge():
    """Attenuated to black in the middle of the frame, as lungs are: the sides go on to the bottom of the frame."""
    fading = torch.exp(-((PLACE[:, None] / 20) ** 2))
    for tissue in (fan(depth=70.0), torch.ones(64, 64, dtype=torch.bool)):
        grey = (image(tissue) + 1) * fading - 1
        assert (grey[0, 0, 45:] < 2 * 2.5 / 255 - 1).all()  # black
        view = field_of_view(grey)[0, 0]
        assert (tissue & ~view).float().mean() < 0.01 and (view & ~tissue).float().mean() < 0.05


@pytest.mark.parametrize("size", [16, 32, 64, 144, 512])
def test_frames_without_an_edge_are_fully_visible(size):
    few = -torch.ones(1, 1, size, size)
    few[..., :1, :1] = 1.0  # a burnt-in pixel in a black frame
    bright, dim = torch.ones_like(few), torch.full_like(few, -0.97)
    assert all(field_of_view(image).all() for image in (few, bright, dim))


@pytest.mark.parametrize("row", [0, 1, 15])
def test_a_thin_strip_of_tissue_is_a_field_of_view(row):
    line = -torch.ones(1, 1, 16, 16)
    line[..., row, :] = 1.0
    assert field_of_view(line)[0, 0, row].all()


def test_a_sharp_lower_edge_is_an_edge():
    letterbox = (PLACE[:, None] > 9) & (PLACE[:, None] < 50) & (PLACE > -1)
    assert torch.equal(field_of_view(image(letterbox))[0, 0], letterbox)


@pytest.mark.parametrize("part", ["behind a dark band", "dark beside a bright lobe"])
def test_tissue_behind_shadows_is_included(part):
    tissue = fan(0.45, 58)
    grey = image(tissue)
    if part == "behind a dark band":
        grey[0, 0, 30:36] = -1.0
    else:
        dim = tissue & (PLACE > 30) & (PLACE[:, None] > 10)
        grey = torch.where(dim, -1 + 0.05 * (grey + 1), grey)
    assert ((field_of_view(grey)[0, 0] != tissue).float().mean()) < 0.015


def test_specks_in_the_background_are_not_tissue():
    speckled = image(fan())
    speckled[0, 0, 5, 3] = -0.9
    assert torch.equal(field_of_view(speckled), field_of_view(image(fan())))


def test_erosion_spares_the_border_of_the_frame():
    view = torch.zeros(1, 1, 8, 8, dtype=torch.bool)
    view[..., :6, 2:] = True  # touches the frame above and to the right
    rows, columns = torch.nonzero(erode(view, 1)[0, 0], as_tuple=True)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (0, 4, 3, 7)


def test_the_mask_of_an_image_is_computed_once(monkeypatch):
    """As a training needs it: what the networks of a step take must not wait for the views of known stills."""
    found, find = [], view._hull_of_tissue
    monkeypatch.setattr(view, "_known", {})
    monkeypatch.setattr(view, "_hull_of_tissue", lambda grey: found.append(grey) or find(grey))
    images = torch.cat([image(fan()), image(fan(0.3)), image(fan())])
    once = field_of_view(images)
    assert torch.equal(once, field_of_view(images)) and len(found) == 2
    monkeypatch.setattr(view, "KEPT", 64)  # room for one: the oldest is forgotten
    view._known.clear()
    assert torch.equal(once, field_of_view(images)) and len(view._known) == 1


def test_rows_without_tissue_are_outside_the_field_of_view():
    low = torch.zeros(64, 64, dtype=torch.bool)
    low[20:40, 10:50] = True
    assert torch.equal(field_of_view(image(low))[0, 0], low)
