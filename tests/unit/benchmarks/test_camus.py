"""The CAMUS study on simulated pairs: ellipses that contract by a known share."""

import json

import numpy as np
import pytest
import torch

import benchmarks.camus_readers
from benchmarks.camus import GENERATORS, Study, readers_table
from benchmarks.camus_generators import latent_set
from benchmarks.camus_pairs import (
    SPEC,
    STORED,
    Pairs,
    animated,
    as_latent,
    fields_of,
    measured_motion,
    moved_share,
    read_pairs,
    small,
)
from benchmarks.camus_readers import READERS, augmented, read_by, train_reader
from lddm.errors import LddmError
from lddm.statistics.auc import area_under_curve

PATIENTS = 40


@pytest.fixture(scope="module")
def pairs():
    """A sector with a dark ellipse: every fourth patient's contracts by a tenth of its area, the others' by half."""
    rng = np.random.default_rng(0)
    rows, columns = np.indices((STORED, STORED))
    sector = np.abs(columns - STORED / 2) < 0.5 * rows
    changes = np.where(np.arange(PATIENTS) % 4 == 0, 0.1, 0.5)
    frames = np.zeros((PATIENTS, 2, 2, STORED, STORED), np.uint8)
    ventricle = np.zeros(frames.shape, bool)
    for patient, change in enumerate(changes):
        for view in range(2):
            centre, texture = (130 + rng.uniform(-8, 8), 112 + rng.uniform(-8, 8)), rng.uniform(150, 230, sector.shape)
            for phase, scale in enumerate((1.0, np.sqrt(1 - change))):
                inside = ((rows - centre[0]) / 50) ** 2 + ((columns - centre[1]) / 28) ** 2 < scale**2
                frames[patient, view, phase] = np.where(inside, 40, texture) * sector
                ventricle[patient, view, phase] = inside & sector
    return Pairs(np.array([f"p{i:02d}" for i in range(PATIENTS)]), changes, frames, ventricle)


def test_z_holds_a_smooth_field_of_each_view_in_pixels():
    rows, columns = np.indices((STORED, STORED), dtype=np.float32) - (STORED - 1) / 2
    left, right = np.stack([0.1 * rows, 0.05 * columns]), np.stack([-0.05 * rows + 3, 0.02 * rows])
    fields = fields_of(as_latent(np.stack([left, right])[None]))[0].numpy()
    assert fields.shape == (2, 2, 112, 112)
    for found, made in zip(fields, (left, right), strict=True):
        inner = made[:, ::2, ::2][:, 10:-10, 10:-10] / 2
        assert np.abs(found[:, 10:-10, 10:-10] - inner).max() < 0.15


def test_guided_motion_has_the_label_and_moves_the_mask_by_as_much(pairs):
    change = moved_share(pairs, measured_motion(pairs, guided=True))
    assert area_under_curve(pairs.label, -change) == 1
    assert np.abs(change - pairs.area_fraction_change).mean() < 0.12
    still = torch.cat([torch.zeros(PATIENTS, SPEC.size - 1), torch.ones(PATIENTS, 1)], dim=1)
    assert np.abs(moved_share(pairs, still)).max() < 0.01


def test_what_lies_outside_the_sector_stands_still(pairs):
    first = small(pairs.frames[:4, :, 0])
    z = measured_motion(pairs, guided=True)[:4]
    second = animated(first, z)
    outside = small(255 * (pairs.frames[:4, :, 0] == 0).astype(np.uint8)) == 255
    assert (second[outside] == first[outside]).all() and np.abs(second.astype(int) - first).mean() > 1
    z[:, :-1] = 0
    assert np.array_equal(animated(first, z), first)


def test_folds_share_no_patient_and_labelled_ones_are_balanced_and_nested(pairs, tmp_path):
    study = Study(pairs, "open", tmp_path)
    tests = [study.parts(fold)[0] for fold in range(5)]
    assert sorted(np.concatenate(tests)) == list(range(PATIENTS))
    for fold, test in enumerate(tests):
        _, pool, stills = study.parts(fold)
        assert sorted(np.concatenate([test, pool, stills])) == list(range(PATIENTS))
        assert pairs.label[test].sum() == 2
        few, many = (study.labelled(pool, fold, count, 0) for count in (4, 8))
        assert set(few) < set(many) <= set(pool) and pairs.label[few].sum() == 2
    assert set(study.labelled(pool, 4, 4, 0)) != set(study.labelled(pool, 4, 4, 1))


def test_strictly_generators_know_the_labels_of_the_labelled_alone(pairs, tmp_path, monkeypatch):
    seen = []

    def stop(z, labels, pool, seed):
        seen.append((labels, pool))
        raise InterruptedError

    monkeypatch.setattr("benchmarks.camus.latent_set", stop)
    study = Study(pairs, "strict", tmp_path)
    with pytest.raises(InterruptedError):
        study.motion_of("LDDM", 0, 4, 0)
    labels, pool = seen[0]
    assert set(np.flatnonzero(labels >= 0)) == set(study.labelled(pool, 0, 4, 0))
    assert (tmp_path / "motion-image.npy").is_file() and not (tmp_path / "motion-guided.npy").exists()


def test_what_the_generators_may_know_names_what_is_kept(pairs, tmp_path):
    strict, open_ = (Study(pairs, setting, tmp_path) for setting in ("strict", "open"))
    cells = [(0, 4, 0), (0, 8, 0), (0, 4, 1), (1, 4, 0)]  # fold, labelled patients, selection
    assert len({strict.scope("LDDM", *cell) for cell in cells}) == 4
    assert len({open_.scope("LDDM", *cell) for cell in cells}) == 2
    assert strict.scope("true motion", 0, 4, 0) == strict.scope("true motion", 0, 8, 1)


def test_all_generators_draw_motion_for_stills(pairs, tmp_path, monkeypatch):
    from benchmarks import camus_generators

    short = {
        name: own
        and (
            own.model_copy(update={"training": own.training.model_copy(update={"steps": 2})})
            if hasattr(own, "training")
            else own
        )
        for name, own in camus_generators.SETTINGS.items()
    }
    monkeypatch.setattr(camus_generators, "SETTINGS", short)
    study = Study(pairs, "open", tmp_path)
    for regime in GENERATORS:
        z = study.motion_of(regime, 0, 4, 0)
        assert z.shape == (3 * len(study.parts(0)[2]), SPEC.size) and torch.isfinite(z).all()
    latents = latent_set(study.z, study.label, study.parts(0)[1], 0)
    assert 0 < (~latents.train).sum() < latents.train.sum()


def test_a_reader_of_motion_learns_contraction_and_that_of_one_frame_does_not(pairs, monkeypatch):
    monkeypatch.setattr(benchmarks.camus_readers, "STEPS", 60)
    first, second = (small(pairs.frames[:, :, phase]) for phase in (0, 1))
    half = np.arange(PATIENTS) < PATIENTS // 2
    found = {}
    for reader in ("ED + Jacobian", "ED"):
        inputs = READERS[reader](first, second)
        network = train_reader(reader, (inputs[half], pairs.label[half]), None, 0)
        found[reader] = area_under_curve(pairs.label[~half], read_by(network, inputs[~half]))
    assert found["ED + Jacobian"] > 0.9 and found["ED"] < 0.9


def test_the_gain_changes_frame_by_frame_and_strain_does_not_change(monkeypatch):
    x = torch.full((3, 2, 3, 32, 32), 0.5)
    out = augmented(x, 2, np.random.default_rng(0))
    grey = out[:, :, :2, 16, 16]
    assert torch.allclose(grey[:, 0], grey[:, 1]), "both views alike"
    assert (grey[:, 0, 0] - grey[:, 0, 1]).abs().min() > 1e-3, "frames not alike"
    assert torch.allclose(out[:, :, 2], x[:, :, 2], atol=1e-5)


def test_tables_pair_patients_and_draws(tmp_path):
    rng = np.random.default_rng(0)
    label_of = {f"p{i}": int(i % 2) for i in range(60)}
    names = list(label_of)
    truth = np.array(list(label_of.values()))
    for fold in range(2):
        mine = names[30 * fold : 30 * fold + 30]
        for run in range(3):
            noise = rng.normal(size=30)
            for regime, gain in (("LDDM", 2.0), ("real", 0.0), ("cINN", 2.0)):
                logits = gain * truth[30 * fold : 30 * fold + 30] + noise
                cell = {"reader": "ED + ES", "regime": regime, "count": 16, "fold": fold, "run": run}
                path = tmp_path / f"{regime}-{fold}-{run}.json"
                path.write_text(json.dumps(cell | {"patients": mine, "logits": logits.tolist()}))
    table = readers_table(tmp_path, label_of, resamples=200).set_index(["regime", "minus"])
    assert table.loc[("LDDM", ""), "auc"] > 0.8 and table.loc[("LDDM", ""), "runs"] == 6
    better, same = table.loc[("LDDM", "real")], table.loc[("LDDM", "cINN")]
    assert better["ci_low"] > 0 and better["p_holm"] >= better["p"]
    assert same["auc"] == 0 and same["p"] == 1
    assert set(table["p_holm"].dropna().index.get_level_values("minus")) == {"real", "cINN"}


def test_a_release_that_lacks_files_is_refused(tmp_path):
    with pytest.raises(LddmError, match="areas.csv"):
        read_pairs(tmp_path)
    lines = [f"patient{i},{view},0.4" for i in range(4) for view in ("2CH", "4CH")]
    (tmp_path / "areas.csv").write_text("\n".join(["patient_id,view,area_fraction_change", *lines]))
    with pytest.raises(LddmError, match="both views of 4 patients"):
        read_pairs(tmp_path)
