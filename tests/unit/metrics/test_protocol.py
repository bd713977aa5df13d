"""The protocol on made-up sets whose answer is known: equal sets, enough videos to extrapolate, samples that are missing."""

import logging

import numpy as np
import pandas as pd
import pytest
import torch

from lddm.data.cache import ArrayCache
from lddm.files import sha256
from lddm.metrics import no_reference, novelty, paired, weights
from lddm.metrics.copy_search import copy_rows
from lddm.metrics.distances import frechet, kernel_distance
from lddm.metrics.features import FeatureNetwork
from lddm.metrics.protocol import SAME_X0, Protocol
from lddm.metrics.videos import Videos, best_of_samples
from lddm.settings.evaluation import QualitySettings

CALLS = []


def two_numbers(clips):
    CALLS.append(len(clips))
    return np.stack([clips[:, 1:].mean(axis=(1, 2, 3)), clips[:, 1:].std(axis=(1, 2, 3))], axis=1)


NETWORK = FeatureNetwork("two numbers", two_numbers)


def videos(count, seed, samples=1, brightness=100):
    rng = np.random.default_rng(seed)
    clips = np.clip(rng.normal(brightness, 20, (count, 5, 8, 8)) + rng.normal(0, 9, (count, 1, 1, 1)), 0, 255)
    names = [f"c{i // samples}" for i in range(count)]
    table = pd.DataFrame({"clip_id": names, "patient_id": names, "sample_id": [f"s{i}" for i in range(count)]})
    table["label"] = [int(name[1:]) % 2 for name in names]
    return Videos(clips.astype(np.uint8), table["patient_id"].to_numpy(), table)


def protocol(tmp_path, test, train, **changes):
    section = QualitySettings(**{"bootstrap": 20, "max_videos_expensive": 2} | changes)
    references, real = {"heldout": test, "train": train}, {"test": test, "train": train}
    return Protocol(section, 0, "made", real, references, (NETWORK, 1.0), tmp_path, ArrayCache(), 0, "how")


def distances(of, made, reference="heldout"):
    metrics = {"frechet_video": frechet, "kernel_video": kernel_distance}
    rows = of.network_rows("heldout", made, reference, metrics, NETWORK, "two numbers")
    return {row["metric"]: row for row in rows}


def test_a_generator_that_repeats_its_reference_is_not_nearer_than_real_videos(tmp_path):
    """With the reference that begins with the same frames it is at zero, though its videos are real ones: no floor."""
    test, train = videos(40, 0), videos(40, 1)
    of = protocol(tmp_path, test, train)
    row = distances(of, test, SAME_X0)["frechet_video"]
    assert row["value"] == 0.0 and row["ci_low"] == 0.0 and row["floor"] is None
    apart = distances(of, test)["frechet_video"]
    assert apart["value"] == apart["floor"] > 0 and (apart["n_real"], apart["n_synthetic"]) == (20, 20)


def test_videos_meet_real_ones_of_other_patients_in_equal_numbers(tmp_path):
    test, made = videos(12, 0), videos(36, 1, samples=3)
    of = protocol(tmp_path, test, videos(12, 2))
    pairs = of.pairs(made, "heldout")
    assert len(pairs) == 6
    for real, synthetic in pairs:
        assert len(real) == len(synthetic) == 6
        assert not set(test.patients[real]) & set(made.patients[synthetic])
        assert len(set(made.patients[synthetic])) == 6  # one video of each first frame
    (whole,) = of.pairs(made, SAME_X0)
    assert len(whole[0]) == 12 and len(whole[1]) == 36
    strangers = Videos(made.clips, np.char.add("q", made.patients.astype(str)), made.table)  # animated stills
    assert all(len(set(strangers.patients[j])) == len(j) == len(i) == 6 for i, j in of.pairs(strangers, "heldout"))


def test_a_reference_of_one_video_is_absent_with_its_reason(tmp_path):
    row = distances(protocol(tmp_path, videos(3, 0), videos(4, 1)), videos(3, 2))["frechet_video"]
    assert row["value"] is None and "at least two videos" in row["reason"]


def test_enough_videos_are_extrapolated_beside_their_interval_and_floor(tmp_path):
    of = protocol(tmp_path, videos(120, 0), videos(80, 1))
    made = videos(120, 2, brightness=110)
    found = distances(of, made)
    assert set(found) == {"frechet_video", "frechet_video_infinity", "kernel_video"}
    plain, infinite = found["frechet_video"], found["frechet_video_infinity"]
    assert plain["ci_low"] < plain["value"] < plain["ci_high"] and plain["floor"] < 0.2 * plain["value"]
    assert infinite["value"] == pytest.approx(plain["value"], rel=0.3) and infinite["ci_low"] is None
    assert (infinite["n_real"], infinite["n_synthetic"]) == (60, 60)
    assert "frechet_video_infinity" not in distances(of, videos(6, 2))  # fewer than 2 d


def test_a_subset_keeps_a_video_of_each_first_frame():
    made = videos(30, 0, samples=3)
    some = made.at_most(12, 0)
    assert len(some) == 12 and some.table["clip_id"].nunique() == 10
    alone = videos(30, 0).at_most(12, 0)  # as it was: a random subset
    assert np.array_equal(alone.clips, videos(30, 0).take(np.sort(np.random.default_rng(0).permutation(30)[:12])).clips)


def test_best_of_n_compares_first_frames_that_have_n(tmp_path, monkeypatch):
    """A random subset of the videos may hold one sample of an x0 and three of another: the best of one is no best of three."""
    test, made = videos(4, 0), videos(12, 1, samples=3)
    made = made.take(np.array([0, 1, 2, 3, 4, 5, 6, 9, 10]))  # three samples of two x0, one and two of the others
    values = np.arange(9.0)
    samples, best, patients = best_of_samples(values, made, higher=False)
    assert samples == 3 and best.tolist() == [0, 3] and patients.tolist() == made.patients[[0, 3]].tolist()
    assert best_of_samples(values, made, higher=True)[1].tolist() == [2, 5]
    monkeypatch.setattr(paired, "perceptual", lambda: paired.l1)
    rows = list(protocol(tmp_path, test, videos(4, 2)).paired("heldout", made))
    (best,) = [row for row in rows if row["metric"] == "l1" and row["reference"] == "same x0, best of 3"]
    assert best["n_synthetic"] == 2
    rows = list(protocol(tmp_path, test, videos(4, 2)).paired("heldout", made.take(np.array([0, 3]))))
    assert not any("best of" in row["reference"] for row in rows)


def test_slow_measures_take_videos_from_everywhere(tmp_path, monkeypatch):
    """The first ones of the table are those of one patient."""
    seen = []
    monkeypatch.setattr(no_reference, "strred", lambda real, made: seen.append(made) or np.zeros(len(made)))
    monkeypatch.setattr(paired, "perceptual", lambda: paired.l1)
    monkeypatch.setattr(paired, "ssim", paired.l1)
    monkeypatch.setattr(paired, "strain_error_from", lambda cache: paired.l1)
    test = videos(40, 0)
    made = Videos(videos(40, 1).clips, test.patients, test.table)
    list(protocol(tmp_path, test, videos(4, 2), max_videos_expensive=6).paired("heldout", made))
    rows = [np.flatnonzero((made.clips == clip).all(axis=(1, 2, 3)))[0] for clip in seen[0]]
    assert len(set(rows)) == 6 and max(rows) > 10 and rows == sorted(rows)


def test_a_row_says_which_file_its_brisque_used(tmp_path, monkeypatch):
    for name in ("piqe", "niqe", "viideo"):
        monkeypatch.setattr(no_reference, name, lambda clips: np.zeros(len(clips)))
    path = tmp_path / weights.REGISTRY["brisque"].file
    path.parent.mkdir()
    torch.save((torch.zeros(3, 1), torch.zeros(3, 36)), path)
    made = videos(2, 0)
    made = Videos(made.clips.repeat(8, axis=2).repeat(8, axis=3), made.patients, made.table)
    rows = protocol(tmp_path, made, made).no_reference("heldout", made)
    (row,) = [row for row in rows if row["metric"] == "brisque"]
    assert row["features"] == f"pyiqa, brisque (sha256 {sha256(path)[:8]})" and row["value"] == pytest.approx(153.591)


def test_copies_are_found_where_a_leak_takes_the_threshold_to_zero(caplog):
    rng = np.random.default_rng(0)
    train, made = rng.normal(size=(60, 12)), rng.normal(size=(10, 12))
    held_out = np.concatenate([train[:5], rng.normal(size=(20, 12))])  # a patient who is in both
    made[:2] = train[20:22]
    with caplog.at_level(logging.WARNING):
        found = novelty.copies(made, held_out, train, 0.05)
    assert "5 held-out videos are training videos" in caplog.text
    assert found["copied"].tolist() == [True] * 2 + [False] * 8 and found["distance"][0] == 0.0


def test_with_one_held_out_patient_only_equal_videos_are_copies(tmp_path):
    test, train, made = videos(3, 0, samples=3), videos(20, 1), videos(5, 2)
    stolen = Videos(np.concatenate([train.clips[:1], made.clips[1:]]), made.patients, made.table)
    rows, table = copy_rows(protocol(tmp_path, test, train), "heldout", stolen)
    assert all(row["value"] is None for row in rows) and len(rows) == 6 and "two held-out patients" in rows[0]["reason"]
    assert table["copied"].tolist() == [True, False, False, False, False]


class Exported(torch.nn.Module):
    """Called as a user's network is: values 0..255, (B, 3, T, H, W) -> (B, d)."""

    def __init__(self, d: int):
        super().__init__()
        self.d = d

    def forward(self, video: torch.Tensor) -> torch.Tensor:
        frames = video[:, 0].mean(dim=(2, 3))  # (B, T)
        return torch.cat([frames, frames.std(dim=1, keepdim=True).expand(-1, self.d - frames.shape[1])], dim=1)


def test_networks_of_users_give_cd_fvd_and_jedi_on_few_videos(tmp_path):
    for name, d in {"videomae_ssv2": 1408, "vjepa_ssv2": 1024}.items():
        torch.jit.script(Exported(d)).save(str(tmp_path / weights.REGISTRY[name].file))
    real, made = videos(40, 0), videos(40, 1, brightness=120)
    of, metrics = protocol(tmp_path, real, videos(20, 2), max_videos_pretrained=24), ("cd_fvd", "jedi", "jedi_unbiased")
    rows = [row for row in of.distances("heldout", made, ("heldout", "train")) if row["metric"] in metrics]
    assert [row["metric"] for row in rows] == ["cd_fvd"] * 2 + ["jedi", "jedi_unbiased"] * 2
    for row in rows:
        assert row["value"] > 0 and "sha256" in row["features"]
        assert (row["n_real"], row["n_synthetic"]) == ((12, 12) if row["reference"] == "heldout" else (20, 24))
    floors = {row["metric"]: row["floor"] for row in rows if row["reference"] == "heldout"}
    assert floors["jedi_unbiased"] < floors["jedi"] and all(floors[m] < r["value"] for r in rows for m in [r["metric"]])


def test_absent_networks_of_users_say_what_to_export(tmp_path):
    rows = list(protocol(tmp_path, videos(8, 0), videos(8, 1)).distances("heldout", videos(8, 2), ("heldout",)))
    reasons = {row["metric"]: row["reason"] for row in rows if row["value"] is None}
    assert "VideoMAE v2" in reasons["cd_fvd"] and "V-JEPA" in reasons["jedi"] and "V-JEPA" in reasons["jedi_unbiased"]
