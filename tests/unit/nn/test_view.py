"""The field of view of a still, against OpenCV's convex hull and by construction."""

import cv2
import numpy as np
import pytest
import torch

from lddm.nn.view import field_of_view, shrink

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
def test_it_is_what_is_lit_and_shadows_belong_to_it(lit):
    shadowed = lit & ~((PLACE - 30).abs() < 4) | (lit & (PLACE[:, None] < 14))
    for seen in (lit, shadowed):
        view = field_of_view(image(seen))[0, 0]
        hull = np.zeros((64, 64), np.uint8)
        cv2.fillConvexPoly(hull, cv2.convexHull(np.argwhere(seen.numpy())[:, ::-1].astype(np.int32)), 1)
        assert (view.numpy() != hull).mean() < 0.01
        assert (view & ~lit).float().mean() < 0.01 and not (seen & ~view).any()


def test_a_batch_is_its_images_and_black_counts_as_seen():
    images = torch.cat([image(fan()), -torch.ones(1, 1, 64, 64), image(fan(0.3))])
    views = field_of_view(images)
    assert all(torch.equal(view, field_of_view(one[None])[0]) for view, one in zip(views, images, strict=True))
    assert views[1].all() and not views[0].all()


def test_specks_in_the_black_are_no_tissue():
    speckled = image(fan())
    speckled[0, 0, 5, 3] = -0.9
    assert torch.equal(field_of_view(speckled), field_of_view(image(fan())))


def test_shrinking_spares_the_border_of_the_frame():
    view = torch.zeros(1, 1, 8, 8, dtype=torch.bool)
    view[..., :6, 2:] = True  # touches the frame above and to the right
    rows, columns = torch.nonzero(shrink(view, 1)[0, 0], as_tuple=True)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (0, 4, 3, 7)
