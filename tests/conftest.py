"""Shared by all tests: a tiny experiment on disk, and one thread for torch."""

import json
import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")

import numpy as np
import pandas as pd
import pytest

SIZE, LENGTH = 32, 8


def pytest_configure():
    """Drop what a developer has set for their own runs."""
    for name in settings_of_a_developer(os.environ):
        del os.environ[name]


def pytest_collection_modifyitems(items):
    """Begin with whole runs: they take minutes, and the last process would work alone for as long."""
    items.sort(key=lambda item: "workflow" not in item.path.parts)


def settings_of_a_developer(names) -> list[str]:
    """Which environment variables would change what the tests do.

    CUDA_VISIBLE_DEVICES is none of them: it may be all of a shared machine that the tests are allowed to use.
    """
    ours = ("LDDM_", "MLFLOW_")
    return [
        n
        for n in names
        if n == "SNAKEMAKE_PROFILE" or (n.startswith(ours) and n not in ("MLFLOW_DISABLE_TELEMETRY", "LDDM_TEST_DATA"))
    ]


@pytest.fixture(autouse=True)
def same_draws(request, monkeypatch):
    """Tests of a module that share a generator RNG each draw from its start, whichever tests ran before in this process."""
    if hasattr(request.module, "RNG"):
        monkeypatch.setattr(request.module, "RNG", np.random.default_rng(0))


def moving_blob(rng: np.random.Generator, label: int, size: int = SIZE, length: int = LENGTH) -> np.ndarray:
    """A clip uint8 (T + 1, S, S): speckle that shifts up and down, more where the label is 1."""
    texture = np.kron(rng.random((3 * size // 2, size // 2)), np.ones((2, 2)))[: 2 * size + size // 2]
    steps = np.round((1 + 2 * label) * np.sin(np.arange(length + 1) + rng.uniform(0, 6))).astype(int)
    rows = size // 2 + steps[:, None] + np.arange(size)
    return (255 * texture[rows][:, :, :size]).astype(np.uint8)


@pytest.fixture(scope="session")
def tiny_experiment(tmp_path_factory):
    """Folder with frames/ and splits.parquet: 18 videos (12 train, 3 val, 3 test) and 4 stills, two classes."""
    folder = tmp_path_factory.mktemp("experiment")
    frames_dir = folder / "frames"
    frames_dir.mkdir()
    rng = np.random.default_rng(0)
    frames, videos, clips, splits = [], [], [], []
    offset = 0
    for number in range(22):
        label, still = number % 2, number >= 18
        clip = moving_blob(rng, label)[: 1 if still else None]
        name = f"{'still' if still else 'video'}-{number:02d}"
        videos.append(
            {
                "id": name,
                "source": "test",
                "kind": "image" if still else "video",
                "path": name,
                "label": label,
                "class_name": "ab"[label],
                "patient_id": f"p{number}",
                "fps": 10.0,
                "n_frames": len(clip),
                "height": SIZE,
                "width": SIZE,
                "sha256": "0" * 64,
                "licence": "CC0",
                "cluster": None,
                "excluded": None,
                "first_frame": offset,
                "stored_frames": len(clip),
            }
        )
        part = "train" if still or number < 12 else "val" if number < 15 else "test"
        splits.append({"fold": 0, "group": f"p{number}", "split": part, "labelled": True} | videos[-1])
        if not still:
            clips.append(
                {
                    "clip_id": f"{name}@0",
                    "id": name,
                    "first_frame": offset,
                    "label": label,
                    "patient_id": f"p{number}",
                    "cluster": None,
                    "excluded": None,
                }
            )
        frames.append(clip)
        offset += len(clip)
    np.save(frames_dir / "frames.npy", np.concatenate(frames))
    pd.DataFrame(videos).to_parquet(frames_dir / "videos.parquet")
    pd.DataFrame(clips).to_parquet(frames_dir / "clips.parquet")
    meta = {"size": SIZE, "fps": 10.0, "clip_length": LENGTH, "classes": ["a", "b"]}
    (frames_dir / "meta.json").write_text(json.dumps(meta))
    columns = ["fold", "id", "kind", "label", "patient_id", "cluster", "group", "split", "labelled"]
    pd.DataFrame(splits)[columns].to_parquet(folder / "splits.parquet")
    return folder


@pytest.fixture(scope="session")
def tiny_store(tiny_experiment):
    """The store and the splits table of `tiny_experiment`."""
    from lddm.data.frames import FrameStore

    return FrameStore.open(tiny_experiment / "frames"), pd.read_parquet(tiny_experiment / "splits.parquet")


@pytest.fixture(scope="session")
def motion_of(tiny_store):
    """Measured motion of the clips of `tiny_store` for settings of the autoencoder, forwards and backwards."""
    from lddm.autoencoder.measured import measure_store

    known = {}

    def measured(settings):
        key = (settings.motion_rank, settings.map_size, settings.flow_passes)
        if key not in known:
            known[key] = measure_store(settings.model_copy(update={"time_reversal": True}), tiny_store[0])
        return known[key]

    return measured
