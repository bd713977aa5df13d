"""Each attribute, measured on the tiny experiment: inputs, hidden labels, and few labels."""

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from lddm.attribute.measure import MEASURES, Measuring, measure_attribute
from lddm.classification import cross_fit
from lddm.classification.cross_fit import cross_fitted_logits, deal
from lddm.cli import app
from lddm.data.attribute import load_attribute
from lddm.data.frames import fold_clips
from lddm.errors import LddmError
from lddm.metrics.domain_network import DomainNetwork
from lddm.settings import build
from lddm.settings.condition import ConditionSettings, LogitSettings
from lddm.settings.models import AutoencoderSettings, Training
from lddm.task import Task
from lddm.training.weights import save_weights

FEW = Training(steps=3, batch_size=8, val_every=3, ema_decay=0.0)
LOGIT = LogitSettings(classifier="tiny3d", partitions=2, ensemble_size=1, training=FEW)


def hidden(tiny_store, keep=6):
    """The tiny experiment with the labels of all but `keep` training videos hidden."""
    store, splits = tiny_store
    clips = fold_clips(store, splits, 0, "train")
    shown = [name for label in (0, 1) for name in clips[clips["label"] == label]["id"].unique()[: keep // 2]]
    train = (splits["fold"] == 0) & (splits["split"] == "train") & (splits["kind"] == "video")
    return store, splits.assign(labelled=~train | splits["id"].isin(shown))


@pytest.fixture(scope="module")
def inputs(tiny_store, motion_of, tmp_path_factory):
    """Files that attributes are measured from."""
    folder = tmp_path_factory.mktemp("inputs")
    motion_of(AutoencoderSettings(width=4)).save(folder / "motion.safetensors")
    save_weights(folder / "net.safetensors", DomainNetwork(4), "domain_network", width=4, held_out={"accuracy": 0.2})
    clips = fold_clips(*hidden(tiny_store), 0, "train")
    table = clips[["clip_id", "id"]].assign(
        given=clips["labelled"], label=clips["label"].where(clips["labelled"], -1), probability=0.3
    )
    table.to_parquet(folder / "pseudo_labels.parquet")
    return {
        "motion": folder / "motion.safetensors",
        "domain_network": folder / "net.safetensors",
        "pseudo_labels": folder / "pseudo_labels.parquet",
    }


def measured(data, tmp_path, inputs, name, **section):
    settings = ConditionSettings(attribute=name, logit=LOGIT, **section)
    return measure_attribute(Measuring(settings, *data, 0, 0, tmp_path / "state", lambda *_: None, **inputs))


@pytest.mark.parametrize("name", MEASURES)
def test_train_clips_standardise_and_neither_test_videos_nor_hidden_labels_are_read(name, tiny_store, tmp_path, inputs):
    store, splits = hidden(tiny_store)
    attribute, values = measured((store, splits), tmp_path / "a", inputs, name)
    train, val = (fold_clips(store, splits, 0, part)["clip_id"].tolist() for part in ("train", "val"))
    assert list(values) == train + val
    found = np.array([values[clip] for clip in train])
    assert abs(found).max() <= 3 and found.mean() == pytest.approx(0, abs=0.2) and 0.7 < found.std() <= 1.001
    assert sorted(set(attribute.prior.labels)) == [0, 1] and len(attribute.prior.values) == 6

    frames, other = np.array(store.frames), splits["label"].where(splits["labelled"], 1 - splits["label"])
    for start in fold_clips(store, splits, 0, "test")["first_frame"]:
        frames[start : start + store.clip_length + 1] = 0
    clips = store.clips.assign(label=store.clips["id"].map(dict(zip(splits["id"], other, strict=True))))
    elsewhere = type(store)(frames, store.videos, clips, store.meta)
    again, values_again = measured((elsewhere, splits.assign(label=other)), tmp_path / "b", inputs, name)
    assert again == attribute and values_again == values


def test_motion_that_differs_between_the_classes_is_found(tiny_store, tmp_path, inputs):
    """Videos of class 1 move three times as far; the speckle that enters and leaves makes the area seem to change."""
    attribute, _ = measured(hidden(tiny_store), tmp_path, inputs, "divergence")
    assert attribute.what == "change of area in %" and attribute.mean > 0


def test_components_are_uncorrelated_and_too_many_are_refused(tiny_store, tmp_path, inputs):
    (_, first), (_, second) = (
        measured(hidden(tiny_store), tmp_path, inputs, "features", component=number) for number in (0, 1)
    )
    train = fold_clips(*tiny_store, 0, "train")["clip_id"]
    both = np.array([[values[clip] for clip in train] for values in (first, second)])
    assert abs(np.corrcoef(both)[0, 1]) < 0.1
    with pytest.raises(LddmError, match="there are 12 components"):
        measured(hidden(tiny_store), tmp_path, inputs, "features", component=12)


def test_soft_labels_are_labels_where_known_and_probabilities_elsewhere(tiny_store, tmp_path, inputs):
    store, splits = hidden(tiny_store)
    attribute, values = measured((store, splits), tmp_path, inputs, "soft_label")
    train, val = (fold_clips(store, splits, 0, part) for part in ("train", "val"))
    expected = np.where(train["labelled"], train["label"], 0.3).tolist() + val["label"].tolist()
    assert list(values.values()) == expected
    assert [attribute.draw(label, 0) for label in (0, 1)] == [0.0, 1.0] and attribute.what == "probability of b"


def test_the_logit_of_a_patient_comes_from_classifiers_that_did_not_see_it(tiny_store, tmp_path, monkeypatch):
    store, splits = hidden(tiny_store, keep=8)
    train, val = (fold_clips(store, splits, 0, part) for part in ("train", "val"))
    taught = []

    def remember(entry, training, size, known, held_out, head, *_):
        taught.append(known)
        return [len(taught) - 1]

    monkeypatch.setattr(cross_fit, "train_ensemble", remember)
    monkeypatch.setattr(cross_fit, "predict", lambda network, inputs, head: np.full(len(inputs), 0.5 + 0.1 * network))
    found = cross_fitted_logits(LOGIT, 0, store, train, val, tmp_path, 0, lambda *_: None)
    inputs = cross_fit.CLASSIFIERS["tiny3d"].prepare(store.clip_frames(train))
    readers = np.rint(10 * (1 / (1 + np.exp(-found)) - 0.5)).astype(int)  # which of the two read a clip
    assert set(readers) == {0, 1} and len(found) == len(train) + len(val)
    for number, (known, labels) in enumerate(taught):
        own = np.array([any(np.array_equal(one, other) for other in known) for one in inputs])
        assert own.sum() == len(known) == 4 and sorted(labels) == [0, 0, 1, 1]
        assert not (own & (readers[: len(train)] == number)).any() and train["labelled"][own].all()


def test_labelled_patients_are_partitioned_evenly_and_too_few_are_reported(tiny_store):
    store, splits = hidden(tiny_store, keep=8)
    train, val = (fold_clips(store, splits, 0, part) for part in ("train", "val"))
    parts = deal(train, val, 4, 0, Task("binary", ("a", "b")))
    labelled = train.assign(part=parts[: len(train)])[train["labelled"]]
    assert (labelled.groupby("part")["label"].agg(["sum", "count"]) == [1, 2]).all(axis=None)
    with pytest.raises(LddmError, match="a has 4 labelled training patients, too few for 5 parts") as error:
        deal(train, val, 5, 0, Task("binary", ("a", "b")))
    assert "partitions to 4" in error.value.hint


def test_logits_of_several_classes_and_predictions_of_numbers():
    three = Task("classes", ("a", "b", "c"))
    probability = np.array([[0.5, 0.25, 0.25], [0.0, 0.0, 1.0]])
    assert cross_fit._logit(probability, 1, three) == pytest.approx([np.log(1 / 3), np.log(1e-6)], rel=1e-5)
    assert cross_fit._logit(np.array([35.0]), 0, Task("regression", (), "ef", "%", 0, 100)) == [35.0]


def test_inconsistent_settings_and_inputs_are_rejected(tiny_store, tmp_path, inputs):
    with pytest.raises(LddmError, match="'soft_label' needs pseudo-labels"):
        build.load({"condition": {"attribute": "soft_label"}})
    several = {"index": {"task": "classes", "classes": ["soft", "intermediate", "stiff"]}}
    guessing = {"pseudo_labels": {"classifier": "strain"}, "split": {"max_labelled_videos": 16}}
    with pytest.raises(LddmError, match="a probability for each of 3 classes"):
        build.load({"condition": {"attribute": "soft_label"}} | guessing | several)
    for name, missing in (("divergence", "motion"), ("features", "domain_network"), ("soft_label", "pseudo_labels")):
        with pytest.raises(LddmError, match=f"attribute {name} needs {missing}"):
            measured(hidden(tiny_store), tmp_path, {}, name)
    with pytest.raises(LddmError, match="a, b has no such class"):
        measured(hidden(tiny_store), tmp_path, inputs, "logit", component=1)
    frozen = type(tiny_store[0])(
        np.zeros_like(tiny_store[0].frames), tiny_store[0].videos, tiny_store[0].clips, tiny_store[0].meta
    )
    with pytest.raises(LddmError, match="does not vary"):
        measured((frozen, hidden(tiny_store)[1]), tmp_path, inputs, "strain_ratio")


def test_the_command_writes_what_generators_read(tiny_store, tiny_experiment, tmp_path, inputs):
    splits = hidden(tiny_store)[1]
    splits.to_parquet(tmp_path / "splits.parquet")
    section = ConditionSettings(attribute="logit", logit=LOGIT)
    places = ["--frames", tiny_experiment / "frames", "--splits", tmp_path / "splits.parquet"]
    places += ["--state", tmp_path / "state", "--out", tmp_path / "attribute.json"]
    stage = json.dumps({"seed": 0, "condition": section.model_dump(mode="json")})
    done = CliRunner().invoke(app, ["measure-attribute", "--settings", stage, "--fold", "0", *map(str, places)])
    assert done.exit_code == 0, done.output
    attribute, values = load_attribute(tmp_path / "attribute.json")
    assert attribute.what == "cross-fitted log-odds of b" and len(values) == 15
    assert not list((tmp_path / "state").rglob("*.pt")) and not list((tmp_path / "state").rglob("*.safetensors"))
