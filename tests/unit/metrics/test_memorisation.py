"""Memory of motion and authenticity, with positive and negative controls."""

import cv2
import numpy as np
import pytest

from lddm.metrics import novelty
from lddm.metrics.memorisation import MOTION, authenticity, transplanted

FRAMES, SIZE = 5, 32


def texture(rng):
    smooth = cv2.GaussianBlur(rng.random((SIZE, SIZE)).astype(np.float32), (0, 0), 1.2)
    return (255 * (smooth - smooth.min()) / np.ptp(smooth)).astype(np.uint8)


def moving(rng):
    """A texture that a smooth random field moves by a few pixels: uint8 (5, 32, 32)."""
    still = texture(rng)
    field = [
        cv2.resize(rng.normal(0, 1.8, (4, 4)).astype(np.float32), (SIZE, SIZE), interpolation=cv2.INTER_CUBIC)
        for _ in "xy"
    ]
    y, x = np.mgrid[:SIZE, :SIZE].astype(np.float32)
    steps = np.sin(np.linspace(0, np.pi / 2, FRAMES, dtype=np.float32))
    return np.stack(
        [
            cv2.remap(still, x + s * field[0], y + s * field[1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
            for s in steps
        ]
    )


@pytest.fixture(scope="module")
def clips():
    """60 training and 120 held-out patients, one clip each."""
    return [
        np.stack([moving(np.random.default_rng([part, i])) for i in range(count)])
        for part, count in ((0, 60), (1, 120))
    ]


def rate(made, train, held_out, features=MOTION):
    pool = np.concatenate([features.extract(view) for view in novelty.views(train)])
    return novelty.copies(features.extract(made), features.extract(held_out), pool, 0.05)["copied"].mean()


def test_a_training_motion_on_another_still_is_found_and_by_content_it_is_not(clips):
    train, unseen = clips
    made = transplanted(unseen[:60, 0], train)
    assert np.array_equal(made[:, 0], unseen[:60, 0])
    assert rate(made, train, unseen[60:]) >= 0.95
    assert rate(made, train, unseen[60:], novelty.THUMBNAILS) <= 0.10


@pytest.mark.parametrize("damage", ["unseen", "unseen, blurred", "unseen, dimmed", "unseen, frozen"])
def test_unseen_motion_is_no_copy(clips, damage):
    train, unseen = clips
    assert rate(novelty.degraded(unseen[:60])[damage], train, unseen[60:]) <= 0.10


def test_still_clips_have_no_motion(clips):
    frozen = np.repeat(clips[0][:3, :1], FRAMES, axis=1)
    assert not MOTION.extract(frozen).any()
    films = MOTION.extract(clips[0][:3])
    assert np.square(films).mean(axis=1) == pytest.approx(1)


def test_authenticity_is_lost_by_memory_and_kept_without_it():
    rng = np.random.default_rng(0)
    train, held_out, fresh = (rng.normal(size=(n, 4)) for n in (300, 150, 300))
    names = np.arange(300).astype(str)

    def share(made, pool, count=150):
        return authenticity(made, pool, np.full(len(made), "new"), names[: len(pool)], count, 0).mean()

    assert share(fresh, train) == pytest.approx(share(fresh, held_out), abs=0.1)
    assert share(train[:60] + 0.01, train, 300) == 0 and share(train[:60] + 0.01, held_out) > 0.4
    shrunk = 0.3 * fresh  # near to everything, as blurred videos are: less authentic, but to held-out ones alike
    assert share(shrunk, train) == pytest.approx(share(shrunk, held_out), abs=0.1)


def test_the_own_patient_does_not_count():
    rng = np.random.default_rng(1)
    pool = rng.normal(size=(20, 4))
    own = np.arange(20).astype(str)
    assert authenticity(pool[:5] + 1e-3, pool, own[:5], own, 20, 0).mean() > 0
    assert authenticity(pool[:5] + 1e-3, pool, np.full(5, "new"), own, 20, 0).mean() == 0
