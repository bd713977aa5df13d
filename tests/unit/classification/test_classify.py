"""Run groups of the ablation: training sets, resuming, and tables."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
import torch

from lddm.classification import classify as module
from lddm.classification import train as train_module
from lddm.classification.classify import classify
from lddm.classification.networks import CLASSIFIERS
from lddm.classification.regimes import Clips, augmented_clips, real_clips, synthetic_clips
from lddm.classification.sweep import sweep_tables
from lddm.classification.table import COLUMNS, classification_table, comparisons
from lddm.classification.train import ClassifierTask
from lddm.data.splits import choose_videos
from lddm.data.synthetic import load_synthetic, save_synthetic
from lddm.errors import LddmError
from lddm.files import read_json, write_json
from lddm.settings.evaluation import ClassificationSettings
from lddm.settings.models import Training

SECTION = ClassificationSettings(
    seeds=2, real_videos=8, bootstrap=50, training=Training(steps=4, batch_size=8, val_every=2, ema_decay=0.0)
)


def stills(tmp_path, tiny_store, **changes):
    """Animated stills of the tiny experiment."""
    store, splits = tiny_store
    rows = splits[(splits["kind"] == "image") & (splits["fold"] == 0)]
    frames = np.repeat(store.still_frames(store.videos.set_index("id").loc[rows["id"]])[:, None], 9, axis=1)
    manifest = pd.DataFrame(
        {
            "sample_id": rows["id"],
            "generator": "lddm",
            "source": "stills",
            "x0_id": rows["id"],
            "clip_id": None,
            "label": rows["label"],
            "class_name": "",
            "patient_id": rows["patient_id"],
            "cluster": None,
            "sample": 0,
            "seed": 0,
        }
    ).assign(**changes)
    save_synthetic(tmp_path / "s.npy", frames, manifest)
    return [tmp_path / "s.npy"]


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_every_network_has_the_requested_outputs_and_mirrors_with_its_clips(name):
    clips = np.random.default_rng(0).integers(0, 255, (2, 17, 32, 32), dtype=np.uint8)
    entry = CLASSIFIERS[name]
    inputs = entry.prepare(clips)
    with torch.device("meta"), torch.no_grad():  # shapes without weights: C3D alone has 78 million
        network = entry.build(3).to("meta").eval()  # `still` brings weights
        assert network(torch.empty(inputs.shape)).shape == (2, 3)
    mirrored = entry.prepare(np.ascontiguousarray(clips[..., ::-1]))
    if name != "strain":  # optical flow is not exactly symmetric
        assert np.allclose(mirrored, inputs[..., ::-1], atol=1e-6)


def test_selections_of_real_videos_are_nested_and_balanced():
    rng = np.random.default_rng(0)
    patients = [f"p{k}" for k in rng.integers(0, 30, 60)]
    table = pd.DataFrame({"id": [f"v{i}" for i in range(60)], "patient_id": patients})
    table["label"] = table["patient_id"].str[1:].astype(int) % 2
    few, many = (set(choose_videos(table, n, 3)) for n in (8, 24))
    assert len(few) == 8 and len(many) == 24 and few < many
    assert table.iloc[sorted(few)]["label"].sum() == 4
    assert set(choose_videos(table, 8, 4)) != few
    assert len(choose_videos(table, None, 3)) == 60


def test_augmented_copies_keep_labels_and_differ(tiny_store):
    real = real_clips(*tiny_store, 0, "train")
    few = Clips(real.frames[:2], real.labels[:2], real.table.iloc[:2])
    copies = augmented_clips(few, 0)
    assert len(copies) == 32 and copies.labels.tolist() == [few.labels[0]] * 16 + [few.labels[1]] * 16
    assert copies.frames.dtype == np.uint8 and copies.frames.shape[1:] == few.frames.shape[1:]
    assert len({clip.tobytes() for clip in copies.frames}) == 32
    assert np.array_equal(augmented_clips(few, 0).frames, copies.frames)


def test_batches_are_balanced_and_mixed_as_asked():
    real = np.zeros((10, 1, 2, 2), np.float32), np.array([0] * 8 + [1] * 2)
    added = np.ones((6, 1, 2, 2), np.float32), np.array([0, 1] * 3)
    task = ClassifierTask(torch.nn.Identity(), real, added, 0.25, 16, 0)
    inputs, labels = task.batch(0)
    assert len(inputs) == 16 and inputs.mean().item() == 0.25
    both = [ClassifierTask(torch.nn.Identity(), real, None, 0.25, 16, 0).batch(step)[1] for step in range(20)]
    assert torch.cat(both).float().mean().item() == pytest.approx(0.5, abs=0.05)
    only, _ = ClassifierTask(torch.nn.Identity(), None, added, 0.25, 16, 0).batch(0)
    assert only.min().item() == 1 and len(only) == 16


def test_leaks_are_rejected(tiny_store, tmp_path):
    _, splits = tiny_store
    held_out = splits[splits["split"] == "test"]["patient_id"].iloc[0]
    with pytest.raises(LddmError, match="leak"):
        synthetic_clips(stills(tmp_path, tiny_store, patient_id=held_out), splits, 0)
    with pytest.raises(LddmError, match="do not come from stills"):
        synthetic_clips(stills(tmp_path, tiny_store, source="heldout"), splits, 0)


def test_a_run_writes_probabilities_of_all_test_videos(tiny_store, tmp_path):
    paths = classify(
        SECTION, "tiny3d", "real+lddm", *tiny_store, 0, stills(tmp_path, tiny_store), [], None, tmp_path / "st",
        tmp_path / "o", 0, lambda *_: None,
    )  # fmt: skip
    assert [path.name for path in paths] == ["seed-0.json", "seed-1.json"]
    result = read_json(paths[0])
    assert {row["id"] for row in result["predictions"]} == {"video-15", "video-16", "video-17"}
    assert all(0 <= row["probability"] <= 1 for row in result["predictions"])
    assert result["n_real_videos"] == 8 and result["n_added"] == 4 and 0 <= result["threshold"] <= 1


def test_a_killed_run_resumes_with_the_same_result(tiny_store, tmp_path, monkeypatch):
    def run(name):
        return classify(
            SECTION,
            "tiny3d",
            "real",
            *tiny_store,
            0,
            [],
            [],
            None,
            tmp_path / name,
            tmp_path / f"{name}-out",
            0,
            lambda *_: None,
        )

    whole = [path.read_text() for path in run("whole")]
    real_training, calls = module.train_classifier, []

    def killed(*arguments, **keywords):
        calls.append(arguments)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real_training(*arguments, **keywords)

    monkeypatch.setattr(module, "train_classifier", killed)
    with pytest.raises(KeyboardInterrupt):
        run("cut")
    assert not (tmp_path / "cut-out").exists()  # no half of a result
    assert [path.read_text() for path in run("cut")] == whole
    assert len(calls) == 3  # the first seed was not trained again


def test_a_regime_without_its_videos_is_an_error(tiny_store, tmp_path):
    with pytest.raises(LddmError, match="needs synthetic videos"):
        classify(SECTION, "tiny3d", "real+lddm", *tiny_store, 0, [], [], None, tmp_path, tmp_path, 0, lambda *_: None)


def test_copies_of_training_videos_are_kept_out_and_counted(tiny_store, tmp_path):
    _, splits = tiny_store
    manifests = stills(tmp_path, tiny_store)
    names = load_synthetic(manifests)[1]["sample_id"].tolist()
    table = pd.DataFrame({"sample_id": names, "copied": [name == names[1] for name in names]})
    table.to_csv(tmp_path / "copies.csv", index=False)
    kept = synthetic_clips(manifests, splits, 0, [tmp_path / "copies.csv"])
    assert kept.table["sample_id"].tolist() == [names[0], *names[2:]] and len(kept.frames) == len(names) - 1
    table.iloc[1:].to_csv(tmp_path / "copies.csv", index=False)
    with pytest.raises(LddmError, match="was not searched for copies"):
        synthetic_clips(manifests, splits, 0, [tmp_path / "copies.csv"])
    table.assign(copied=True).to_csv(tmp_path / "copies.csv", index=False)
    with pytest.raises(LddmError, match="of a class are copies"):
        synthetic_clips(manifests, splits, 0, [tmp_path / "copies.csv"])


def test_hidden_labels_do_not_reach_a_classifier(tiny_store):
    store, splits = tiny_store
    shown = splits.assign(labelled=~splits["id"].isin(["video-00", "video-01", "video-02"]))
    assert not set(real_clips(store, shown, 0, "train").table["id"]) & {"video-00", "video-01", "video-02"}
    assert len(real_clips(store, shown, 0, "train")) == 9 and len(real_clips(store, shown, 0, "test")) == 3


def cells(tmp_path, quality):
    """Made-up results: for each regime how well it tells the classes apart."""
    tmp_path.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    labels = np.arange(80) % 2
    noise = {s: rng.normal(size=80) for s in range(4)}
    files = []
    for regime, separation in quality.items():
        for seed in range(4):
            probability = 1 / (1 + np.exp(-(separation * (2 * labels - 1) + noise[seed])))
            rows = [
                {"id": f"v{i:02d}", "patient_id": f"p{i // 2}", "label": int(y), "probability": float(p)}
                for i, (y, p) in enumerate(zip(labels, probability, strict=True))
            ]
            result = {
                "classifier": "c",
                "regime": regime,
                "fold": 0,
                "seed": seed,
                "threshold": 0.5,
                "predictions": rows,
            }
            files.append(tmp_path / f"{regime}-{seed}.json")
            write_json(files[-1], result)
    return files


def test_without_labelled_validation_videos_the_last_step_counts(tiny_store, tmp_path, monkeypatch):
    """Labels of validation videos are not read: neither to stop early nor for the threshold."""
    store, splits = tiny_store
    within = splits.assign(labelled=splits["split"] != "val")
    chosen = []
    usual = train_module.train
    monkeypatch.setattr(train_module, "train", lambda *a, **k: chosen.append(k.get("keep_best")) or usual(*a, **k))
    results = []
    for number, table in enumerate((within, within.assign(label=within["label"].where(within["labelled"], 1)))):
        (path, *_) = classify(
            SECTION, "tiny3d", "real", store, table, 0, [], [], None, tmp_path / f"state-{number}", tmp_path / str(number),
            0, lambda *_: None,
        )  # fmt: skip
        results.append(read_json(path))
    assert set(chosen) == {None} and results[0] == results[1]
    assert results[0]["threshold"] == 0.5 and results[0]["val_auc"] is None and results[0]["n_validation_videos"] == 0
    assert results[0]["predictions"] and 0 <= results[0]["test_auc"] <= 1


def test_a_run_counts_all_labels_it_used(tiny_store, tmp_path):
    """Training and validation videos, and the stills behind the animated ones: once each, however many videos they became."""
    made = stills(tmp_path, tiny_store)
    paths = []
    for regime, added in (("real", []), ("real+lddm", made)):
        paths += classify(
            SECTION, "tiny3d", regime, *tiny_store, 0, added, [], None, tmp_path / f"state-{regime}", tmp_path / regime, 0,
            lambda *_: None,
        )  # fmt: skip
    table = classification_table(paths, SECTION, 0).drop_duplicates("regime").set_index("regime")
    assert table.loc["real", ["labels_train", "labels_val", "labels_stills"]].tolist() == [8, 3, 0]
    assert table.loc["real+lddm", ["labels_train", "labels_val", "labels_stills"]].tolist() == [8, 3, 4]


def test_the_table_separates_better_from_equal_by_paired_differences(tmp_path):
    files = cells(tmp_path, {"real": 0.3, "real+static": 0.3, "real+lddm": 2.0})
    table = classification_table(files, SECTION.model_copy(update={"bootstrap": 400}), 0)
    assert list(table.columns) == COLUMNS
    auc = table[table["metric"] == "auc"].set_index("regime")
    assert auc.loc["real+lddm", "p_value"] < 0.02 and auc.loc["real+lddm", "delta_ci_low"] > 0
    # The same predictions: paired differences are exactly zero, unpaired ones would not be.
    assert auc.loc["real+static", ["delta_vs_real", "delta_ci_low", "delta_ci_high"]].tolist() == [0, 0, 0]
    assert auc.loc["real+static", "p_value"] == 1
    # One family of tests on a page: the p-value is that of the comparisons, and no other metric has one.
    tests = comparisons(files, SECTION.model_copy(update={"bootstrap": 400}), 0).set_index(["regime", "against"])[
        "p_holm"
    ]
    assert auc.loc["real+lddm", "p_value"] == tests["real+lddm", "real"]
    assert table[table["metric"] != "auc"]["p_value"].isna().all()
    assert pd.isna(auc.loc["real", "p_value"]) and auc.loc["real", "n_test"] == 80 and auc.loc["real", "n_seeds"] == 4
    assert (auc["ci_low"] <= auc["mean"]).all() and (auc["mean"] <= auc["ci_high"]).all()


def test_runs_tested_on_other_videos_are_rejected(tmp_path):
    files = cells(tmp_path, {"real": 0.3, "real+lddm": 1.0})
    broken = read_json(files[-1])
    broken["predictions"][0]["id"] = "another"
    write_json(files[-1], broken)
    with pytest.raises(LddmError, match="different videos"):
        classification_table(files, SECTION, 0)


def test_comparisons_find_the_planted_effect_and_no_other(tmp_path):
    files = cells(tmp_path, {"real": 0.3, "real+static": 0.3, "real+lddm": 2.0})
    table = comparisons(files, SECTION.model_copy(update={"bootstrap": 400}), 0).set_index(["regime", "against"])
    assert set(table.index) == {("real+static", "real"), ("real+lddm", "real"), ("real+lddm", "real+static")}
    motion = table.loc[("real+lddm", "real+static")]
    assert motion["verdict"] == "better" and motion["p_delong"] < 0.001 and motion["ci_low"] > 0
    assert (motion["runs_better"], motion["n_runs"], motion["n_test"], motion["n_patients"]) == (4, 4, 80, 40)
    nothing = table.loc[("real+static", "real")]
    assert nothing["verdict"] == "not distinguishable" and nothing["p_delong"] == nothing["p_bootstrap"] == 1
    expected = classification_table(files, SECTION, 0).set_index(["regime", "metric"])["delta_vs_real"]
    assert table.loc[("real+lddm", "real"), "delta_auc"] == pytest.approx(expected["real+lddm", "auc"])


def test_the_sweep_keeps_its_points_apart(tmp_path):
    weak = cells(tmp_path / "videos-16_share-0.5", {"real": 0.3, "real+lddm": 0.4})
    strong = cells(tmp_path / "videos-32_share-0.5", {"real": 0.3, "real+lddm": 3.0})
    scored, compared = sweep_tables([*strong, *weak], SECTION, 0)
    auc = scored[(scored["metric"] == "auc") & (scored["regime"] == "real+lddm")].set_index("real_videos")["mean"]
    assert auc[32] > auc[16] + 0.1 and compared["real_videos"].tolist() == [16, 32]
    nothing, _ = sweep_tables([], SECTION, 0)
    assert nothing.empty and "real_videos" in nothing


def test_costly_inputs_are_prepared_once_for_all_jobs_and_change_nothing(tiny_store, tmp_path, monkeypatch):
    entry, prepared = CLASSIFIERS["strain"], []

    def prepare(clips):
        prepared.append(len(clips))
        return entry.prepare(clips)

    monkeypatch.setitem(CLASSIFIERS, "strain", dataclasses.replace(entry, prepare=prepare))
    added = stills(tmp_path, tiny_store)
    results = {}
    for job, cache in (("alone", None), ("first", tmp_path / "cache"), ("second", tmp_path / "cache")):
        prepared.clear()
        paths = classify(
            SECTION, "strain", "real+lddm", *tiny_store, 0, added, [], None, tmp_path / job / "state", tmp_path / job, 0,
            lambda *_: None, cache,
        )  # fmt: skip
        results[job] = [read_json(path)["predictions"] for path in paths]
        assert len(prepared) == (0 if job == "second" else 4), job  # train, val, test, added; not once for each seed
    assert results["alone"] == results["first"] == results["second"]


def test_a_custom_classifier_may_read_signals():
    """Inputs float32 (n, C, T) have no channels-last format."""
    rng = np.random.default_rng(0)
    inputs, labels = rng.normal(size=(8, 2, 16)).astype(np.float32), np.arange(8) % 2
    task = ClassifierTask(torch.nn.Linear(32, 1), (inputs, labels), None, 0.5, 4, 0)
    batch, _ = task.batch(0)
    assert batch.shape == (4, 2, 16) and batch.is_contiguous()
