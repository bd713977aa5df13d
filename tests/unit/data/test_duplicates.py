"""Near-duplicates: copies that are found, and different recordings that are not joined."""

import cv2
import numpy as np
import pandas as pd
import pytest

from lddm.data.duplicates import cluster_duplicates, find_duplicates, video_hashes
from lddm.data.sources import phantom
from lddm.settings.data import PhantomSource

FILMS = 8
LENGTH = 45


def film(seed: int, frames: int = LENGTH, size: int = 64, fps: float = 10.0) -> np.ndarray:
    return phantom.simulate(np.random.default_rng(seed), PhantomSource(size=size, frames=frames, fps=fps), seed % 2)[0]


@pytest.fixture(scope="module")
def films():
    return [film(seed) for seed in range(FILMS)]


def cropped(frames: np.ndarray, left: int, right: int, top: int, bottom: int) -> np.ndarray:
    height, width = frames.shape[1:]
    cut = frames[:, top : height - bottom, left : width - right]
    return np.stack([cv2.resize(frame, (64, 64), interpolation=cv2.INTER_LINEAR) for frame in cut])


def recompressed(frames: np.ndarray) -> np.ndarray:
    quality = [cv2.IMWRITE_JPEG_QUALITY, 40]
    return np.stack([cv2.imdecode(cv2.imencode(".jpg", f, quality)[1], cv2.IMREAD_GRAYSCALE) for f in frames])


COPIES = {
    "whole": lambda frames: frames,
    "excerpt": lambda frames: frames[23:],
    "mirrored": lambda frames: frames[:, :, ::-1],
    "cropped by 3 % a side": lambda frames: cropped(frames, 2, 2, 2, 2),
    "cropped by 5 % a side": lambda frames: cropped(frames, 3, 3, 3, 3),
    "cropped on one side": lambda frames: cropped(frames, 3, 0, 0, 0),
    "recompressed": recompressed,
    "darker, with gamma": lambda frames: (200 * (frames / 255.0) ** 0.8 + 10).astype(np.uint8),
    "reversed": lambda frames: frames[::-1],
    "one and a half times as fast": lambda frames: frames[(1.5 * np.arange(30)).astype(int)],
    "a still": lambda frames: frames[23:24],
    "repeated three times": lambda frames: np.tile(frames[5:25], (3, 1, 1)),
    "frozen": lambda frames: np.repeat(frames[9:10], 30, axis=0),
    "after a title card": lambda frames: np.concatenate([np.repeat(card("A"), 12, axis=0), frames[20:]]),
    "mirrored, cropped and recompressed excerpt": lambda f: recompressed(cropped(f[19:, :, ::-1], 2, 3, 1, 2)),
}


def card(text: str) -> np.ndarray:
    image = np.zeros((1, 64, 64), np.uint8)
    cv2.putText(image[0], text, (2, 36), cv2.FONT_HERSHEY_SIMPLEX, 0.5, 220, 1)
    return image


@pytest.mark.parametrize("copy", COPIES.values(), ids=COPIES)
def test_a_copy_is_found_among_other_recordings(copy, films):
    hashes = [video_hashes(frames) for frames in [*films, copy(films[3])]]
    assert find_duplicates(hashes) == [(3, FILMS)]


def test_excerpts_are_found_wherever_they_begin():
    whole = film(1, frames=180, fps=30.0)
    for offset in (60, 61, 62, 67):
        excerpts = (whole[:120], whole[offset:])
        picked = [frames[::3] for frames in excerpts]
        assert find_duplicates([video_hashes(frames) for frames in picked]) == [(0, 1)], offset


def animated_splash() -> np.ndarray:
    """A logo that fades and moves: 12 distinct frames."""
    frames = np.zeros((12, 64, 64), np.uint8)
    for k, frame in enumerate(frames):
        cv2.putText(frame, "VENDOR", (2 + k // 2, 20 + 2 * k), cv2.FONT_HERSHEY_SIMPLEX, 0.5, 120 + 10 * k, 1)
    return frames


def with_border(frames: np.ndarray) -> np.ndarray:
    """A static frame with a logo and a grey bar, as one scanner draws it."""
    out = frames.copy()
    out[:, :6], out[:, -6:], out[:, :, :6] = 0, 0, 0
    out[:, 8:56, 1:4] = np.linspace(255, 0, 48).astype(np.uint8)[:, None]
    for frame in out:
        cv2.putText(frame, "ACME", (36, 62), cv2.FONT_HERSHEY_SIMPLEX, 0.3, 255, 1)
    return out


SHARED = {
    "nothing": lambda frames, place: frames,
    "a frozen title card": lambda frames, place: np.concatenate([np.repeat(card("VENDOR"), 25, axis=0), frames]),
    "an animated splash at either end": lambda frames, place: np.concatenate(
        [animated_splash(), frames] if place % 2 else [frames, animated_splash()]
    ),
    "black frames": lambda frames, place: np.concatenate([np.zeros((20, 64, 64), np.uint8), frames]),
    "borders and a logo": lambda frames, place: with_border(frames),
    "a title card before a frozen image": lambda frames, place: np.concatenate(
        [np.repeat(card("VENDOR"), 5, axis=0), np.repeat(frames[:1], 30, axis=0)]
    ),
}


@pytest.mark.parametrize("decorate", SHARED.values(), ids=SHARED)
def test_what_unrelated_recordings_share_joins_none(decorate, films):
    hashes = [video_hashes(decorate(frames, place)) for place, frames in enumerate(films)]
    assert find_duplicates(hashes) == []


def test_a_still_of_a_common_title_card_joins_none(films):
    hashes = [video_hashes(np.concatenate([card("VENDOR"), frames])) for frames in films] + [
        video_hashes(card("VENDOR"))
    ]
    assert find_duplicates(hashes) == []


def test_many_copies_of_one_file_are_one_cluster(films):
    copies = [films[0][k : k + 30] for k in range(0, 15, 2)] + [films[0][:1]] * 8
    table = pd.DataFrame({"source": "folder", "excluded": None, "cluster": None, "label": 0}, index=range(17))
    out = cluster_duplicates(table, [video_hashes(frames) for frames in [*copies, films[1]]])
    assert out.loc[:7, "cluster"].nunique() == 1 and out.loc[8:15, "cluster"].nunique() == 1
    assert pd.isna(out.loc[16, "cluster"]) and out["excluded"].isna().all()


def test_brightness_does_not_hide_a_duplicate_and_contradictions_are_excluded(films):
    copies = [*films[:4], (films[0][20:] * 0.8 + 20).astype(np.uint8), films[1]]
    table = pd.DataFrame({"source": "folder", "excluded": None, "cluster": None, "label": [0, 1, 0, 1, 0, 0]})
    out = cluster_duplicates(table, [video_hashes(frames) for frames in copies])
    assert out.loc[0, "cluster"] == out.loc[4, "cluster"] and pd.isna(out.loc[0, "excluded"])
    assert out.loc[1, "cluster"] == out.loc[5, "cluster"] and "another class" in out.loc[1, "excluded"]
    assert out.loc[[2, 3], "cluster"].isna().all()


def test_neighbourhoods_find_what_an_exhaustive_search_finds(monkeypatch):
    monkeypatch.setattr("lddm.data.duplicate_search.EXACT", 100)
    monkeypatch.setattr("lddm.data.duplicate_search.CELL", 60)
    films = [film(seed, frames=17, size=32) for seed in range(20)]
    films += [films[k][6:, :, ::-1] for k in range(5)] + [recompressed(films[k]) for k in range(5, 10)]
    assert find_duplicates([video_hashes(frames) for frames in films]) == [(k, 20 + k) for k in range(10)]


def test_files_without_content_and_empty_lists_have_no_duplicates():
    empty, black = np.zeros((0, 64, 64), np.uint8), np.zeros((9, 64, 64), np.uint8)
    assert find_duplicates([]) == []
    assert find_duplicates([video_hashes(empty), video_hashes(black), video_hashes(black)]) == []
