"""Display names of generators and regimes."""

from __future__ import annotations

LABELS = {
    "reconstruction": "autoencoder alone",
    "lddm": "LDDM (ours)",
    "cinn": "cINN",
    "gaussian": "conditional Gaussian",
    "motion_transfer": "motion transfer",
    "pixel": "pixel diffusion",
    "static": "x0 repeated",
    "real+aug": "real + augmentation",
    "real+pseudo": "real + pseudo-labels",
    "real+static": "real + repeated stills",
    "real+motion_transfer": "real + motion transfer",
    "real+gaussian": "real + conditional Gaussian",
    "real+cinn": "real + cINN",
    "real+pixel": "real + pixel diffusion",
    "real+lddm": "real + LDDM",
    "lddm_only": "LDDM only",
}


def label(name: str) -> str:
    """Display name of a generator or regime."""
    return LABELS.get(name, name)
