"""LDDM: ultrasound image-to-video synthesis by latent dynamic diffusion models.

The packages follow the method. Data flow in this order (a test enforces the order of imports):

    io -> data -> motion -> autoencoder -> latent -> generators -> synthesis -> metrics -> classification -> report

`phantom` simulates the default data, `nn` holds shared network blocks, `training` the training loop, and `attribute` measures
the video attributes that generators can be conditioned on instead of labels.

Conventions:

* a clip is its first frame x0 and the T frames that follow; arrays on disk are uint8 (T + 1, H, W);
* in networks a video is float32 (B, C, T, H, W) in [-1, 1] with C = 1, an image is (B, C, H, W);
* the latent z is float32 (B, D), whatever its structure (`lddm.latent.spec.LatentSpec`);
* motion fields are in pixels of the frame, (axial, lateral) = (downwards, to the right);
* frame rates are in Hz, durations in seconds.
"""

from lddm.version import __version__ as __version__


def __getattr__(name: str):
    # Imported lazily, so that `lddm --help` and light jobs do not import torch.
    if name == "Animator":
        from lddm.synthesis.animate import Animator

        return Animator
    raise AttributeError(f"module 'lddm' has no attribute {name!r}")
