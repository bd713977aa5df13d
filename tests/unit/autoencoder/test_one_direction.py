"""Without time reversal only the motion forwards is measured, and nothing asks for the other."""

from lddm.autoencoder.encode import encode_clips
from lddm.autoencoder.measured import measure_store
from lddm.autoencoder.model import Autoencoder
from lddm.latent.dataset import LatentSet
from lddm.settings.models import AutoencoderSettings


def test_clips_are_encoded_in_one_direction(tiny_store, tmp_path):
    store, splits = tiny_store
    settings = AutoencoderSettings(width=4, time_reversal=False)
    Autoencoder(settings, 32, 8).save(tmp_path / "ae.safetensors")
    encode_clips(tmp_path / "ae.safetensors", store, splits, 0, tmp_path / "z", measure_store(settings, store))
    latents = LatentSet.load(tmp_path / "z")
    assert not latents.backward.any() and latents.flipped.sum() == len(latents.flipped) / 2
