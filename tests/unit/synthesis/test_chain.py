"""Long videos: windows are joined without visible seams."""

import numpy as np
import pytest
import torch

from lddm.autoencoder.decoder import OPEN, Decoded, Layers
from lddm.motion.warp import warp_sequence
from lddm.synthesis.chain import extend_autoregressively
from lddm.synthesis.long_motion import extend

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
    video = extend_autoregressively(swinging(0), bar, length=52, overlap=4, candidates=8)
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
    assert extend_autoregressively(swinging(1), bar[:2], length, 4, 2).shape[1] == length + 1


def test_an_overlap_without_new_frames_is_rejected(bar):
    with pytest.raises(ValueError, match="overlap"):
        extend_autoregressively(swinging(1), bar, 40, T, 2)


class Mover:
    """A decoder that warps, and nothing else."""

    def compose(self, x0, layers):
        return Decoded(warp_sequence(x0, layers.motion) + layers.log_gain, layers.motion)


def pushes(rows, log_gain=0.0):
    """Layers (n, ...) of pushes along the rows, (n, T) in pixels."""
    rows = torch.as_tensor(np.array(rows), dtype=torch.float32)
    motion = torch.stack([rows, torch.zeros_like(rows)], dim=2)[..., None, None].expand(-1, -1, 2, 32, 32)
    flat = torch.ones(len(rows), 1, rows.shape[1], 32, 32)
    return Layers(motion, -OPEN * flat, log_gain * flat)


def swing(place, speed, phase):
    t = np.arange(1, T + 1)
    return place * (np.sin(phase + speed * t) - np.sin(phase))


def test_motion_continues_over_seams_and_every_frame_is_interpolated_once():
    rng = np.random.default_rng(0)
    x0 = torch.from_numpy(rng.normal(0, 0.2, (1, 1, 32, 32)).astype(np.float32))
    begun, phase = [], 0.4
    true = 2 * (np.sin(phase + 0.3 * np.arange(1, 60)) - np.sin(phase))
    fade = 0.5 * (1 + np.cos(np.pi * np.arange(1, T + 1) / T))  # of what the frame before had

    def candidates(frame, number):
        begun.append(frame)
        start = 12 * number
        drawn = [true[start : start + T] - fade * true[start - 1]]  # the true continuation, among others
        return pushes([swing(2, 0.3, rng.uniform(0, 6)) for _ in range(3)] + drawn)

    layers = extend(Mover(), x0, pushes([swing(2, 0.3, phase)]), candidates, 40, 4)
    path = layers.motion[0, :, 0, 16, 16].numpy()
    assert layers.motion.shape == (1, 40, 2, 32, 32) and np.abs(path - true[:40]).max() < 0.01
    frames = Mover().compose(x0, layers).frames[0, 0]
    assert torch.allclose(begun[1][0, 0], frames[23])  # the second seam begins 4 frames before the end of 28
    once = Mover().compose(x0, pushes([path])).frames[0, 0]
    assert torch.allclose(frames, once, atol=1e-5)  # interpolated once, however many windows lie before


def test_displacements_are_composed_rather_than_added():
    """A stretch, then a push: u'(p) = v(p) + f u(p + v(p)), half way through the second window, where f is 0.5."""
    ramp = torch.arange(32.0)[:, None].expand(32, 32)
    first, then = pushes([[0.1] * T]), pushes([[0.0] * T])
    down = (0.1 * (ramp - 16)).expand(1, T, 32, 32)
    first = Layers(torch.stack([down, 0 * down], 2), first.occlusion_logits, first.log_gain)
    push = Layers(then.motion + torch.tensor([2.0, 0])[:, None, None], *[then.log_gain] * 2)
    moved = extend(Mover(), torch.zeros(1, 1, 32, 32), first, lambda *_: push, 20, 4).motion[0, -1, 0]
    assert moved[10, 5].item() == pytest.approx(2 + 0.5 * 0.1 * (12 - 16), abs=1e-4)


def test_displacements_do_not_accumulate_and_the_window_nearer_to_the_still_is_kept():
    x0, away = torch.zeros(1, 1, 32, 32), np.linspace(0.1, 2, T)
    layers = extend(Mover(), x0, pushes([away]), lambda *_: pushes([away]), 200, 4)
    assert layers.motion.abs().max() < 2.6
    start = away[T - 5] * np.cos(np.linspace(0, np.pi, T))  # back and beyond, or on and on
    on = extend(Mover(), x0, pushes([away]), lambda *_: pushes([start, start + np.linspace(0, 3, T)]), 28, 4)
    assert on.motion[0, -1, 0, 5, 5] < 0


def test_the_gain_fades_and_does_not_accumulate():
    x0 = torch.zeros(1, 1, 32, 32)
    layers = extend(Mover(), x0, pushes([[0.0] * T], 0.1), lambda *_: pushes([[0.0] * T], 0.1), 200, 4)
    assert layers.log_gain[0, 0, :, 5, 5].max() < 0.25


def test_one_window_is_truncated_and_a_full_overlap_is_rejected():
    x0, first = torch.zeros(1, 1, 32, 32), pushes([[1.0] * T])
    assert extend(Mover(), x0, first, None, 5, T).motion.shape[1] == 5
    with pytest.raises(ValueError, match="overlap"):
        extend(Mover(), x0, first, None, T + 1, T)
