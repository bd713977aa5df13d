"""From classes and numbers of raw data to splits: index, phantom, folds."""

import numpy as np
import pandas as pd
import pytest

from lddm.data.index import build_index
from lddm.data.sources import phantom
from lddm.data.splits import choose_videos, make_splits
from lddm.data.targets import parse_number
from lddm.errors import LddmError
from lddm.settings import build
from lddm.settings.data import BusiSource, FolderSource, IndexSettings, PhantomSource, SplitSettings, TargetSettings
from lddm.task import Task, levels

EF = TargetSettings(name="ef", unit="%", range=(0.0, 100.0))


def regression(source, target=EF):
    return IndexSettings(task="regression", target=target, classes=[], sources=[source])


@pytest.fixture
def folder(tmp_path):
    for name in ("a/1.mp4", "a/2.mp4", "b/1.mp4", "b/3.png"):
        path = tmp_path / "echo" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"no video")
    return tmp_path


def test_targets_of_files_come_from_a_csv_and_errors_name_the_unit(folder):
    csv = folder / "echo/ef.csv"
    csv.write_text("file,ef\na/1.mp4,55.5\n2.mp4,120\nb/1.mp4,\n3.png,30\n")
    source = FolderSource(folder="echo", targets="ef.csv")
    table = build_index(regression(source), folder, 0).set_index("path")
    assert table.loc["echo/a/1.mp4", "label"] == 55.5 and table.loc["echo/b/3.png", "label"] == 30
    assert table.loc["echo/a/2.mp4", "excluded"] == "ef 120 % is not within index.target.range"
    assert table.loc["echo/b/1.mp4", "excluded"].startswith("no ef")
    csv.write_text("file,ef\na/1.mp4,high\n")
    with pytest.raises(LddmError, match="row 2, ef: 'high' is not a number"):
        build_index(regression(source), folder, 0)
    csv.write_text("file,ef\n1.mp4,50\n")  # two files have this name
    with pytest.raises(LddmError, match="names none of the 4 files"):
        build_index(regression(source), folder, 0)
    csv.write_text("file,ejection\na/1.mp4,50\n")
    with pytest.raises(LddmError, match="lacks the columns ef"):
        build_index(regression(source), folder, 0)


def test_a_source_without_numbers_is_refused(folder):
    with pytest.raises(LddmError, match="source folder 'echo' has no targets CSV"):
        build_index(regression(FolderSource(folder="echo")), folder, 0)
    with pytest.raises(LddmError, match="source 'busi' has classes only"):
        build_index(regression(BusiSource(folder="echo")), folder, 0)


def test_numbers_may_have_a_comma_and_be_unknown():
    assert parse_number(" 3,5 ", "") == 3.5 and np.isnan(parse_number("n/a", ""))


def test_phantoms_of_a_class_are_stiffer_than_those_of_the_one_below():
    task, source = Task("classes", ("soft", "middle", "stiff")), PhantomSource(videos=60, stills=0, size=32, frames=2)
    rows = phantom.rows(source, 0, list(task.classes), task)
    stiffness = [
        phantom.simulate(np.random.default_rng(n), source, row["label"], task=task)[1].lesion.stiffness
        for n, row in enumerate(rows)
    ]
    parts = [np.array(stiffness)[[row["label"] == label for row in rows]] for label in range(3)]
    assert [len(part) for part in parts] == [20] * 3 and rows[4]["class_name"] == "middle"
    assert parts[0].max() <= parts[1].min() and parts[1].max() <= parts[2].min()
    assert 0.4 <= parts[0].min() and parts[2].max() <= 4.0


def test_the_target_of_a_phantom_is_the_stiffness_of_its_lesion():
    source = PhantomSource(videos=5, stills=2, size=32, frames=2)
    task = Task("regression", (), "stiffness", "x gland", 0.4, 4.0)
    for row in phantom.rows(source, 3, [], task):
        kind, number = row["path"].removeprefix("phantom:").split("/")
        rng = np.random.default_rng([3, phantom.KINDS.index(kind), int(number)])
        assert phantom.simulate(rng, source, row["label"], task=task)[1].lesion.stiffness == row["label"]
    with pytest.raises(LddmError, match=r"not within index\.target\.range, 1 to 4 x gland"):
        phantom.rows(source, 0, [], Task("regression", (), "stiffness", "x gland", 1.0, 4.0))


def videos(labels):
    count = len(labels)
    names = [f"v{i:03d}" for i in range(count)]
    return pd.DataFrame(
        {"id": names, "kind": "video", "label": labels, "patient_id": names, "cluster": None, "excluded": None}
    )


def test_folds_are_stratified_by_quartile_of_the_target():
    targets = np.random.default_rng(0).gamma(2, 10, 120)
    splits = make_splits(videos(targets), SplitSettings(folds=3, max_labelled_videos=16), 0, classes=0)
    quartile = dict(zip(videos(targets)["id"], levels(targets), strict=True))
    for _, part in splits[splits["split"] == "test"].groupby("fold"):
        assert set(np.bincount(part["id"].map(quartile))) == {10}
    known = splits[(splits["fold"] == 0) & (splits["split"] == "train") & splits["labelled"]]
    assert len(known) == 16 and (np.bincount(levels(known["label"].to_numpy())) == 4).all()
    with pytest.raises(LddmError, match="quartile 1 of the target has 3 patients"):
        make_splits(videos(targets[:12]), SplitSettings(), 0, classes=0)


def test_a_class_without_videos_is_named_among_many():
    labels = np.array([0, 1, 3] * 20)
    with pytest.raises(LddmError, match="label 2 has 0 patients"):
        make_splits(videos(labels), SplitSettings(), 0, classes=4)
    assert make_splits(videos(np.arange(80) % 4), SplitSettings(), 0, classes=4)["label"].nunique() == 4


def test_videos_are_chosen_alike_from_each_class_or_quartile():
    assert (
        np.bincount(np.repeat([0, 1, 2], 10)[choose_videos(videos(np.repeat([0, 1, 2], 10)), 12, 0)]).tolist()
        == [4] * 3
    )
    targets = np.random.default_rng(0).gamma(2, 10, 40)
    some, more = (choose_videos(videos(targets), count, 0) for count in (8, 16))
    assert np.bincount(levels(targets)[some]).tolist() == [2] * 4 and set(some) < set(more)


@pytest.mark.parametrize(
    ("index", "message"),
    [
        ({"task": "regression"}, "expected target with name, unit and range"),
        ({"task": "regression", "classes": ["a", "b"], "target": {"range": [0, 1]}}, "and no classes"),
        ({"task": "ordinal", "classes": ["a"]}, "expected at least two classes, got 1"),
        ({"task": "classes", "classes": list("abc"), "target": {"range": [0, 1]}}, "target is for task regression"),
        ({"task": "classes", "classes": [str(n) for n in range(21)]}, "expected at most 20 entries, got 21"),
        ({"task": "regression", "target": {"range": [1, 0]}}, "expected the lower value first"),
    ],
)
def test_a_task_and_what_it_needs_fit_together(index, message):
    with pytest.raises(LddmError, match=message):
        build.load({"index": index})


def test_the_default_classes_of_the_config_do_not_stand_in_the_way_of_a_regression():
    settings = build.load(
        {"index": {"task": "regression", "classes": ["benign", "malignant"], "target": {"range": [0, 1]}}}
    )
    assert settings.index.classes == [] and settings.index.labels.target_range == (0.0, 1.0)
