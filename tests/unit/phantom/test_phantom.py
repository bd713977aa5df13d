"""The phantom: repeatable, moving, and its class lies where the settings say."""

import numpy as np
import pytest

from lddm.data.sources import phantom
from lddm.motion.flow import optical_flow
from lddm.settings.data import PhantomSource

SMALL = PhantomSource(videos=6, stills=4, size=32)
CLASSES = ["benign", "malignant"]


def test_rows_are_labelled_patients_of_their_own():
    rows = phantom.rows(SMALL, 0, CLASSES)
    assert [row["kind"] for row in rows].count("video") == 6 and len(rows) == 10
    assert len({row["patient_id"] for row in rows}) == 10 and len({row["id"] for row in rows}) == 10
    for kind in ("video", "image"):
        labels = [row["label"] for row in rows if row["kind"] == kind]
        assert sorted(set(labels)) == [0, 1] and labels.count(0) == labels.count(1)


def test_reading_repeats_and_depends_on_the_seed():
    path = phantom.rows(SMALL, 0, CLASSES)[0]["path"]
    frames, fps = phantom.read(path, SMALL, 0)
    again, _ = phantom.read(path, SMALL, 0)
    other, _ = phantom.read(path, SMALL, 1)
    assert frames.dtype == np.uint8 and frames.shape == (17, 32, 32) and fps == SMALL.fps
    assert np.array_equal(frames, again) and not np.array_equal(frames, other)


def test_the_frame_is_a_window_without_a_rim():
    """A dark rim stays in place while tissue moves; a warped x0 cannot reproduce it, and FVD is dominated by it."""
    settings = PhantomSource(videos=24, stills=0, size=64)
    clips = np.stack([phantom.read(row["path"], settings, 0)[0] for row in phantom.rows(settings, 0, CLASSES)])
    mean = clips.mean(axis=(0, 1))
    rim, inside = 2, slice(2, -2)
    for outer, inner in (
        (mean[inside, :rim], mean[inside, rim : 3 * rim]),
        (mean[inside, -rim:], mean[inside, -3 * rim : -rim]),
        (mean[-rim:, inside], mean[-3 * rim : -rim, inside]),
    ):
        assert abs(outer.mean() / inner.mean() - 1) < 0.04
    deepest = clips[:, :, -rim:].mean(axis=(2, 3))  # (n, T): tissue enters from below as the probe presses
    assert (np.abs(deepest / deepest[:, :1] - 1) < 0.35).all()


def test_it_looks_like_ultrasound_and_moves_like_tissue():
    settings = PhantomSource(videos=8, stills=0, size=64)
    clips = np.stack([phantom.read(row["path"], settings, 0)[0] for row in phantom.rows(settings, 0, CLASSES)])
    assert 20 < clips.mean() < 140 and clips.std() > 20
    step = np.abs(np.diff(clips.astype(float), axis=1)).mean()
    far = np.abs(clips[:, 8:].astype(float) - clips[:, :1]).mean()
    assert far > 1.3 * step  # motion adds up; noise would not
    flow = optical_flow(clips, frames=[4])
    assert np.abs(flow[:, :, 0]).mean() > np.abs(flow[:, :, 1]).mean()  # the probe presses axially


@pytest.mark.parametrize("motion", [0.0, 1.0])
def test_the_class_is_in_the_stiffness_as_far_as_the_settings_say(motion):
    settings = PhantomSource(videos=40, stills=0, size=32, appearance=0.0, motion=motion)
    stiff = {0: [], 1: []}
    for label in (0, 1):
        for seed in range(40):
            lesion = phantom.simulate(np.random.default_rng([seed, label]), settings, label)[1].lesion
            stiff[label].append(lesion.stiffness)
    share = [np.mean(np.array(stiff[label]) > 1) for label in (0, 1)]
    if motion == 1.0:
        assert share == [0.0, 1.0]
    else:
        assert abs(share[0] - share[1]) < 0.35  # binomial noise of 40 against 40


def test_the_look_hides_or_shows_the_class():
    def taller(appearance, label):
        settings = PhantomSource(size=32, appearance=appearance)
        lesions = [phantom.simulate(np.random.default_rng([s, label]), settings, label)[1].lesion for s in range(30)]
        return np.mean([lesion.height > lesion.width for lesion in lesions])

    assert taller(1.0, 1) > 0.8 and taller(1.0, 0) < 0.2
    assert abs(taller(0.0, 1) - taller(0.0, 0)) < 0.4


def test_another_draw_has_the_same_still_and_class_and_another_motion():
    settings = PhantomSource(videos=2)
    first, again, third = (phantom.read("phantom:video/000001", settings, 3, draw=number)[0] for number in (0, 1, 2))
    assert np.array_equal(first[0], again[0]) and np.array_equal(first[0], third[0])
    differences = [np.abs(a[1:].astype(int) - b[1:]).mean() for a, b in ((first, again), (again, third))]
    assert min(differences) > 5
    assert np.array_equal(again, phantom.read("phantom:video/000001", settings, 3, draw=1)[0])


def test_a_still_is_the_first_frame_of_its_video():
    settings = PhantomSource(size=32, frames=5)
    still, _ = phantom.read("phantom:still/4", settings, 1)
    video, _ = phantom.read("phantom:still/4", settings, 1, as_video=True)
    assert still.shape == (1, 32, 32) and video.shape == (5, 32, 32)
    assert np.array_equal(still[0], video[0]) and not np.array_equal(video[0], video[1])
