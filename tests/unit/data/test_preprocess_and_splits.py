"""Time, space and folds."""

import os

import cv2
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lddm.data import quality_control
from lddm.data.clips import clip_starts, resample_indices
from lddm.data.frames import FrameStore
from lddm.data.index import build_index, read_row
from lddm.data.preprocess import fit_square, preprocess
from lddm.data.splits import check_no_leak, check_stills, choose_videos, make_splits
from lddm.errors import LddmError
from lddm.settings.data import IndexSettings, PhantomSource, PreprocessSettings, SplitSettings


def test_resampling_picks_the_nearest_frame_in_time():
    assert resample_indices(30, 30.0, 10.0).tolist() == [0, 3, 6, 9, 12, 15, 18, 21, 24, 27]
    assert resample_indices(5, 8.0, 10.0).tolist() == [0, 1, 2, 3, 4]  # slower than the target: as it is
    assert resample_indices(5, float("nan"), 10.0).tolist() == [0, 1, 2, 3, 4]


@given(count=st.integers(1, 400), native=st.floats(1, 120), fps=st.floats(1, 60))
@settings(deadline=None)
def test_resampled_frames_exist_and_ascend(count, native, fps):
    chosen = resample_indices(count, native, fps)
    assert chosen[0] == 0 and chosen[-1] < count and (np.diff(chosen) >= 0).all()
    if native > fps:
        wanted = np.arange(len(chosen)) / fps
        off = np.abs(chosen / native - wanted)
        assert (off <= 0.5 / native + 1e-9 + 2.1e-3 * wanted).all()  # a rate of 29.97 Hz counts as 30 Hz


def test_clips_are_spread_and_never_reach_past_the_end():
    section = PreprocessSettings(clip_length=16, clip_hop=8, max_clips=3)
    starts = clip_starts(100, section)
    assert starts == [0, 40, 80] and starts[-1] + 17 <= 100
    assert clip_starts(16, section) == [] and clip_starts(17, section) == [0]


def test_fitting_keeps_the_aspect():
    frame = np.zeros((1, 40, 80), np.uint8)
    frame[:, 10:30, 30:50] = 200  # a square
    padded, cropped = fit_square(frame, 40, "pad"), fit_square(frame, 40, "crop")
    rows, columns = np.nonzero(padded[0] > 100)
    assert np.ptp(rows) == np.ptp(columns) == 9 and padded[0, 0].max() == 0
    rows, columns = np.nonzero(cropped[0] > 100)
    assert np.ptp(rows) == np.ptp(columns) == 19


def film(start: int, slide: float = 0.2, contrast: float = 1.0) -> np.ndarray:
    """uint8 (17, 32, 32): a window that slides over tissue from column `start` on, with speckle of its own a frame."""
    tissue = cv2.resize(np.random.default_rng(0).uniform(20, 200, (4, 40)).astype(np.float32), (640, 64))
    columns = [start + round(slide * t) for t in range(17)]
    clip = np.stack([tissue[:32, column : column + 32] for column in columns])
    return (contrast * clip * np.random.default_rng(start).rayleigh(0.8, clip.shape)).clip(0, 255).astype(np.uint8)


def test_a_clip_that_jumps_leaves_its_view_or_stands_still_is_left_out_and_the_reason_says_which():
    section = PreprocessSettings(size=32, scene_cut_correlation=0.6, view_change_correlation=0.3)

    def reason(frames):
        return quality_control.clip_reason(
            quality_control.frame_steps(frames), quality_control.frame_views(frames), section
        )

    here, dark = film(0), film(0, contrast=0.3)
    assert reason(here) is None and reason(dark) is None
    elsewhere = film(400)
    cut = np.concatenate([here[:8], elsewhere[:9]])
    assert "scene cut" in reason(cut)
    dark_cut = np.concatenate([dark[:8], film(400, contrast=0.3)[:9]])
    assert quality_control.frame_steps(dark_cut).max() < 0.1 and "scene cut" in reason(dark_cut)
    lost = here.copy()
    lost[5] = 0  # a frame without a signal
    assert "scene cut" in reason(lost)
    assert "another view" in reason(film(0, slide=3))
    gain = np.concatenate([here[:8], (0.5 * here[8:]).astype(np.uint8)])
    assert reason(gain) is None
    assert "frozen" in reason(here[:1].repeat(17, axis=0)) and "frozen" in reason(np.full((17, 32, 32), 9, np.uint8))


@pytest.fixture(scope="module")
def phantom_store(tmp_path_factory):
    out = tmp_path_factory.mktemp("p") / "frames"
    sources = IndexSettings(sources=[PhantomSource(videos=24, stills=6, size=32)])
    index = build_index(sources, out.parent, 0)
    preprocess(index, sources, PreprocessSettings(size=32), out.parent, out, 0, workers=2)
    return FrameStore.open(out), sources, out


def test_the_store_holds_what_the_source_gives_whatever_the_number_of_processes(phantom_store, tmp_path):
    store, sources, _ = phantom_store
    assert len(store.clips) == 24 and store.clip_frames(store.clips).shape == (24, 17, 32, 32)
    index = build_index(sources, tmp_path, 0)
    preprocess(index, sources, PreprocessSettings(size=32), tmp_path, tmp_path / "frames", 0, workers=1)
    assert np.array_equal(FrameStore.open(tmp_path / "frames").frames, store.frames)
    assert not list(tmp_path.glob(".*"))


def test_larger_frames_are_stored_and_models_read_them_reduced(phantom_store, tmp_path):
    store, sources, _ = phantom_store
    sources = sources.model_copy(update={"sources": [PhantomSource(videos=4, stills=2, size=64)]})
    index = build_index(sources, tmp_path, 0)
    for stored in (None, 64):
        section = PreprocessSettings(size=32, stored_size=stored)
        preprocess(index, sources, section, tmp_path, tmp_path / f"{stored}", 0, workers=1)
    usual, large = (FrameStore.open(tmp_path / f"{stored}") for stored in (None, 64))
    small = large.at_model_size()
    assert (usual.size, large.size, small.size) == (32, 64, 32) and small.at_model_size() is small
    assert usual.at_model_size() is usual and store.at_model_size() is store
    assert np.abs(small.clip_frames(small.clips).astype(int) - usual.clip_frames(usual.clips)).max() <= 1
    assert small.frames.shape == usual.frames.shape and len(small.frames) == len(usual.frames)
    pd.testing.assert_frame_equal(large.clips, usual.clips)  # what is left out does not depend on the stored size


def test_a_damaged_store_is_named(phantom_store, tmp_path):
    import shutil

    shutil.copytree(phantom_store[2], tmp_path / "frames")
    whole = (tmp_path / "frames/frames.npy").read_bytes()
    (tmp_path / "frames/frames.npy").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(LddmError, match="preprocess"):
        FrameStore.open(tmp_path / "frames")


def videos_table(patients, clusters, labels, kinds):
    n = len(patients)
    return pd.DataFrame(
        {
            "id": [f"v{i:03d}" for i in range(n)],
            "kind": kinds,
            "label": labels,
            "patient_id": patients,
            "cluster": clusters,
            "excluded": None,
        }
    )


@given(seed=st.integers(0, 10_000))
@settings(deadline=None, max_examples=40)
def test_no_patient_or_cluster_is_ever_on_both_sides(seed):
    rng = np.random.default_rng(seed)
    n = 80
    numbers = rng.integers(0, 50, n)
    clusters = [f"c{k}" if k < 6 else None for k in rng.integers(0, 40, n)]
    kinds = rng.choice(["video", "image"], n, p=[0.8, 0.2])
    table = videos_table([f"p{k}" for k in numbers], clusters, numbers % 2, kinds)
    try:
        splits = make_splits(table, SplitSettings(folds=3, min_patients=2), seed)
    except LddmError:
        return  # clusters happened to join too many patients
    check_no_leak(splits)
    for fold, part in splits.groupby("fold"):
        videos = part[part["kind"] == "video"]
        assert set(videos["split"]) == {"train", "val", "test"}, fold
        held = set(videos.loc[videos["split"] != "train", "group"])
        stills = part[part["kind"] == "image"]
        assert not held & set(stills.loc[stills["split"] == "train", "group"])
    tested = splits[(splits["split"] == "test") & (splits["kind"] == "video")]["id"]
    assert tested.is_unique and set(tested) == set(table.loc[table["kind"] == "video", "id"])


def test_a_planted_leak_and_an_empty_class_are_errors():
    table = videos_table([f"p{i}" for i in range(30)], None, np.arange(30) % 2, "video")
    splits = make_splits(table, SplitSettings(min_patients=2), 0)
    planted = splits.copy()
    planted.loc[planted.index[0], "patient_id"] = planted.loc[planted.index[-1], "patient_id"]
    fold = planted["fold"] == 0
    planted.loc[fold, "patient_id"] = np.where(
        planted.loc[fold, "split"] != "train", "same", planted.loc[fold, "patient_id"]
    )
    with pytest.raises(LddmError, match="leak"):
        check_no_leak(planted)
    few = videos_table([f"p{i}" for i in range(30)], None, (np.arange(30) < 3).astype(int), "video")
    with pytest.raises(LddmError, match="label 1 has 3 patients"):
        make_splits(few, SplitSettings(), 0)


def test_a_class_of_three_patients_has_one_in_each_part_if_that_is_asked_for():
    labels = np.array([0] * 12 + [1] * 3)
    table = videos_table([f"p{i}" for i in range(15)], None, labels, "video")
    splits = make_splits(table, SplitSettings(folds=3, min_patients=1), 0)
    rare = splits[splits["label"] == 1]
    assert (rare.groupby(["fold", "split"])["group"].nunique() == 1).all() and rare["fold"].nunique() == 3
    with pytest.raises(LddmError, match="2 folds with at least 1 in train need 4"):
        make_splits(table, SplitSettings(folds=2, min_patients=1), 0)  # two in test


def test_the_error_of_a_small_class_names_it_and_hints_at_what_can_help():
    def message(malignant, **settings):
        labels = np.array([0] * 20 + [1] * malignant)
        table = videos_table([f"p{i}" for i in range(len(labels))], None, labels, "video")
        table["class_name"] = np.array(["benign", "bösartig"])[labels]
        with pytest.raises(LddmError) as caught:
            make_splits(table, SplitSettings(**settings), 0)
        return str(caught.value)

    assert "class 'bösartig' has 1 patients" in message(1) and "need 8 (" in message(1)
    assert "Hint: add patients: at least 6 per class are needed with split.min_patients 2" in message(1)
    hint = message(7).split("Hint: ")[1]
    assert hint == "set split.folds to 3 and split.min_patients to 3, or add patients"
    labels = np.array([0] * 20 + [1] * 7)
    table = videos_table([f"p{i}" for i in range(27)], None, labels, "video")
    make_splits(table, SplitSettings(folds=3, min_patients=3), 0)  # as the hint says
    make_splits(videos_table([f"p{i}" for i in range(16)], None, np.arange(16) % 2, "video"), SplitSettings(), 0)


def test_parts_are_stratified_by_source_too():
    labels = np.arange(96) % 2
    table = videos_table([f"p{i}" for i in range(96)], None, labels, "video")
    table["source"] = "folder"
    table["path"] = np.where(np.arange(96) < 24, "one/x.avi", "two/x.avi")  # two sources of one kind
    splits = make_splits(table, SplitSettings(folds=4), 0).merge(table[["id", "path"]], on="id")
    tested = splits[splits["split"] == "test"].groupby(["fold", "label", "path"]).size()
    assert set(tested.xs("one/x.avi", level="path")) == {3} and set(tested.xs("two/x.avi", level="path")) == {9}
    chosen = splits[splits["split"] == "val"].groupby(["fold", "label", "path"]).size()
    assert len(chosen) == 4 * 2 * 2  # each validation part holds both classes of both sources
    table.loc[table["path"] == "one/x.avi", "path"] = [f"lone{i}/x.avi" for i in range(24)]
    assert len(make_splits(table, SplitSettings(folds=4), 0)) == 4 * 96  # sources too small to stratify by


def test_small_validation_parts_and_unbalanced_choices_are_said(caplog):
    labels = (np.arange(60) < 15).astype(int)
    make_splits(videos_table([f"p{i}" for i in range(60)], None, labels, "video"), SplitSettings(), 0)
    assert "validation has 2 patients (or clusters) of label 1" in caplog.text
    caplog.clear()
    make_splits(videos_table([f"p{i}" for i in range(240)], None, np.arange(240) % 2, "video"), SplitSettings(), 0)
    assert "validation has" not in caplog.text
    table = videos_table([f"p{i}" for i in range(60)], None, labels, "video")
    assert (
        len(choose_videos(table, 40, 0)) == 35
        and "label 1 has 15 videos, fewer than its share of the 40" in caplog.text
    )


def test_hidden_labels_leave_a_balanced_few_in_train_and_all_elsewhere():
    table = videos_table([f"p{i}" for i in range(90)], None, np.arange(90) % 2, ["video"] * 75 + ["image"] * 15)
    few = make_splits(table, SplitSettings(max_labelled_videos=8), 0)
    for _, part in few.groupby("fold"):
        train = part[(part["split"] == "train") & (part["kind"] == "video")]
        assert train["labelled"].sum() == 8 and train.loc[train["labelled"], "label"].sum() == 4
        assert part.loc[part["split"] != "train", "labelled"].all()  # tests and model choice keep theirs
        assert part.loc[part["kind"] == "image", "labelled"].all()
    more = make_splits(table, SplitSettings(max_labelled_videos=16), 0)
    assert set(few.index[few["labelled"]]) <= set(more.index[more["labelled"]])
    assert make_splits(table, SplitSettings(), 0)["labelled"].all()


def test_a_budget_of_labels_leaves_none_to_validation_and_the_folds_as_they_are(caplog):
    table = videos_table([f"p{i}" for i in range(90)], None, np.arange(90) % 2, ["video"] * 75 + ["image"] * 15)
    extra = make_splits(table, SplitSettings(max_labelled_videos=8), 0)
    assert "validation has" in caplog.text
    caplog.clear()
    within = make_splits(table, SplitSettings(max_labelled_videos=8, validation_labels="within_budget"), 0)
    assert "validation has" not in caplog.text  # nothing is chosen by it
    val = within["split"] == "val"
    assert val.any() and not within.loc[val, "labelled"].any()
    assert within[~val].equals(extra[~val]) and within.drop(columns="labelled").equals(extra.drop(columns="labelled"))


def test_a_file_that_kills_its_reader_is_among_those_named(tmp_path, monkeypatch):
    def deadly(row, *others):
        if row["path"] == "phantom:video/000007":
            os._exit(139)  # as a decoder that crashes
        return read_row(row, *others)

    monkeypatch.setattr("lddm.data.preprocess.read_row", deadly)  # workers are forks of this process
    sources = IndexSettings(sources=[PhantomSource(videos=40, stills=0, size=32, frames=20)])
    index = build_index(sources, tmp_path, 0)
    with pytest.raises(LddmError, match="a process died while reading one of") as caught:
        preprocess(index, sources, PreprocessSettings(size=32), tmp_path, tmp_path / "frames", 0, workers=2)
    named = caught.value.message.count("phantom:video")
    assert "phantom:video/000007" in caught.value.message and named in (1, 2)  # at most one per worker
    assert list(tmp_path.iterdir()) == []


def test_patients_with_a_duplicate_in_common_are_one_unit_and_stills_of_each_class_are_needed():
    patients = [f"p{k}" for k in range(24)]
    clusters = ["same" if k in (0, 2) else None for k in range(24)]
    kinds = ["video"] * 20 + ["image"] * 4
    splits = make_splits(
        videos_table(patients, clusters, [k % 2 for k in range(24)], kinds), SplitSettings(min_patients=2), 0
    )
    assert set(splits.loc[splits["patient_id"].isin(["p0", "p2"]), "group"]) == {"p0"}
    assert (splits.loc[~splits["patient_id"].isin(["p0", "p2"])].eval("group == patient_id")).all()
    check_stills(splits, 1)
    with pytest.raises(LddmError, match="no still image of label 1"):
        check_stills(splits[(splits["kind"] == "video") | (splits["label"] == 0)], 1)
    with pytest.raises(LddmError, match="no still image of label 0, 1"):
        check_stills(splits[splits["kind"] == "video"], 1)
