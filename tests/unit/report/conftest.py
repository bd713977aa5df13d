"""A results folder in miniature."""

import json

import pandas as pd
import pytest
import yaml

from lddm.data.synthetic import save_synthetic
from lddm.files import sha256, write_json, write_table
from lddm.report.memorisation import memorisation_table
from lddm.report.tables import quality_table
from lddm.settings.build import load
from lddm.settings.stages import whole
from tests.unit.report.made_up import (
    ablation_table,
    comparison_table,
    memory_rows,
    quality_rows,
    sweep_table,
    transfer_table,
)


@pytest.fixture
def settings():
    """The settings of `results`."""
    return load(
        {
            "experiment": "exp",
            "synthesis": {"generators": ["lddm", "static"], "samples": {"heldout": 1, "stills": 1}},
            "classification": {"classifiers": ["strain"], "regimes": ["real", "real+static", "real+lddm"], "seeds": 2},
            "report": {"strips": 2, "title": "A <title> & more"},
        }
    )


@pytest.fixture
def results(tiny_experiment, tiny_store, settings, tmp_path):
    """A results folder in miniature."""
    store, _ = tiny_store
    root = tmp_path / "results/exp"
    (root / "data").mkdir(parents=True)
    (root / "settings").mkdir()
    (root / "settings/whole.yaml").write_text(yaml.safe_dump(whole(settings)))
    (root / "data/frames").symlink_to(tiny_experiment / "frames")
    (root / "data/splits.parquet").symlink_to(tiny_experiment / "splits.parquet")
    test = store.clips[store.clips["id"] >= "video-15"]
    for generator in ("lddm", "static", "reconstruction"):
        manifest = pd.DataFrame(
            {
                "sample_id": test["id"], "generator": generator, "source": "heldout", "x0_id": test["id"],
                "clip_id": test["clip_id"], "label": test["label"], "patient_id": test["patient_id"], "cluster": None,
                "class_name": "", "sample": 0, "seed": 0,
            }
        )  # fmt: skip
        save_synthetic(root / f"fold-0/synthetic/{generator}/heldout/shard-0.npy", store.clip_frames(test), manifest)
    scores = {"real": (0, 1.0), "lddm": (0.08, 4.0), "static": (0.1, 60.0), "reconstruction": (0.02, 2.0)}
    files = []
    for generator, values in scores.items():
        files.append(root / f"fold-0/quality/{generator}.json")
        write_json(files[-1], quality_rows(generator, *values) + memory_rows(generator))
    write_table(quality_table(files), root / "tables/quality.csv")
    write_table(memorisation_table(files), root / "tables/memorisation.csv")
    write_table(ablation_table(), root / "tables/classification.csv")
    write_table(comparison_table(), root / "tables/comparisons.csv")
    write_table(transfer_table(), root / "tables/transfer.csv")
    write_table(sweep_table(), root / "tables/sweep.csv")
    write_table(comparison_table().assign(real_videos=32, synthetic_share=0.5), root / "tables/sweep_comparisons.csv")
    for regime, added in (("real", 0), ("real+static", 2), ("real+lddm", 2)):
        for seed in range(2):
            run = {"regime": regime, "n_real_videos": 12, "n_added": added, "steps": 5}
            write_json(root / f"fold-0/classification/strain/{regime}/seed-{seed}.json", run)
    record = root / "records/train_generator/fold-0_generator-lddm/20260101T000000-aa"
    made = root / "fold-0/quality/lddm.json"
    about = {
        "status": "FINISHED", "pipeline": "abc123", "experiment": "exp",
        "rule": "train_generator", "wildcards": {"fold": "0"}, "attempt": 1,
        "started": "2026-01-01T00:00:00", "duration_s": 2.0, "settings": {"diffusion": {"width": 64, "steps": [1, 2]}},
        "host": {"lddm": "0.1.0"},
        "code": {"lddm": "0.1.0", "commit": "0123456789abcdef", "changed": False, "sha256": "fedcba987654"},
        "outputs": [
            {"path": str(made.relative_to(tmp_path)), "name": str(made.relative_to(root)), "sha256": sha256(made),
             "size": made.stat().st_size}
        ],
    }  # fmt: skip
    write_json(record / "record.json", about)
    lines = [{"step": s, "time": 0, "values": {"lddm/loss": 1 / s, "val/loss": 1.1 / s}} for s in (1, 2, 3)]
    (record / "metrics.jsonl").write_text("\n".join(map(json.dumps, lines)))
    return root
