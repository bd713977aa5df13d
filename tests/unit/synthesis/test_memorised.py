"""Controls of memorisation and membership inference on models that were trained for two steps."""

import numpy as np
import pytest
import torch

from lddm.data.frames import fold_clips
from lddm.metrics.membership import membership_auc
from lddm.settings.models import DiffusionSettings
from lddm.synthesis.membership import LEVELS, controls, denoising_losses, membership_attack
from lddm.synthesis.memorised import memorised_clips


def test_memorised_clips_are_training_clips_and_their_motion_on_test_stills(bundles, tiny_store):
    store, splits = tiny_store
    (rebuilt, train), (moved, test) = memorised_clips(
        bundles / "static", store, splits, 0, bundles / "motion.safetensors", 0
    )
    parts = {part: set(fold_clips(store, splits, 0, part)["clip_id"]) for part in ("train", "test")}
    assert set(train["clip_id"]) == parts["train"] and set(test["clip_id"]) <= parts["test"]
    assert rebuilt.shape == moved.shape == (12, 9, 32, 32) and rebuilt.dtype == np.uint8
    assert np.array_equal(rebuilt[:, 0], store.clip_frames(train)[:, 0])
    assert np.array_equal(moved[:, 0], store.clip_frames(test)[:, 0])
    assert (rebuilt[:, 1:] != rebuilt[:, :1]).any() and (moved[:, 1:] != moved[:, :1]).any()
    assert not np.array_equal(moved, rebuilt)


def test_the_attack_reads_as_many_held_out_patients_as_training_patients(bundles, tiny_store):
    store, splits = tiny_store
    attacks = membership_attack(bundles / "lddm", store, splits, 0, bundles / "motion.safetensors", 0)
    assert set(attacks) == {"", "overfitted denoiser", "untrained denoiser"}
    whole = attacks[""]
    assert whole.member.sum() == (~whole.member).sum() == 3 and np.isfinite(whole.loss).all()
    held_out = set(fold_clips(store, splits, 0, "test")["patient_id"])
    assert set(whole.patients[~whole.member]) == held_out and not set(whole.patients[whole.member]) & held_out
    again = membership_attack(bundles / "lddm", store, splits, 0, bundles / "motion.safetensors", 0)
    assert np.array_equal(again[""].loss, whole.loss)


def test_hidden_labels_are_given_to_neither_side(bundles, tiny_store):
    store, splits = tiny_store
    hidden = splits.assign(labelled=splits["labelled"] & (splits["id"] != "video-00"))
    wrong = store.clips.assign(label=1 - store.clips["label"])
    motion = bundles / "motion.safetensors"
    losses = [
        membership_attack(bundles / "lddm", data, hidden, 0, motion, 0)[""].loss
        for data in (store, type(store)(store.frames, store.videos, wrong, store.meta))
    ]
    assert np.array_equal(*losses)


def test_an_overfitted_denoiser_is_found_and_an_untrained_one_is_not():
    z, patients = torch.randn(60, 40, generator=torch.Generator().manual_seed(0)), np.arange(60).astype(str)
    found = {
        name: membership_auc(attack.loss, attack.member, attack.patients, 0)
        for name, attack in controls(z, patients, 0).items()
    }
    assert found["overfitted denoiser"][0] >= 0.9
    assert found["untrained denoiser"][1] < 0.5 < found["untrained denoiser"][2]


def test_noise_levels_are_fixed_and_the_same_for_all_latents():
    asked = []

    def predict(noisy, timestep, rows):
        asked.append((int(timestep[0]), len(noisy)))
        return torch.zeros_like(noisy)

    z = torch.ones(5, 3)
    losses = denoising_losses(predict, z, DiffusionSettings(prediction_type="epsilon"), 0, batch_size=4)
    assert losses == pytest.approx(losses[0])  # the target is the noise, which all share
    assert {level for level, _ in asked} == {int(level * 1000) for level in LEVELS} and {n for _, n in asked} == {4, 1}
