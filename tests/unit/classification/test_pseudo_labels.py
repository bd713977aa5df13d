"""Pseudo-labels of unlabelled training videos: selection, hidden labels are not read, use by generators and classifiers."""

import json

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from lddm.classification import pseudo_labels as module
from lddm.classification.classify import classify
from lddm.classification.pseudo_labels import most_confident, pseudo_label
from lddm.classification.regimes import pseudo_labelled_clips, real_clips
from lddm.cli import app
from lddm.data.frames import fold_clips
from lddm.errors import LddmError
from lddm.files import read_json
from lddm.settings import build
from lddm.settings.evaluation import ClassificationSettings, PseudoLabelSettings
from lddm.settings.models import Training

FEW = Training(steps=4, batch_size=8, val_every=2, ema_decay=0.0)
SECTION = PseudoLabelSettings(classifier="tiny3d", ensemble_size=2, share=0.5, training=FEW)


def hidden(tiny_store, keep=4):
    """The tiny experiment with the labels of all but `keep` training videos hidden."""
    store, splits = tiny_store
    clips = fold_clips(store, splits, 0, "train")
    shown = [name for label in (0, 1) for name in clips[clips["label"] == label]["id"].unique()[: keep // 2]]
    train = (splits["fold"] == 0) & (splits["split"] == "train") & (splits["kind"] == "video")
    return store, splits.assign(labelled=~train | splits["id"].isin(shown))


def pseudo_labelled(tiny_store, tmp_path, section=SECTION):
    return pseudo_label(section, *hidden(tiny_store), 0, tmp_path / "state", 0, lambda *_: None)


def test_the_most_confident_of_each_class_are_labelled():
    probability = np.array([0.9, np.nan, 0.1, 0.5, 0.6, 0.2, np.nan, 0.8])
    assert most_confident(probability, 0.7).tolist() == [1, -1, 0, -1, -1, 0, -1, 1]
    assert most_confident(probability, 1.0).tolist() == [1, -1, 0, 0, 1, 0, -1, 1]
    assert most_confident(np.full(3, np.nan), 1.0).tolist() == [-1] * 3


def test_known_labels_are_kept_and_half_of_the_others_are_pseudo_labelled(tiny_store, tmp_path):
    table = pseudo_labelled(tiny_store, tmp_path)
    truth = fold_clips(*hidden(tiny_store), 0, "train")
    assert table["clip_id"].tolist() == truth["clip_id"].tolist()
    assert (table["given"] == truth["labelled"]).all() and table["given"].sum() == 4
    assert (table.loc[table["given"], "label"] == truth.loc[truth["labelled"], "label"]).all()
    others = table.loc[~table["given"], "label"]
    assert (others == 0).sum() == (others == 1).sum() == len(others) // 4 > 0


def test_labels_of_validation_videos_within_the_budget_are_not_read(tiny_store, tmp_path):
    store, splits = hidden(tiny_store)
    val = splits["split"] == "val"
    within = splits.assign(labelled=splits["labelled"] & ~val)
    ours = pseudo_label(SECTION, store, within, 0, tmp_path / "a", 0, lambda *_: None)
    wrong = store.clips["label"].where(~store.clips["id"].isin(splits.loc[val, "id"]), 1 - store.clips["label"])
    turned = type(store)(store.frames, store.videos, store.clips.assign(label=wrong), store.meta)
    theirs = pseudo_label(SECTION, turned, within, 0, tmp_path / "b", 0, lambda *_: None)
    assert ours.equals(theirs)


def test_hidden_labels_change_nothing(tiny_store, tmp_path):
    store, splits = hidden(tiny_store)
    wrong = splits["label"].where(splits["labelled"], 1 - splits["label"])
    ours = pseudo_label(SECTION, store, splits, 0, tmp_path / "a", 0, lambda *_: None)
    theirs = pseudo_label(SECTION, store, splits.assign(label=wrong), 0, tmp_path / "b", 0, lambda *_: None)
    assert ours.equals(theirs)


def test_confident_pseudo_labels_of_a_good_classifier_are_right(tiny_store, tmp_path, monkeypatch):
    truth = fold_clips(*hidden(tiny_store), 0, "train")["label"].to_numpy()
    monkeypatch.setattr(module, "predict", lambda network, inputs, head: 0.2 + 0.6 * truth)
    table = pseudo_labelled(tiny_store, tmp_path)
    named = table["label"] >= 0
    assert (table["label"] == truth)[named].all() and (~named).any()


def test_a_classifier_learns_from_pseudo_labelled_videos(tiny_store, tmp_path):
    store, splits = hidden(tiny_store)
    table = pseudo_labelled(tiny_store, tmp_path).assign(label=lambda t: t["label"].where(t["given"], 1))
    table.to_parquet(tmp_path / "pseudo_labels.parquet")
    added = pseudo_labelled_clips(store, splits, 0, tmp_path / "pseudo_labels.parquet")
    assert set(added.labels) == {1} and len(added) == (~table["given"]).sum()
    assert not set(added.table["id"]) & set(real_clips(store, splits, 0, "train").table["id"])
    section = ClassificationSettings(seeds=1, real_videos=None, training=FEW)
    where = (tmp_path / "s", tmp_path / "out", 0, lambda *_: None)
    (path,) = classify(
        section, "tiny3d", "real+pseudo", store, splits, 0, [], [], tmp_path / "pseudo_labels.parquet", *where
    )
    assert read_json(path)["n_added"] == len(added) and read_json(path)["n_real_videos"] == 4
    with pytest.raises(LddmError, match="--pseudo-labels"):
        classify(section, "tiny3d", "real+pseudo", store, splits, 0, [], [], None, *where)


def test_the_command_writes_a_table_that_generators_and_classifiers_read(tiny_store, tiny_experiment, tmp_path):
    store, splits = hidden(tiny_store)
    splits.to_parquet(tmp_path / "splits.parquet")
    stage = json.dumps({"seed": 0, "pseudo_labels": SECTION.model_dump(mode="json")})
    places = ["--frames", tiny_experiment / "frames", "--splits", tmp_path / "splits.parquet"]
    places += ["--state", tmp_path / "state", "--out", tmp_path / "pseudo_labels.parquet"]
    done = CliRunner().invoke(app, ["pseudo-label", "--settings", stage, "--fold", "0", *map(str, places)])
    assert done.exit_code == 0, done.output
    assert len(pseudo_labelled_clips(store, splits, 0, tmp_path / "pseudo_labels.parquet")) == 4
    assert pd.read_parquet(tmp_path / "pseudo_labels.parquet").equals(pseudo_labelled(tiny_store, tmp_path / "again"))


def test_contradictory_settings_are_rejected(tiny_store, tmp_path):
    with pytest.raises(LddmError, match=r"pseudo_labels\.classifier is set, but all videos are labelled"):
        build.load({"pseudo_labels": {"classifier": "strain"}})
    with pytest.raises(LddmError, match="needs pseudo-labels"):
        build.load({"classification": {"regimes": ["real", "real+pseudo"]}})
    store, splits = tiny_store
    with pytest.raises(LddmError, match="no unlabelled"):
        pseudo_label(SECTION, store, splits, 0, tmp_path, 0, lambda *_: None)
    assert isinstance(pseudo_labelled(tiny_store, tmp_path), pd.DataFrame)
