"""Planted effects that the ablation must detect: a perfect classifier, a biased threshold, a leak, a harmful regime."""

import numpy as np
import pandas as pd
import pytest

from lddm.classification import classify as module
from lddm.classification.classify import classify
from lddm.classification.networks import Tiny3d
from lddm.classification.regimes import synthetic_clips
from lddm.classification.statistics import LOWER_IS_BETTER, METRICS, best_threshold, scores
from lddm.classification.table import classification_table, comparisons
from lddm.classification.train import predict, train_classifier
from lddm.data.synthetic import save_synthetic
from lddm.errors import LddmError
from lddm.files import read_json, write_json
from lddm.settings.evaluation import ClassificationSettings
from lddm.settings.models import Training

SECTION = ClassificationSettings(
    seeds=1, real_videos=8, bootstrap=300, training=Training(steps=4, batch_size=8, val_every=2, ema_decay=0.0)
)
LABELS = np.arange(60) % 2


def cell(folder, regime, probability, threshold=0.5, fold=0, seed=0, labels=LABELS):
    """What `classify` writes, of made-up probabilities; two videos a patient."""
    rows = [
        {"id": f"v{i:02d}", "patient_id": f"p{i // 4}-{y}", "label": int(y), "probability": float(p)}
        for i, (y, p) in enumerate(zip(labels, probability, strict=True))
    ]
    about = {"classifier": "c", "regime": regime, "fold": fold, "seed": seed, "threshold": threshold}
    path = folder / f"{regime}-{fold}-{seed}.json"
    write_json(path, about | {"predictions": rows})
    return path


def values(files):
    table = classification_table(files, SECTION, 0)
    return {regime: part.set_index("metric")["mean"] for regime, part in table.groupby("regime")}


def test_a_classifier_that_knows_the_label_is_perfect_and_one_that_guesses_is_not(tmp_path):
    guess = np.random.default_rng(0).permutation(np.linspace(0.3, 0.7, 60))
    files = [cell(tmp_path, "real", guess), cell(tmp_path, "real+lddm", LABELS.astype(float))]
    found = values(files)
    assert found["real+lddm"].to_dict() == pytest.approx(
        {m: float(m not in LOWER_IS_BETTER) for m in METRICS}, abs=1e-5
    )
    assert found["real"]["auc"] == pytest.approx(0.5, abs=0.15)
    (row,) = comparisons(files, SECTION, 0).to_dict(orient="records")
    assert row["verdict"] == "better" and row["delta_auc"] == pytest.approx(1 - found["real"]["auc"])


def test_two_seeds_that_disagree_give_no_difference_beyond_the_possible_ones(tmp_path):
    """Student's t with one degree of freedom reaches far: an AUC differs by at most one."""
    perfect, reversed_ = LABELS.astype(float), 1.0 - LABELS
    guess = np.random.default_rng(0).permutation(np.linspace(0.3, 0.7, 60))
    files = [cell(tmp_path, "real", guess, seed=seed) for seed in (0, 1)]
    files += [cell(tmp_path, "real+lddm", p, seed=seed) for seed, p in enumerate((perfect, reversed_))]
    (row,) = comparisons(files, SECTION, 0).to_dict(orient="records")
    assert (row["ci_low"], row["ci_high"]) == (-1, 1)
    table = classification_table(files, SECTION, 0).set_index(["regime", "metric"])
    assert table.loc[("real+lddm", "auc"), ["delta_ci_low", "delta_ci_high"]].tolist() == [-1, 1]


@pytest.mark.parametrize(("regime", "against"), [("real+aug", "real"), ("real+lddm", "real+static")])
def test_a_harmful_regime_is_called_worse(regime, against, tmp_path):
    rng = np.random.default_rng(1)
    good, bad = (np.clip(0.5 + s * (LABELS - 0.5) + rng.normal(0, 0.1, 60), 0, 1) for s in (0.5, 0.0))
    files = [cell(tmp_path, name, bad if name == regime else good) for name in sorted({"real", regime, against})]
    table = comparisons(files, SECTION, 0).set_index(["regime", "against"])
    assert table.loc[(regime, against), "verdict"] == "worse" and table.loc[(regime, against), "ci_high"] < 0


def test_the_verdict_uses_the_larger_corrected_p_value(tmp_path):
    rng = np.random.default_rng(2)
    regimes = ("real", "real+aug", "real+static", "real+cinn", "real+lddm")
    files = [
        cell(tmp_path, name, np.clip(0.5 + 0.1 * (LABELS - 0.5) + rng.normal(0, 0.1, 60), 0, 1)) for name in regimes
    ]
    table = comparisons(files, SECTION, 0)
    larger = table[["p_bootstrap", "p_delong"]].max(axis=1)
    assert len(table) == 7 and (table["p_holm"] >= larger - 1e-12).all()
    assert table["p_holm"].min() == pytest.approx(min(1, 7 * larger.min()))
    for row in table.to_dict(orient="records"):
        word = "not distinguishable" if row["p_holm"] >= 0.05 else "better" if row["delta_auc"] > 0 else "worse"
        assert row["verdict"] == word


def test_validation_patients_correct_a_biased_threshold(tmp_path):
    """A network that ranks perfectly but says at most 0.3: half-way is no threshold, and its calibration is bad."""
    shrunk = 0.05 + 0.2 * LABELS + np.linspace(0, 0.05, 60)
    chosen = best_threshold(LABELS[:20], shrunk[:20])
    found = values([cell(tmp_path, "real", shrunk), cell(tmp_path, "real+lddm", shrunk, chosen)])
    assert found["real"]["auc"] == found["real+lddm"]["auc"] == 1
    assert (found["real"]["sensitivity"], found["real"]["balanced_accuracy"], found["real"]["f1"]) == (0, 0.5, 0)
    assert found["real+lddm"]["balanced_accuracy"] == found["real+lddm"]["f1"] == 1
    assert found["real+lddm"]["brier"] == pytest.approx(np.square(LABELS - shrunk).mean())


def test_the_threshold_comes_from_validation_videos_and_never_from_test_videos(tiny_store, tmp_path, monkeypatch):
    _, splits = tiny_store
    labels = {part: splits[splits["split"] == part].set_index("id")["label"] for part in ("val", "test")}
    says = {"val": lambda label: 0.1 + 0.1 * label, "test": lambda label: 0.7 + 0.2 * label}  # best cuts: 0.15 and 0.8
    asked = iter(("val", "test"))

    def predicted(network, inputs, head):
        part = next(asked)
        assert len(inputs) == len(labels[part])
        return labels[part].sort_index().map(says[part]).to_numpy()

    monkeypatch.setattr(module, "train_classifier", lambda *_: None)
    monkeypatch.setattr(module, "predict", predicted)
    (path,) = classify(
        SECTION, "tiny3d", "real", *tiny_store, 0, [], [], None, tmp_path / "s", tmp_path, 0, lambda *_: None
    )
    result = read_json(path)
    assert result["threshold"] == pytest.approx(0.15) and result["val_auc"] == result["test_auc"] == 1
    found = classification_table([path], SECTION, 0).set_index("metric")["mean"]
    assert found["sensitivity"] == 1 and found["specificity"] == 0  # honest: this threshold does not carry over


def test_a_visible_label_is_learnt_and_shuffled_labels_are_not(tmp_path):
    rng = np.random.default_rng(3)

    def clips(count, knows):
        labels = np.arange(count) % 2
        shown = labels if knows else rng.permutation(labels)
        inputs = rng.normal(0, 0.2, (count, 1, 8, 16, 16)).astype(np.float32)
        inputs[:, :, :, :4, 6:10] += (2 * shown - 1)[:, None, None, None, None]
        return inputs, labels

    training = Training(steps=40, batch_size=16, learning_rate=1e-2, ema_decay=0.0, val_every=10)
    auc = {}
    for knows in (True, False):
        arguments = (Tiny3d, training, clips(40, knows), None, clips(20, knows), 0.5, 0, tmp_path / str(knows))
        network = train_classifier(*arguments, lambda *_: None)
        test, labels = clips(60, knows)
        auc[knows] = scores(labels, predict(network, test), 0.5, np.ones((1, 60)))["auc"][0]
    assert auc[True] > 0.99 and 0.25 < auc[False] < 0.75


@pytest.mark.parametrize("column", ["patient_id", "cluster"])
@pytest.mark.parametrize("part", ["val", "test"])
def test_a_leaked_patient_or_duplicate_is_found(column, part, tiny_store, tmp_path):
    store, splits = tiny_store
    splits = splits.assign(cluster=["dup-" + name for name in splits["id"]])
    held_out = splits[splits["split"] == part].iloc[0]
    clean = pd.DataFrame(
        {"sample_id": ["a", "b"], "generator": "lddm", "source": "stills", "x0_id": ["still-18", "still-19"],
         "clip_id": None, "label": [0, 1], "class_name": "", "patient_id": ["p18", "p19"], "cluster": ["dup-x", None],
         "sample": 0, "seed": 0}
    )  # fmt: skip
    frames = np.zeros((2, 9, 32, 32), np.uint8)
    save_synthetic(tmp_path / "clean.npy", frames, clean)
    assert len(synthetic_clips([tmp_path / "clean.npy"], splits, 0)) == 2
    leaked = clean.assign(**{column: [held_out[column], clean[column][1]]})
    save_synthetic(tmp_path / "leaked.npy", frames, leaked)
    with pytest.raises(LddmError, match=f"leak: synthetic videos of {column} '{held_out[column]}'"):
        synthetic_clips([tmp_path / "leaked.npy"], splits, 0)
