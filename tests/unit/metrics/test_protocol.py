"""The protocol on made-up sets whose answer is known: equal sets, enough videos to extrapolate, samples that are missing."""

import logging
import time

import numpy as np
import pandas as pd
import pytest
import torch

from lddm.files import sha256
from lddm.metrics import no_reference, novelty, paired, weights
from lddm.metrics.cache import FeatureCache
from lddm.metrics.distances import extrapolated, frechet
from lddm.metrics.features import FeatureNetwork
from lddm.metrics.protocol import Protocol, Videos
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
    return Videos(clips.astype(np.uint8), table["patient_id"].to_numpy(), table)


def protocol(tmp_path, test, train, **changes):
    section = QualitySettings(**{"bootstrap": 20, "max_slow": 2} | changes)
    references, real = {"heldout": test, "train": train}, {"test": test, "train": train}
    return Protocol(section, 0, "made", real, references, (NETWORK, 1.0), tmp_path, FeatureCache(), 0, "how")


def distances(of, made, reference="heldout"):
    rows = of.network_rows("heldout", made, reference, ("frechet_video", "kernel_video"), NETWORK, "two numbers")
    return {row["metric"]: row for row in rows}


@pytest.mark.parametrize("bootstrap", [20, 0])
def test_equal_sets_are_exactly_zero_apart(tmp_path, bootstrap):
    test, train = videos(40, 0), videos(40, 1)
    row = distances(protocol(tmp_path, test, train, bootstrap=bootstrap), test)["frechet_video"]
    assert row["value"] == 0.0 and (row["ci_low"] == 0.0 if bootstrap else row["ci_low"] is None)


def test_enough_videos_are_extrapolated_beside_their_interval_and_floor(tmp_path):
    of = protocol(tmp_path, videos(60, 0), videos(80, 1))
    made = videos(60, 2, brightness=110)
    found = distances(of, made)
    assert set(found) == {"frechet_video", "frechet_video_infinity", "kernel_video"}
    plain, infinite = found["frechet_video"], found["frechet_video_infinity"]
    assert plain["ci_low"] < plain["value"] < plain["ci_high"] and plain["floor"] < 0.2 * plain["value"]
    expected = extrapolated(frechet, two_numbers(of.references["heldout"].clips), two_numbers(made.clips), 0)
    assert infinite["value"] == pytest.approx(expected) and infinite["ci_low"] is None
    assert (infinite["n_real"], infinite["n_synthetic"]) == (60, 60)
    assert "frechet_video_infinity" not in distances(of, videos(3, 2))  # fewer than 2 d


def test_scoring_200_by_200_videos_from_cached_features_takes_under_two_seconds(tmp_path):
    """Both distances of 64 features, floors, 200 resamples each; seconds of CPU, so that a busy machine does not count."""
    rng = np.random.default_rng(0)
    wide = FeatureNetwork("64 numbers", lambda clips: rng.normal(size=(len(clips), 64)))
    of = protocol(tmp_path, videos(200, 0), videos(200, 1), bootstrap=200)
    made, metrics = videos(200, 2), ("frechet_video", "kernel_video")
    seconds = []
    for _ in range(2):  # the first fills the cache
        began = time.process_time()
        assert len(list(of.network_rows("heldout", made, "heldout", metrics, wide, "64"))) == 3
        seconds.append(time.process_time() - began)
    assert seconds[1] < 2


def test_a_floor_of_fewer_videos_says_so(tmp_path):
    of = protocol(tmp_path, videos(30, 0), videos(20, 1))
    assert distances(of, videos(20, 2))["frechet_video"]["protocol"] == "how"
    few = distances(of, videos(25, 2))
    assert few["frechet_video"]["protocol"] == few["kernel_video"]["protocol"] == "how, floor of 20 videos"
    assert distances(of, videos(25, 2), "train")["frechet_video"]["protocol"] == "how"


def test_without_resamples_no_set_is_held_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr("lddm.metrics.features.PART", 7)
    of = protocol(tmp_path, videos(60, 0), videos(60, 1), bootstrap=0)
    CALLS.clear()
    rows = list(of.network_rows("heldout", videos(60, 2), "heldout", ("frechet_video",), NETWORK, "two numbers"))
    assert [row["metric"] for row in rows] == ["frechet_video"] and max(CALLS) == 7 and sum(CALLS) == 120


def test_best_of_n_compares_first_frames_that_have_n(tmp_path, monkeypatch):
    """A random subset of the videos may hold one sample of an x0 and three of another: the best of one is no best of three."""
    test, made = videos(4, 0), videos(12, 1, samples=3)
    made = made.take(np.array([0, 1, 2, 3, 4, 5, 6, 9, 10]))  # three samples of two x0, one and two of the others
    of = protocol(tmp_path, test, videos(4, 2))
    values = np.arange(9.0)
    (best,) = of._best("heldout", "l1", "pixels", values, made)
    assert best["reference"] == "same x0, best of 3" and best["n_synthetic"] == 2 and best["value"] == 1.5  # 0 and 3
    (best,) = of._best("heldout", "psnr", "pixels", values, made)
    assert best["value"] == 3.5  # 2 and 5: higher is better
    assert not list(of._best("heldout", "l1", "pixels", values[:1], made.take(np.array([0]))))


def test_slow_measures_take_videos_from_everywhere(tmp_path, monkeypatch):
    """The first ones of the table are those of one patient."""
    seen = []
    monkeypatch.setattr(no_reference, "strred", lambda real, made: seen.append(made) or np.zeros(len(made)))
    monkeypatch.setattr(paired, "perceptual", lambda: paired.l1)
    monkeypatch.setattr(paired, "ssim", paired.l1)
    monkeypatch.setattr(paired, "strain_error", paired.l1)
    test = videos(40, 0)
    made = Videos(videos(40, 1).clips, test.patients, test.table)
    list(protocol(tmp_path, test, videos(4, 2), max_slow=6).paired("heldout", made))
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
