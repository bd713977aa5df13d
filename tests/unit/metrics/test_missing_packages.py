"""Without pyiqa (non-commercial licence) or scikit-video, their metrics are absent with the reason."""

import re
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

import lddm
from lddm.data.cache import ArrayCache
from lddm.metrics import paired
from lddm.metrics.features import FeatureNetwork
from lddm.metrics.protocol import Protocol
from lddm.metrics.videos import Videos
from lddm.settings.evaluation import QualitySettings


def videos(seed: int, side: int = 8) -> Videos:
    clips = np.random.default_rng(seed).integers(0, 255, (2, 5, side, side)).astype(np.uint8)
    names = ["c0", "c1"]
    table = pd.DataFrame({"clip_id": names, "patient_id": names, "sample_id": ["s0", "s1"], "label": [0, 1]})
    return Videos(clips, table["patient_id"].to_numpy(), table)


@pytest.fixture
def without_packages(monkeypatch, tmp_path):
    for name in [name for name in sys.modules if name.split(".")[0] in ("pyiqa", "skvideo")] + ["pyiqa", "skvideo"]:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.delitem(sys.modules, "lddm.metrics.scikit_video", raising=False)
    monkeypatch.delattr("lddm.metrics.scikit_video", raising=False)
    torch.save((torch.zeros(3, 1), torch.zeros(3, 36)), tmp_path / "weights.pth")  # weights are not what is missing
    monkeypatch.setattr("lddm.metrics.no_reference.find", lambda name, weights_dir: tmp_path / "weights.pth")
    monkeypatch.setattr("lddm.metrics.protocol.label", lambda name, path: name)


def test_metrics_of_missing_packages_are_absent_with_the_reason(without_packages, tmp_path, monkeypatch):
    monkeypatch.setattr(paired, "ssim", paired.l1)
    monkeypatch.setattr(paired, "strain_error_from", lambda cache: paired.l1)
    monkeypatch.setattr(paired, "perceptual", lambda: paired.l1)
    real, train = videos(0), videos(1)
    network = FeatureNetwork("means", lambda clips: clips.mean(axis=(2, 3)))
    references, section = {"heldout": real, "train": train}, QualitySettings(bootstrap=20, max_videos_expensive=2)
    sets = {"test": real, "train": train}
    of = Protocol(section, 0, "made", sets, references, (network, 1.0), tmp_path, ArrayCache(), 0, "how")
    rows = [*of.no_reference("heldout", videos(2, side=200)), *of.paired("heldout", videos(2))]
    reasons = {row["metric"]: row["reason"] for row in rows if row["value"] is None}
    for metric in ("piqe", "brisque"):
        reason = reasons.pop(metric)
        assert "pyiqa cannot be imported" in reason and "pip install 'lddm[quality]'" in reason
    for metric in ("niqe", "viideo", "strred"):
        assert "scikit-video cannot be imported" in reasons.pop(metric)
    for metric in ("lpips_vgg", "lpips_alex", "tlpips", "dists"):
        assert "not in weights_dir" in reasons.pop(metric)  # of these only the weights are missing
    assert not reasons and {"l1", "ssim", "psnr"} <= {row["metric"] for row in rows}


def test_both_packages_are_imported_by_functions_that_need_them_only():
    at_once = re.compile(r"^(?:import|from) (?:pyiqa|skvideo|lddm\.data\.scikit_video)\b", re.MULTILINE)
    files = Path(lddm.__file__).parent.rglob("*.py")
    assert [path.name for path in files if at_once.search(path.read_text())] == ["scikit_video.py"]
