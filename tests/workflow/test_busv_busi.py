"""The paper's comparison with networks made small, on a tree in the form of BUSV and on BUSI stills (the real ones if here).

The command is the one that docs/results/paper.md names: the paper's variant, our method on the same data, one table.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
REAL_BUSI = ROOT.parent / "shared/data/busi"
FEW = {
    "steps": 4,
    "batch_size": 4,
    "warmup_steps": 1,
    "log_every": 2,
    "val_every": 2,
    "checkpoint_every": 2,
    "precision": "no",
}
EMBEDDER = {"steps": 4, "batch_size": 4, "dim": 8}
SHARED = {
    "preprocess": {"size": 32, "clip_length": 8, "max_clips": 1},
    "split": {"folds": 3, "folds_to_run": 1, "min_patients": 2},
    "domain_network": {"width": 4, "training": FEW},
    "quality": {"bootstrap": 5, "max_videos": 8, "max_videos_expensive": 1},
    "report": {"strips": 1},
    "tracking": {"enabled": False},
}
SMALL = SHARED | {
    "autoencoder": {
        "width": 4, "decoder_width": 4, "vector_dim": 8, "adversarial_start": 2, "discriminator_width": 4,
        "perceptual_frames": 2, "training": FEW,
    },
    "diffusion": {"width": 16, "depth": 1, "num_train_timesteps": 10, "image_embedder": EMBEDDER, "training": FEW},
    "cinn": {"blocks": 2, "width": 16, "image_embedder": EMBEDDER, "training": FEW},
    "pixel": {"width": 8, "num_inference_steps": 2, "training": FEW},
    "synthesis": {"shards": 2, "samples": {"heldout": 2, "stills": 1}, "num_inference_steps": 10},
    "classification": {
        "classifiers": ["r3d_18"],
        "regimes": ["real", "real+aug", "real+lddm"],
        "seeds": 1,
        "bootstrap": 20,
        "training": FEW,
    },
}  # fmt: skip
SMALL_OURS = SHARED | {
    "autoencoder": {"width": 8, "gain_rank": 1, "training": FEW},
    "diffusion": {"width": 16, "depth": 1, "training": FEW}
    | {"distillation": {"num_pairs": 8, "num_inference_steps": 2, "steps": 4}},
    "synthesis": {"shards": 1, "samples": {"heldout": 2, "stills": 1}},
    "classification": SMALL["classification"] | {"regimes": ["real", "real+lddm"]},
}


def film(seed: int, frames: int = 30) -> np.ndarray:
    rng = np.random.default_rng(seed)
    texture = np.kron(rng.integers(20, 235, (40, 30)), np.ones((3, 3)))[:110, :88]
    steps = np.round(6 * np.sin(np.arange(frames) / 5 + seed)).astype(int) + 8
    return np.stack([texture[s : s + 80] for s in steps]).astype(np.uint8)


def make_busv(folder: Path) -> None:
    for c, name in enumerate(("benign", "malignant")):
        for number in range(8):
            place = folder / "rawframes" / name / f"x{c}{number:015x}"
            place.mkdir(parents=True)
            for t, frame in enumerate(film(100 * c + number)):
                Image.fromarray(frame).save(place / f"{t:06d}.png")


def make_busi(folder: Path) -> None:
    for c, name in enumerate(("benign", "malignant")):
        place = folder / "Dataset_BUSI_with_GT" / name
        place.mkdir(parents=True)
        for number in range(4):
            Image.fromarray(film(500 + 10 * c + number, 1)[0]).save(place / f"{name} ({number + 1}).png")


@pytest.mark.faults
@pytest.mark.timeout(2400)
def test_the_papers_pipeline_on_a_small_tree(tmp_path: Path):
    make_busv(tmp_path / "raw/busv")
    if REAL_BUSI.is_dir():
        (tmp_path / "raw/busi").symlink_to(REAL_BUSI)
    else:
        make_busi(tmp_path / "raw/busi")
    for name, content in (("small", SMALL), ("small_ours", SMALL_OURS)):
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(content))
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = os.environ | {"PATH": path, "LDDM_OFFLINE": "1", "LDDM_TRACKING": "off", "OMP_NUM_THREADS": "1"}
    environment["PYTHONPATH"] = str(ROOT)
    paper = ROOT / "config/paper"
    command = [sys.executable, "-m", "benchmarks.paper", "--trainings", "2", "--data-root", "raw", "--cores", "2"]
    command += ["--config", str(paper / "busv_busi.yaml"), "--config", "small.yaml"]
    command += ["--ours", str(paper / "ours_busv_busi.yaml"), "--ours", "small_ours.yaml"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-6000:]

    results = tmp_path / "results/busv_busi"
    videos = pd.read_parquet(results / "data/frames/videos.parquet")
    usable = videos[videos["excluded"].isna()]
    assert (usable[usable["kind"] == "video"]["source"] == "busv").sum() == 16
    stills = usable[usable["kind"] == "image"]
    assert set(stills["source"]) == {"busi"} and len(stills) >= (200 if REAL_BUSI.is_dir() else 8)
    shards = sorted((results / "fold-0/synthetic/lddm/stills").glob("shard-*.parquet"))
    animated = pd.concat([pd.read_parquet(shard) for shard in shards])
    assert len(shards) == 2 and set(animated["x0_id"]) == set(stills["id"])
    table = pd.read_csv(results / "tables/classification.csv")
    assert set(table["regime"]) == {"real", "real+aug", "real+lddm"} and set(table["classifier"]) == {"r3d_18"}
    scores = pd.read_csv(results / "study/quality.csv")
    known = scores[scores["value"].notna()]
    assert {"LDDM (paper variant)", "LDDM (ours)", "cINN (published)", "pixel diffusion"} <= set(known["method"])
    assert known.loc[known["method"] == "LDDM (paper variant)", "trainings"].max() == 2
    assert scores.loc[scores["metric"] == "dt_fvd", "reason"].notna().all()
    assert (results / "study/table.md").read_text().count("| cINN (published) |") >= 1
    unit = results / "study/trainings/fold-0/lddm-1.json"
    made = unit.stat().st_mtime_ns
    again = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert again.returncode == 0 and unit.stat().st_mtime_ns == made, again.stderr[-3000:]
    assert (results / "report.html").is_file() and json.loads((results / "summary.json").read_text())["headline"]
