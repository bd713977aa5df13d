"""Frame times, even resampling, bit depth and geometry of recordings, and how preprocessing uses them."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from lddm.data.clips import resample, resample_indices, sample_positions
from lddm.data.index import build_index
from lddm.data.preprocess import preprocess
from lddm.data.quality_control import file_reason, picture_range, rate_reason
from lddm.errors import LddmError
from lddm.io.frame_times import frame_times
from lddm.io.recording import FrameRate, Recording, square_pixels, to_eight_bits, upright
from lddm.settings.data import FolderSource, IndexSettings, PreprocessSettings

BURST = [i / 25 for i in range(20)] + [0.8 + i / 5 for i in range(16)]


@pytest.mark.parametrize(
    ("stamps", "stated", "rate"),
    [
        ([i / 25 for i in range(40)], 25, 25),
        ([round(i / 30, 2) for i in range(40)], None, 30),  # GIF: hundredths of a second
        ([round(i / 29.97, 3) for i in range(200)], 30000 / 1001, 29.97),  # MKV: thousandths
        ([i / 25 for i in range(40)], 90_000, 25),  # a time base instead of a rate
        ([i / 1e6 for i in range(40)], 1e6, np.nan),
        ([None] * 40, 25, 25),
        ([None] * 40, 1e6, np.nan),
        ([0.0] * 40, 25, 25),
        ([5 + i / 25 for i in range(40)], None, 25),
    ],
)
def test_even_time_stamps_give_one_rate(stamps, stated, rate):
    kept, times, found, notes = frame_times(stamps, stated, resolution=0.01 if stated is None else 0.001)
    assert found == pytest.approx(rate, rel=2e-3, nan_ok=True) and len(kept) == len(times) == len(stamps)
    assert np.diff(times) == pytest.approx(1 / found, nan_ok=True) and notes == ()


def test_uneven_time_stamps_are_kept_and_frames_that_go_back_are_dropped():
    kept, times, rate, notes = frame_times(BURST, 9.5)
    assert times == pytest.approx(BURST) and rate == pytest.approx(25) and "uneven" in notes[0]
    stamps = [i / 25 for i in range(40)]
    stamps[10] = 0.1
    kept, times, rate, notes = frame_times(stamps, 25)
    assert 10 not in kept and len(kept) == 39 and "dropped" in notes[0]


@pytest.mark.parametrize("native", [10.0, 30.0, 25.0, 24.0, 15.0, 29.97, 12.5, 9.5])
def test_resampled_frames_are_evenly_spaced_in_time(native):
    recording = Recording.steady(np.zeros((100, 2, 2), np.uint8), native)
    steps = np.diff(sample_positions(recording.times, native, 10.0)) / native
    assert steps.max() - steps.min() < 1e-6 and steps.mean() == pytest.approx(0.1, rel=3e-3)


def test_a_whole_ratio_takes_frames_as_they_are_and_others_are_blended():
    frames = np.arange(60, dtype=np.uint8)[:, None, None].repeat(2, 1).repeat(2, 2) * 4
    assert np.array_equal(resample(Recording.steady(frames, 30.0), 10.0), frames[::3])
    assert resample(Recording.steady(frames, 10.0), 10.0) is frames  # the phantom's bytes stay
    assert resample(Recording.steady(frames, float("nan")), 10.0) is frames
    blended = resample(Recording.steady(frames, 25.0), 10.0)[:, 0, 0]
    assert blended[:5].tolist() == [0, 10, 20, 30, 40]


@given(gaps=st.lists(st.floats(0.005, 0.5), min_size=2, max_size=60), fps=st.floats(2, 30))
@settings(deadline=None, max_examples=60)
def test_uneven_frames_are_picked_by_their_times(gaps, fps):
    times = np.concatenate([[0], np.cumsum(gaps)])
    rate = FrameRate(1 / float(np.median(gaps)), times)
    positions = sample_positions(times, rate, fps)
    assert (np.diff(positions) >= 0).all() and positions[0] == 0 and positions[-1] <= len(times) - 1
    if rate >= 0.9 * fps and np.ptp(gaps) > 1e-3:
        shown = np.interp(positions, np.arange(len(times)), times)
        wanted = np.arange(len(positions)) / fps
        bracket = np.interp(wanted, times, np.append(gaps, gaps[-1]))
        held = np.abs(shown - wanted) > 1e-6  # only where a gap is longer than two steps
        assert (bracket[held] >= 0).all() and np.abs(shown - wanted).max() <= max(gaps) / 2 + 1e-6
        assert max(gaps) * fps > 2 or not held.any()


def test_a_rest_at_the_end_is_held_and_not_cross_faded():
    times = np.append(np.arange(20) / 20, 3.0)
    positions = sample_positions(times, 20.0, 10.0)
    assert (positions == np.rint(positions)).all() and len(positions) == 31


def test_indices_for_a_rate_with_times_are_the_nearest_frames():
    chosen = resample_indices(36, FrameRate(25.0, np.array(BURST)), 10.0)
    assert (
        chosen.dtype.kind == "i" and np.abs(np.array(BURST)[chosen] - np.arange(len(chosen)) / 10).max() <= 0.1 + 1e-9
    )


def test_sixteen_bits_give_the_grey_levels_of_eight():
    grey = np.arange(256, dtype=np.uint16).reshape(1, 16, 16)
    assert np.array_equal(to_eight_bits(grey * 257)[0], grey) and to_eight_bits(grey * 257)[1] is None
    assert np.array_equal(to_eight_bits(grey // 2 * 257)[0], grey // 2)  # a dim image stays dim
    assert np.array_equal(to_eight_bits(grey * 16)[0], np.rint(grey * 16.0 * 255 / 4095))
    assert "12-bit" in to_eight_bits(grey * 16)[1] and "8-bit" in to_eight_bits(grey)[1]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientations_are_those_of_pillow(orientation):
    stored = np.arange(12, dtype=np.uint8).reshape(3, 4)
    image = Image.fromarray(stored)
    image.getexif()[0x0112] = orientation
    assert np.array_equal(upright(stored[None], orientation)[0], np.asarray(ImageOps.exif_transpose(image)))


def test_pixels_become_square_by_enlarging():
    frames = np.zeros((2, 40, 60), np.uint8)
    assert square_pixels(frames, 2.0).shape == (2, 80, 60) and square_pixels(frames, 0.5).shape == (2, 40, 120)
    assert square_pixels(frames, 1.001) is frames and square_pixels(frames, 100.0) is frames


def speckle(count, seed=0):
    return np.random.default_rng(seed).integers(20, 200, (count, 48, 64), dtype=np.uint8)


def test_dark_frames_at_the_ends_are_dropped_and_the_video_is_kept():
    frames, section = speckle(60), PreprocessSettings()
    frames[0] = 0
    assert file_reason(frames, "video", section) is None and picture_range(frames, section) == (1, 60)
    frames[:12] = (frames[:12] * np.linspace(0, 1, 12)[:, None, None]).astype(np.uint8)  # fade-in
    first, last = picture_range(frames, section)
    assert 2 <= first <= 6 and last == 60
    frames[-3:] = 255
    assert picture_range(frames, section)[1] == 57
    frames[30] = 0
    assert picture_range(frames, section) == (first, 57)  # a dark frame inside is a scene cut, not an end
    assert "uniform" in file_reason(np.full((20, 48, 64), 90, np.uint8), "video", section)


def test_slower_videos_are_left_out_unless_they_are_allowed():
    assert "slower: 5 Hz" in rate_reason(5.0, PreprocessSettings())
    assert rate_reason(9.5, PreprocessSettings()) is None and rate_reason(float("nan"), PreprocessSettings()) is None
    assert rate_reason(5.0, PreprocessSettings(allow_slower=True)) is None


def write_videos(folder, rates):
    from lddm.io.video import write_video

    for name in ("benign", "malignant"):
        (folder / "own" / name).mkdir(parents=True)
        for number, rate in enumerate(rates):
            write_video(folder / "own" / name / f"{number}.avi", speckle(30, number + len(name)), rate)


def stored(tmp_path, **section):
    sources = IndexSettings(sources=[FolderSource(folder="own")])
    index = build_index(sources, tmp_path, 0)
    preprocess(
        index,
        sources,
        PreprocessSettings(size=32, scene_cut_correlation=-1, **section),
        tmp_path,
        tmp_path / "frames",
        0,
    )
    return pd.read_parquet(tmp_path / "frames/videos.parquet"), (tmp_path / "frames/meta.json").read_text()


def test_videos_of_one_slower_rate_are_explained_or_carry_their_rate(tmp_path):
    write_videos(tmp_path, [5, 5])
    with pytest.raises(LddmError, match=r"slower: 5 Hz.*\n.*set preprocess.fps to 5"):
        stored(tmp_path)
    videos, meta = stored(tmp_path, allow_slower=True)
    assert '"fps": 5.0' in meta and videos["notes"].str.contains("kept at 5 Hz").all()


def test_what_was_assumed_stands_in_the_table_of_videos(tmp_path):
    write_videos(tmp_path, [10, 25])
    videos, meta = stored(tmp_path, max_frames=28)
    assert '"fps": 10.0' in meta and sorted(videos["native_fps"].unique()) == [10, 25]
    assert videos["notes"].str.contains("only the first 28 frames").all()
    assert (videos["stored_frames"] == np.where(videos["native_fps"] == 10, 28, 11)).sum() == 2  # 25 Hz: too short


def test_a_jump_of_the_clock_is_left_out_and_a_rest_is_kept():
    stamps = [i / 25 for i in range(30)] + [95443 + i / 25 for i in range(30)]
    _, times, rate, notes = frame_times(stamps, 25)
    assert rate == pytest.approx(25) and times[-1] == pytest.approx(59 / 25) and "1 jumps of the clock" in notes[0]
    _, times, rate, notes = frame_times([i / 25 for i in range(30)] + [10 + i / 25 for i in range(30)], 25)
    assert times[-1] == pytest.approx(11.16) and "uneven" in notes[0]


@pytest.mark.parametrize("doubled", [0, 3, 5, 11])
def test_doubled_stamps_cost_their_frames_and_no_time(doubled):
    stamps = [i / 20 for i in range(20)] + [1 + i / 5 for i in range(16)]
    for k in range(doubled):
        stamps[3 * k + 2] = stamps[3 * k + 1]
    kept, times, _, notes = frame_times(stamps, 20.0)
    assert times[-1] == pytest.approx(4) and len(kept) == 36 - doubled and "uneven" in notes[-1]


def test_a_coarse_clock_costs_no_frame_and_a_useless_one_is_said():
    coarse = [np.floor(i / 25 * 10) / 10 for i in range(50)]
    kept, times, rate, notes = frame_times(coarse, 25.0, resolution=0.1)
    assert len(kept) == 50 and rate == pytest.approx(25, rel=0.01) and notes == ()
    stamps = [0.0, 1.0] * 20
    kept, times, rate, notes = frame_times(stamps, 25.0)
    assert len(kept) == 40 and rate == 25 and "ignored" in notes[0]


def test_a_rate_of_1000_hz_is_plausible():
    assert frame_times([i / 1000 for i in range(40)])[2] == pytest.approx(1000)


def test_joined_files_keep_the_frames_behind_the_reset_of_the_clock():
    stamps = [i / 25 for i in range(40)] * 2
    kept, times, rate, notes = frame_times(stamps, None, resolution=0.001)
    assert len(kept) == 80 and rate == pytest.approx(25) and "reset 1 times" in notes[0]
