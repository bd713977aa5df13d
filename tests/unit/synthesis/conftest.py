"""Model packages of all generators, trained for two steps."""

import pytest

from lddm.autoencoder.encode import encode_clips
from lddm.autoencoder.model import Autoencoder
from lddm.settings.models import (
    AutoencoderSettings,
    CinnSettings,
    DiffusionSettings,
    DistillationSettings,
    GaussianSettings,
    PixelSettings,
    Training,
)
from lddm.synthesis.train_generator import train_generator

QUICK = Training(steps=2, batch_size=4, log_every=1, val_every=2, checkpoint_every=2)
ONE_STEP = DistillationSettings(num_pairs=8, num_inference_steps=2, steps=2)
SETTINGS = {
    "lddm": DiffusionSettings(width=16, depth=1, training=QUICK, distillation=ONE_STEP),
    "cinn": CinnSettings(blocks=2, width=16, training=QUICK),
    "gaussian": GaussianSettings(grid=4),
    "pixel": PixelSettings(width=8, training=QUICK),
}


@pytest.fixture(scope="session")
def bundles(tiny_store, motion_of, tmp_path_factory):
    """Folder of bundles of all generators."""
    folder = tmp_path_factory.mktemp("bundles")
    store, splits = tiny_store
    settings = AutoencoderSettings(width=4)
    Autoencoder(settings, 32, 8).save(folder / "ae.safetensors")
    motion_of(settings).save(folder / "motion.safetensors")
    encode_clips(folder / "ae.safetensors", store, splits, 0, folder / "z.safetensors", motion_of(settings))
    for name in ("lddm", "cinn", "gaussian", "static", "motion_transfer", "pixel"):
        train_generator(
            name, SETTINGS.get(name), folder / "ae.safetensors", folder / "z.safetensors", store, 0, 0,
            folder / "state", folder / name, lambda *_: None,
        )  # fmt: skip
    return folder
