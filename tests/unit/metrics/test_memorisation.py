"""Measures of memory, each with positive and negative controls."""

import cv2
import numpy as np
import pytest

from lddm.metrics import novelty
from lddm.metrics.data_copying import cells_of, data_copying
from lddm.metrics.membership import membership_auc
from lddm.metrics.memorisation import MOTION, authenticity, mirrored
from lddm.motion.flow import optical_flow

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


def transplanted(stills, clips):
    """Stills that move as other clips do: uint8 (n, T + 1, S, S)."""
    y, x = np.mgrid[: stills.shape[1], : stills.shape[2]].astype(np.float32)
    flows = optical_flow(clips, "backward", passes=2)  # (n, T, 2, S, S)
    moved = [
        [cv2.remap(still, x + flow[1], y + flow[0], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT) for flow in film]
        for still, film in zip(stills, flows, strict=True)
    ]
    return np.concatenate([stills[:, None], np.array(moved, dtype=np.uint8)], axis=1)


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


def test_mirrored_clips_have_mirrored_motion(clips):
    some = clips[0][:5]
    turned = MOTION.extract(some[..., ::-1].copy())
    assert np.abs(mirrored(MOTION.extract(some)) - turned).mean() < 0.05 * np.abs(turned).mean()


def test_authenticity_is_lost_by_memory_and_kept_without_it():
    rng = np.random.default_rng(0)
    train, held_out, fresh = (rng.normal(size=(n, 4)) for n in (300, 150, 300))
    names = np.arange(300).astype(str)

    def share(made, pool):
        return authenticity(made, pool, np.full(len(made), "new"), names[: len(pool)]).mean()

    assert share(fresh, train) == pytest.approx(share(fresh, held_out), abs=0.1)
    assert share(train[:60] + 0.01, train) == 0 and share(train[:60] + 0.01, held_out) > 0.4
    shrunk = 0.3 * fresh  # near to everything, as blurred videos are: less authentic, but to held-out ones alike
    assert share(shrunk, train) == pytest.approx(share(shrunk, held_out), abs=0.1)


def test_the_own_patient_does_not_count():
    rng = np.random.default_rng(1)
    pool = rng.normal(size=(20, 4))
    own = np.arange(20).astype(str)
    assert authenticity(pool[:5] + 1e-3, pool, own[:5], own).mean() > 0
    assert authenticity(pool[:5] + 1e-3, pool, np.full(5, "new"), own).mean() == 0


def copying(made, held_out, train, patients=None, held_out_patients=None, relative_to=None, seed=0):
    """The test on vectors: (value, low, high), p."""
    far = novelty.nearest
    cells = np.concatenate(cells_of(train, made, held_out, count=len(made), seed=0))
    distance = np.concatenate([far(made, train)[0], far(held_out, train)[0]])
    if relative_to is not None:
        distance /= np.concatenate([far(made, relative_to)[0], far(held_out, relative_to)[0]])
    generated = np.repeat([True, False], [len(made), len(held_out)])
    names = [np.arange(n) + start if given is None else given for given, n, start in (
        (patients, len(made), 0), (held_out_patients, len(held_out), len(made))
    )]  # fmt: skip
    return data_copying(distance, cells, generated, np.concatenate(names), 100, seed)


def test_data_copying_is_found_for_copies_and_not_for_fresh_samples():
    rng = np.random.default_rng(2)
    train, held_out, fresh = (rng.normal(size=(n, 3)) for n in (400, 100, 100))
    (value, low, high), p = copying(train[:100] + 0.01 * fresh, held_out, train)
    assert value < -5 and high < 0 and low <= value <= high and p == 0.001
    (value, low, high), p = copying(fresh, held_out, train)
    assert low < 0 < high and p > 0.05
    (value, _, _), p = copying(2 * fresh, held_out, train)  # underfitted: farther than fresh samples
    assert value > 2 and p > 0.9


def test_copies_of_one_cell_are_found_though_the_others_underfit():
    """Over all samples the two cancel; within cells they do not (figure 1 of the paper)."""
    rng = np.random.default_rng(3)
    centres = np.array([[0.0, 0.0], [20.0, 0.0]])
    train, held_out = (np.concatenate([c + rng.normal(size=(n, 2)) for c in centres]) for n in (100, 60))
    made = np.concatenate([train[:60] + 0.001, centres[1] + 2 * rng.normal(size=(60, 2))])
    cells = np.concatenate(cells_of(train, made, held_out, count=120, seed=0))
    assert len(np.unique(cells)) > 1 and set(cells[:60]).isdisjoint(cells[60:120])


def test_shrunken_samples_look_copied_unless_distances_are_relative():
    """As blurred videos do; beside the distance to held-out data the effect goes."""
    rng = np.random.default_rng(4)
    train, other, held_out, fresh = (rng.normal(size=(n, 6)) for n in (150, 150, 100, 100))
    assert copying(0.6 * fresh, held_out, train)[0][2] < 0
    assert copying(0.6 * fresh, held_out, train, relative_to=other)[0][2] > 0
    assert copying(train[:100] + 0.01 * fresh, held_out, train, relative_to=other)[0][2] < 0


def test_data_copying_draws_patients_not_videos():
    """Ten videos of each of ten patients are ten pieces of evidence: chance differences are not found more often than 5 %."""
    found = []
    for number in range(40):
        rng = np.random.default_rng([5, number])
        train = rng.normal(size=(100, 2))
        of = [np.repeat(rng.normal(size=(10, 2)), 10, axis=0) + 0.05 * rng.normal(size=(100, 2)) for _ in range(2)]
        names = [np.repeat(np.arange(10) + start, 10) for start in (0, 10)]
        found.append(copying(*of, train, *names)[1] < 0.05)
    assert np.mean(found) <= 0.15


def test_membership_is_found_by_patient():
    rng = np.random.default_rng(6)
    patients, member = np.repeat(np.arange(60), 3), np.repeat([True, False], 90)
    value, low, high = membership_auc(rng.normal(size=180) + 3 * ~member, member, patients, 0)
    assert value > 0.95 and low > 0.9 and high <= 1
    shared = np.repeat(rng.normal(size=60), 3)  # a patient's clips are equally hard: 60 numbers, not 180
    _, low, high = membership_auc(shared, member, patients, 0)
    _, narrow_low, narrow_high = membership_auc(shared, member, np.arange(180), 0)
    assert high - low > 1.4 * (narrow_high - narrow_low)
