"""Paired, temporal, diversity and novelty measures; and the rows of quality.csv."""

import json
from types import SimpleNamespace

import cv2
import numpy as np
import pandas as pd
import pytest
from skimage.metrics import peak_signal_noise_ratio

from lddm.data.frames import fold_clips
from lddm.data.synthetic import save_synthetic
from lddm.errors import LddmError
from lddm.files import write_json
from lddm.metrics import motion, no_reference, novelty, paired
from lddm.metrics.comparisons import COMPARED, quality_comparisons
from lddm.metrics.domain_network import PRETEXTS, DomainNetwork, pretext_clip, train_domain_network
from lddm.metrics.score import score
from lddm.metrics.weights import WeightsAbsent
from lddm.report.tables import QUALITY
from lddm.settings.evaluation import DomainNetworkSettings, QualitySettings
from lddm.settings.models import Training
from lddm.training.weights import load_weights, save_weights

RNG = np.random.default_rng(0)


def waves(n=4, speed=1.0, size=32, frames=17):
    rows, columns = np.mgrid[:size, :size]
    time = np.arange(frames)[:, None, None]
    shift = RNG.uniform(0, 6, n)
    clips = [128 + 90 * np.sin(rows / 3 + s + speed * np.sin(time / 4)) * np.cos(columns / 4) for s in shift]
    return np.stack(clips).astype(np.uint8)


def test_paired_measures_leave_x0_out_and_agree_with_scikit_image():
    real, other = waves(), waves()
    only_x0 = real.copy()
    only_x0[:, 0] = 0
    assert paired.l1(real, only_x0).max() == 0 and np.allclose(paired.ssim(real, only_x0), 1)
    expected = [peak_signal_noise_ratio(a[1:], b[1:], data_range=255) for a, b in zip(real, other, strict=True)]
    assert np.allclose(paired.psnr(real, other), expected, rtol=1e-5)
    assert np.allclose(
        paired.l1(real[:, :, :, :], np.clip(real.astype(int) + 51, 0, 255).astype(np.uint8))[:1], 0.2, atol=0.03
    )


def pressed(rng, stiff, depth=3.0, size=64, frames=17):
    """A clip of speckle pressed from above: all gives way evenly, but for a stiff band of rows."""
    texture = cv2.GaussianBlur(rng.random((size * 2, size)).astype(np.float32), (0, 0), 1.5)
    texture = (texture - texture.min()) / (texture.max() - texture.min()) * 255
    rows, columns = np.mgrid[:size, :size].astype(np.float32)
    local = np.where(np.abs(np.arange(size) - size / 2) < 10, 1.0 - stiff, 1.0)
    shape = np.cumsum(local) / np.cumsum(local)[-1]
    clips = []
    for t in range(frames):
        shift = depth * np.sin(t / 5) * shape[:, None]
        clips.append(cv2.remap(texture, columns, (rows + shift + 20).astype(np.float32), cv2.INTER_LINEAR))
    return np.stack(clips).astype(np.uint8)


def test_strain_error_sees_where_tissue_gives_way_and_not_how_hard_it_was_pressed():
    seeds = range(4)
    soft, stiff, harder = (
        np.stack([pressed(np.random.default_rng(i), *how) for i in seeds]) for how in ((0.0,), (0.9,), (0.0, 4.0))
    )
    assert np.allclose(paired.strain_error(soft, soft), 0)
    assert (paired.strain_error(soft, harder) < 0.5 * paired.strain_error(soft, stiff)).all()


def test_perceptual_distance_is_zero_for_equal_videos_and_symmetric():
    measure, real, other = paired.perceptual(), waves(2), waves(2)
    assert np.allclose(measure(real, real), 0, atol=1e-6)
    assert np.allclose(measure(real, other), measure(other, real), rtol=1e-4) and (measure(real, other) > 0).all()


def test_motion_measures_rise_with_what_they_are_named_after():
    slow, fast = waves(speed=0.5), waves(speed=3.0)
    noisy = np.clip(slow + RNG.normal(0, 12, slow.shape), 0, 255).astype(np.uint8)
    still = np.repeat(slow[:, :1], 17, axis=1)
    found = {name: [m.of(clips).mean() for clips in (still, slow, fast)] for name, m in motion.MEASURES.items()}
    for name in ("flow_magnitude", "temporal_difference", "temporal_spectrum"):
        nothing, little, much = found[name]
        assert nothing < 0.03 and much > 2 * little, name  # Farneback's flow of equal frames is not quite zero
    flicker = motion.MEASURES["flicker"]
    assert flicker.of(noisy).mean() > 3 * flicker.of(slow).mean() and flicker.of(still).max() == 0
    for measure in motion.MEASURES.values():
        assert measure.distance(measure.of(slow), measure.of(slow)) == 0
        assert measure.distance(measure.of(slow), measure.of(noisy)) > 0


@pytest.mark.parametrize(("axis", "direction"), [(2, 0), (1, 2)])
def test_flow_directions_are_where_things_go(axis, direction):
    texture = cv2.GaussianBlur(RNG.random((64, 64)), (0, 0), 2)
    texture = (255 * (texture - texture.min()) / np.ptp(texture)).astype(np.uint8)
    clip = np.stack([np.roll(texture, t, axis=axis - 1) for t in range(9)])[
        None
    ]  # one pixel a frame, to the right or down
    magnitude, *share, _ = motion.flow_statistics(clip)[0]
    assert magnitude == pytest.approx(1, abs=0.25)
    assert np.argmax(share) == direction and sum(share) == pytest.approx(1) and max(share) > 0.6


def test_the_power_spectrum_holds_the_power_of_each_frequency():
    time = np.arange(16)
    pixels = 128 + 51 * np.cos(2 * np.pi * 3 * time / 16)
    clip = np.broadcast_to(pixels[None, :, None, None], (1, 16, 4, 4)).round().astype(np.uint8)
    power = motion.power_spectrum(clip)[0]
    assert power.argmax() == 2 and power[2] == pytest.approx(0.2**2 / 2, rel=0.05)  # amplitude 0.2 of the range


def test_flicker_is_the_share_above_half_the_nyquist_frequency():
    time = np.arange(16)
    for cycles, expected in ((2, 0.0), (7, 1.0)):
        pixels = 128 + 50 * np.cos(2 * np.pi * cycles * time / 16)
        clip = np.broadcast_to(pixels[None, :, None, None], (1, 16, 4, 4)).round().astype(np.uint8)
        assert motion.MEASURES["flicker"].of(clip)[0, 0] == pytest.approx(expected, abs=0.01)


def test_a_drift_of_brightness_is_no_flicker():
    """Its jump from the last frame to the first has power at all frequencies: 7 % of it counted as flicker."""
    rng = np.random.default_rng(0)
    drift = rng.integers(40, 120, (1, 1, 32, 32)) + 8.0 * np.arange(17)[None, :, None, None]
    sway = drift + 20 * np.sin(2 * np.pi * 1.3 * np.arange(17) / 17)[None, :, None, None]
    assert motion.MEASURES["flicker"].of(sway.round().astype(np.uint8))[0, 0] < 0.01


def test_no_reference_measures_say_when_frames_are_too_small():
    with pytest.raises(WeightsAbsent, match="193 pixels"):
        no_reference.niqe(waves(1))
    with pytest.raises(WeightsAbsent, match="48 pixels"):
        no_reference.viideo(waves(1))
    assert no_reference.piqe(waves(2)).shape == (2,)
    assert np.isfinite(no_reference.viideo(waves(1, size=64))).all()
    assert no_reference.strred(waves(1, size=64), waves(1, size=64)).shape == (1,)


def test_planted_copies_are_found():
    train, held_out = RNG.normal(size=(200, 12)), RNG.normal(size=(60, 12))
    synthetic = RNG.normal(size=(40, 12))
    synthetic[:7] = train[3:10] + 1e-3
    found = novelty.copies(synthetic, held_out, train, 0.05)
    assert found["copied"][:7].all() and found["copied"][7:].mean() < 0.2
    assert found["nearest"][:7].tolist() == list(range(3, 10))
    own = np.arange(60)
    assert novelty.copies(held_out, held_out, train, 0.1, own, own)["copied"].mean() <= 0.13


@pytest.fixture(scope="module")
def speckled():
    """Clips of 60 training and 60 held-out patients: speckle of their own, pressed."""
    return [np.stack([pressed(np.random.default_rng([part, i]), 0.5, size=32) for i in range(60)]) for part in (0, 1)]


@pytest.mark.parametrize(
    ("change", "copied"),
    [
        (lambda clips: clips, False),
        (lambda clips: np.stack([[cv2.GaussianBlur(f, (0, 0), 2) for f in clip] for clip in clips]), False),
        (lambda clips: (clips * 0.5 + 60).astype(np.uint8), False),
        (lambda clips: (255 * (clips / 255) ** 0.6).astype(np.uint8), False),
        (lambda clips: np.repeat(clips[:, :1], clips.shape[1], axis=1), False),
        (lambda clips: np.clip(clips + RNG.normal(0, 20, clips.shape), 0, 255).astype(np.uint8), False),
        (lambda clips: clips, True),
        (lambda clips: np.clip(clips + RNG.normal(0, 8, clips.shape), 0, 255).astype(np.uint8), True),
        (lambda clips: (clips * 0.7 + 30).astype(np.uint8), True),
        (lambda clips: np.stack([[cv2.GaussianBlur(f, (0, 0), 0.8) for f in clip] for clip in clips]), True),
        (lambda clips: clips[..., ::-1], True),
        (lambda clips: clips[:, ::-1], True),
        (lambda clips: np.roll(clips, 1, axis=3), True),
    ],
)
def test_degraded_videos_are_no_copies_and_altered_training_videos_are(change, copied, speckled):
    """By the distance to training videos alone, blurred and dim unseen videos were called copies (0.81 and 0.52 of them)."""
    train, unseen = speckled
    pool = np.concatenate([novelty.THUMBNAILS.extract(clips) for clips in novelty.views(train)])
    made, held_out = change(train[:30] if copied else unseen[:30]), unseen[30:]
    rate = novelty.copies(*map(novelty.THUMBNAILS.extract, (made, held_out)), pool, 0.05)["copied"].mean()
    assert rate >= 0.95 if copied else rate <= 0.10


def test_the_own_patient_is_no_sign_of_originality():
    """A video begins with a frame of a held-out patient, whose real video must not count as a near held-out one."""
    train, held_out = RNG.normal(size=(50, 8)), RNG.normal(size=(50, 8))
    made = held_out[:10] + 0.01
    own = np.arange(50)
    found = novelty.copies(made, held_out, train, 0.05, own[:10], own)
    assert (found["held_out_distance"] > 0.1).all()
    names = own.astype(str)
    assert novelty.nearer_to_train(made, held_out, train, names[:10], names, names, 0).mean() == pytest.approx(
        0.5, abs=0.3
    )
    stolen = train[:10] + 0.01
    assert novelty.nearer_to_train(stolen, held_out, train, names[:10], names, names, 0).mean() > 0.95


def test_diversity_compares_samples_of_one_x0_only():
    clips = np.zeros((4, 3, 8, 8), np.uint8)
    clips[1, 1:] = 51  # 0.2 of the range away from its sibling
    manifest = pd.DataFrame({"clip_id": ["a", "a", "b", "c"], "x0_id": "x", "patient_id": ["p", "p", "q", "r"]})
    values, patients = novelty.diversity(clips, manifest)
    assert values == pytest.approx([0.2]) and patients.tolist() == ["p"]


def test_pretexts_break_motion_and_nothing_else():
    clip = waves(1)[0]
    rng = np.random.default_rng(0)
    broken = {name: pretext_clip(clip, kind, rng) for kind, name in enumerate(PRETEXTS)}
    assert all(b.shape == clip.shape and b.dtype == np.uint8 for b in broken.values())
    assert np.array_equal(broken["real"], clip)
    assert np.abs(np.diff(broken["frozen"].astype(float), axis=0)).mean() < 6
    assert sorted(map(bytes, broken["shuffled"])) == sorted(map(bytes, clip))
    assert np.array_equal(broken["fast"][:3], clip[[0, 2, 4]])
    assert np.array_equal(broken["torn"][:, :, :16], clip[:, :, :16])
    assert not np.array_equal(broken["torn"][:, :, 16:], clip[:, :, 16:])


def test_a_frozen_clip_is_as_bright_as_its_frame():
    """Half a grey level of rounding would give it away."""
    clip = np.full((16, 32, 32), 100, dtype=np.uint8)
    rng = np.random.default_rng(0)
    frozen = [pretext_clip(clip, PRETEXTS.index("frozen"), rng) for _ in range(10)]
    assert np.mean(frozen) == pytest.approx(100, abs=0.05)


def test_domain_network_reports_its_held_out_accuracy(tiny_store, tmp_path):
    section = DomainNetworkSettings(width=4, training=Training(steps=4, batch_size=4, val_every=2, ema_decay=0.0))
    lines = []
    out = tmp_path / "m.safetensors"
    train_domain_network(section, *tiny_store, 0, 0, tmp_path / "s", out, lambda *line: lines.append(line))
    _, about = load_weights(out, "domain_network")
    assert 0 <= about["held_out"]["accuracy"] <= 1 and about["train_clips"] == 12 and lines


@pytest.fixture
def scored(tiny_store, tmp_path, monkeypatch):
    """A function that scores made-up videos of a generator."""
    monkeypatch.setenv("LDDM_OFFLINE", "1")
    store, splits = tiny_store
    splits = splits.assign(split=splits["split"].replace({"val": "test"}))  # six test patients: halves of three
    network = tmp_path / "domain.safetensors"
    save_weights(network, DomainNetwork(4), "domain_network", width=4, held_out={"accuracy": 0.9, "loss": 0.1})
    test = fold_clips(store, splits, 0, "test")

    def run(generator, change=lambda clips: clips, clip_ids=None, **changes):
        paths = []
        if generator != "real":
            table = pd.concat([test, test], ignore_index=True)
            manifest = pd.DataFrame(
                {
                    "sample_id": [f"s{i}" for i in range(len(table))],
                    "generator": generator,
                    "source": "heldout",
                    "x0_id": table["id"],
                    "clip_id": clip_ids or table["clip_id"],
                    "label": table["label"],
                    "class_name": "",
                    "patient_id": table["patient_id"],
                    "cluster": None,
                    "sample": [0] * len(test) + [1] * len(test),
                    "seed": 0,
                }
            )
            save_synthetic(tmp_path / f"{generator}.npy", change(store.clip_frames(table).copy()), manifest)
            paths = [tmp_path / f"{generator}.npy"]
        section = QualitySettings(**{"bootstrap": 5, "max_videos": 10, "max_videos_expensive": 2} | changes)
        known = {}
        if (
            generator == "reconstruction"
        ):  # what passes the autoencoder: training clips, and their motion (here themselves)
            train = fold_clips(store, splits, 0, "train")
            known["memorised"] = ((store.clip_frames(train), train), (store.clip_frames(train)[:6], test))
        if generator == "lddm":
            patients, member = np.arange(12).astype(str), np.repeat([True, False], 6)
            known["attacks"] = {"": SimpleNamespace(loss=np.where(member, 0.0, 1.0), member=member, patients=patients)}
        return score(
            section, generator, store, splits, 0, network, tmp_path / "weights", paths, 0, tmp_path / "cache", **known
        )

    return run


def noise(clips):
    """Noise after x0; the second half of the clips, which is the second sample of each x0, half real: the better one."""
    drawn = np.random.default_rng(0).integers(0, 255, clips[:, 1:].shape)
    half = len(clips) // 2
    drawn[half:] = (drawn[half:] + clips[half:, 1:]) // 2
    clips[:, 1:] = drawn
    return clips


def test_rows_carry_what_the_contract_asks_for(scored):
    rows, _ = scored("lddm", noise)
    assert all(set(QUALITY) <= set(row) for row in rows)
    assert {row["protocol"] for row in rows} == {"frames 1-8 at 10 Hz, 32 px, 2 samples of an x0, seed 0, labels: true"}
    json.dumps(rows, allow_nan=False)
    by_metric = {(row["metric"], row["reference"]): row for row in rows}
    assert by_metric["frechet_video", "heldout"]["n_synthetic"] == by_metric["frechet_video", "heldout"]["n_real"] == 3
    same = by_metric["frechet_video", "heldout, same x0"]
    assert (same["n_real"], same["n_synthetic"], same["floor"]) == (6, 10, None)
    assert by_metric["frechet_video", "heldout"]["floor"] > 0 and by_metric["frechet_video", "heldout"]["sees_motion"]
    assert (
        by_metric["frechet_video", "train"]["floor"] is None
        and not by_metric["frechet_frame", "heldout"]["sees_motion"]
    )
    with_x0 = by_metric["frechet_video", "heldout, x0 included"]
    assert with_x0["value"] < by_metric["frechet_video", "heldout"]["value"]  # x0 is real, the rest is noise
    best, mean = by_metric["l1", "same x0, best of 2"], by_metric["l1", "same x0"]
    assert best["value"] < 0.8 * mean["value"] and (best["n_synthetic"], mean["n_synthetic"]) == (4, 10)
    assert by_metric["ssim", "same x0, best of 2"]["value"] > by_metric["ssim", "same x0"]["value"]
    assert "accuracy 0.90" in by_metric["frechet_video", "heldout"]["features"]
    assert by_metric["ssim", "same x0"]["better"] == "higher" and by_metric["l1", "same x0"]["value"] > 0.1
    for metric in ("fvd", "kvd", "dt_fvd", "fid", "kid", "lpips_vgg", "lpips_alex", "brisque", "niqe"):
        row = by_metric[metric, ""]
        assert row["value"] is None and row["reason"], metric


def test_the_truth_scores_zero_and_noise_does_not(scored):
    truth = {(r["metric"], r["reference"]): r["value"] for r in scored("reconstruction")[0]}
    bad = {(r["metric"], r["reference"]): r["value"] for r in scored("lddm", noise)[0]}
    assert truth["l1", "same x0"] == 0 and truth["ssim", "same x0"] == pytest.approx(1)
    assert truth["flow_magnitude", "heldout, same x0"] == pytest.approx(0, abs=0.2)
    for key in (("frechet_frame", "heldout"), ("flicker", "heldout"), ("temporal_difference", "heldout")):
        assert bad[key] > truth[key] >= 0, key


def test_the_floor_is_real_against_real_of_other_patients(scored):
    rows, copies = scored("real")
    assert copies.empty
    by_metric = {(row["metric"], row["reference"]): row for row in rows}
    real = by_metric["frechet_video", "heldout"]
    assert (real["source"], real["n_real"], real["n_synthetic"]) == ("heldout", 3, 3)
    assert real["value"] == real["floor"] > 0
    others = {(row["metric"], row["reference"]): row for row in scored("lddm", noise)[0]}
    assert others["frechet_video", "heldout"]["floor"] == real["value"]
    # A generator that returns the true futures is as far from other patients as real videos are.
    truth = {(row["metric"], row["reference"]): row for row in scored("reconstruction")[0]}
    assert truth["frechet_video", "heldout"]["value"] == pytest.approx(real["value"])
    assert truth["copy_rate", "control: memorised, rebuilt"]["value"] == 1
    assert truth["motion_copy_rate", "control: memorised motion, other still"]["value"] == 1
    assert truth["authenticity", "control: memorised, rebuilt"]["value"] == 0
    assert by_metric["copy_rate", "control: unseen"]["value"] == 0
    assert others["membership_auc", "train"]["value"] == 1 and truth["membership_auc", ""]["reason"]


def test_generators_are_compared_on_the_same_patients(scored, tmp_path):
    files = []
    for name, change in (
        ("real", None),
        ("lddm", lambda clips: clips),
        ("cinn", noise),
        ("static", lambda clips: clips),
    ):
        files.append(tmp_path / f"{name}.json")
        write_json(files[-1], (scored(name, change) if change else scored(name))[0])
    table = quality_comparisons(files)
    assert list(table.columns) == COMPARED and set(table["against"]) == {"real", "cinn", "static"}
    rows = table.set_index(["metric", "reference", "against"])
    worse = rows.loc[("l1", "same x0", "cinn")]
    assert (
        worse["delta"] < 0
        and worse["ci_high"] < 0
        and worse["verdict"] == "better"
        and worse["p_holm"] >= worse["p_value"]
    )
    equal = rows.loc[("l1", "same x0", "static")]
    assert equal["delta"] == 0 and equal["p_value"] == 1 and equal["verdict"] == "not distinguishable"
    assert rows.loc[("frechet_video", "heldout", "real"), "delta"] == pytest.approx(0)
    assert quality_comparisons(files[:1]).empty


@pytest.mark.parametrize("mirrored", [False, True])  # generators see their clips both ways
def test_a_planted_copy_of_a_training_video_is_named(mirrored, scored, tiny_store):
    store, splits = tiny_store
    stolen = fold_clips(store, splits, 0, "train").iloc[4]

    def steal(clips):
        clips[:] = np.where(np.indices(clips.shape[2:]).sum(axis=0) > 32, 255, 0)  # like no clip
        clips[2] = store.clip_frames(pd.DataFrame([stolen]))[0][..., :: -1 if mirrored else 1]
        return clips

    _, copies = scored("lddm", steal)
    assert len(copies) == 12 and set(copies["features"]) == {"thumbnails"}
    found = copies[copies["copied"]]
    assert found["sample_id"].tolist() == ["s2"] and found["nearest"].tolist() == [stolen["clip_id"]]


def test_a_rerun_takes_its_features_from_the_cache(scored, tmp_path):
    first, _ = scored("lddm", noise)
    made = {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").glob("*.npy")}
    again, _ = scored("real")
    scored("reconstruction", bootstrap=3)
    later = {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").glob("*.npy")}
    assert made.items() <= later.items()  # the real clips' features were not computed again
    assert again


def test_videos_of_other_clips_are_refused(scored):
    with pytest.raises(LddmError, match="not test clips of fold 0"):
        scored("lddm", clip_ids=["video-00@0"] * 12)
