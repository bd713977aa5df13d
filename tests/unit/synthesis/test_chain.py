"""Windows are chained so that no seam shows."""

import numpy as np
import pytest

from lddm.synthesis.chain import chain_windows

T = 16


def swinging(seed: int):
    """A generator of windows: a bright bar swings about its place in the first frame, in any phase and at any speed."""

    def window(x0: np.ndarray, number: int) -> np.ndarray:
        rng = np.random.default_rng([seed, number])
        rows = np.arange(x0.shape[1], dtype=np.float32)
        videos = []
        for image in x0:
            place = (image[:, 0] * rows).sum() / image[:, 0].sum()
            phase, speed = rng.uniform(0, 2 * np.pi), rng.uniform(0.2, 0.4)
            t = np.arange(T + 1)
            path = place + 3 * (np.sin(phase + speed * t) - np.sin(phase))
            bar = 200 * np.exp(-((rows - path[:, None]) ** 2) / 18)
            videos.append(np.repeat(bar[:, :, None], 4, axis=2))
        return np.asarray(videos, dtype=np.float32)

    return window


def steps(video: np.ndarray) -> np.ndarray:
    """Mean change from frame to frame (n, frames - 1)."""
    return np.abs(np.diff(video, axis=1)).mean(axis=(2, 3))


@pytest.fixture
def bar():
    rows = np.arange(48, dtype=np.float32)
    image = 200 * np.exp(-((rows - 24) ** 2) / 18)
    return np.repeat(np.repeat(image[None, :, None], 4, axis=2), 12, axis=0)


def test_the_change_at_seams_is_within_the_range_inside_windows(bar):
    video = chain_windows(swinging(0), bar, length=52, overlap=4, candidates=8)
    assert video.shape == (12, 53, 48, 4) and np.allclose(video[:, 0], bar, atol=1e-3)
    change = steps(video)
    near = np.zeros(52, dtype=bool)
    for seam in (16, 28, 40):
        near[seam - 5 : seam + 1] = True  # all that the blend touches, and the step out of it
    assert np.quantile(change[:, near], 0.98) <= change[:, ~near].max()
    assert change[:, near].mean() == pytest.approx(change[:, ~near].mean(), rel=0.25)

    # The speed goes on over the seam; windows that are merely put end to end jerk there.
    def jerk(videos):
        return np.abs(np.diff(videos, 2, axis=1)).mean(axis=(2, 3))

    put = [swinging(0)(bar, 0)]
    for number in (1, 2, 3):
        put.append(swinging(0)(put[-1][:, -1], number)[:, 1:])
    put = np.concatenate(put, axis=1)
    assert jerk(video)[:, near[1:]].mean() < 0.5 * jerk(put)[:, [15, 31, 47]].mean()


@pytest.mark.parametrize("length", [1, 16, 17, 29])
def test_any_length(bar, length):
    assert chain_windows(swinging(1), bar[:2], length, 4, 2).shape[1] == length + 1


def test_an_overlap_that_leaves_nothing_new_is_refused(bar):
    with pytest.raises(ValueError, match="overlap"):
        chain_windows(swinging(1), bar, 40, T, 2)
