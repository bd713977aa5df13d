"""Models by name: the shipped model, exports in half precision, and imported models."""

import json
import shutil
import subprocess
import sys
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from scipy.ndimage import gaussian_filter
from typer.testing import CliRunner

from lddm.cli import app
from lddm.errors import LddmError
from lddm.synthesis.animate import Animator
from lddm.synthesis.bundle import load_bundle
from lddm.synthesis.export import export_model, half
from lddm.synthesis.model_store import (
    DEFAULT,
    baselines_of,
    checksums,
    find_model,
    import_model,
    megabytes,
    model_folders,
    packaged_models,
)
from lddm.synthesis.out_of_distribution import KEY


@pytest.fixture
def results(tiny_experiment, bundles, tmp_path):
    """A finished run: its frames, latents and bundles where the workflow puts them."""
    folder = tmp_path / "results/tiny"
    (folder / "fold-0/generators").mkdir(parents=True)
    (folder / "data").mkdir()
    (folder / "data/frames").symlink_to(tiny_experiment / "frames")
    shutil.copy(bundles / "z.safetensors", folder / "fold-0/latents.safetensors")
    for name in ("lddm", "motion_transfer", "cinn"):
        shutil.copytree(bundles / name, folder / "fold-0/generators" / name / "bundle")
    return folder


@pytest.fixture
def own_models(monkeypatch, tmp_path):
    monkeypatch.setenv("LDDM_MODELS", str(tmp_path / "own"))
    return tmp_path / "own"


def image(shape=(50, 70)) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, shape, dtype=np.uint8)


def texture() -> np.ndarray:
    """A still without steps from black to white between neighbours, which would enlarge any difference of motion."""
    return gaussian_filter(np.random.default_rng(0).uniform(0, 255, (50, 70)), 1.5).astype(np.uint8)


@pytest.mark.parametrize("generator", ["lddm", "motion_transfer", "cinn"])
def test_half_precision_changes_videos_by_a_grey_level(results, tmp_path, generator):
    folder = export_model(results, "small", tmp_path / "out", generator=generator)
    full, small = (Animator.load(path) for path in (results / f"fold-0/generators/{generator}/bundle", folder))
    one, other = (animator.animate(texture(), 2, 3, length=9) for animator in (full, small))
    difference = np.abs(one.astype(int) - other)
    assert difference.max() <= 2 and difference.mean() < 0.05 and not np.array_equal(one[0], one[1])
    assert small.sampling() == full.sampling() and small.about["precision"] == "float16"
    types = {value.dtype for value in load_file(folder / "autoencoder.safetensors").values()}
    assert torch.float16 in types
    assert (folder / "generator.safetensors").stat().st_size < 0.62 * (
        results / f"fold-0/generators/{generator}/bundle/generator.safetensors"
    ).stat().st_size


def test_an_export_has_provenance_and_a_baseline(results, tmp_path):
    command = ["models", "export", str(results), "--name", "tiny-1", "--out", str(tmp_path / "out")]
    done = CliRunner().invoke(app, [*command, "--trained-on", "moving blobs"])
    assert done.exit_code == 0, done.output
    folder = tmp_path / "out/tiny-1"
    about = load_bundle(folder).about
    before = json.loads((results / "fold-0/generators/lddm/bundle/bundle.json").read_text())
    assert about["trained_on"] == "moving blobs" and about["provenance"]["results"] == "tiny"
    assert about["provenance"]["full_precision_sha256"] == before["sha256"] != about["sha256"]
    assert about[KEY]["train"] == 12 and about[KEY]["validation"] == 3
    assert "moving blobs" in (folder / "MODEL_CARD.md").read_text()
    (baseline,) = baselines_of(folder)
    assert load_bundle(baseline).about["generator"] == "motion_transfer"
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["tiny-1"]
    assert CliRunner().invoke(app, command).exit_code == 0  # replaced
    assert load_bundle(folder).about["trained_on"] == "12 clips of test"


def test_a_failed_export_keeps_the_existing_model(results, tmp_path, monkeypatch):
    folder = export_model(results, "tiny", tmp_path / "out")
    before = checksums(folder)
    monkeypatch.setattr("lddm.synthesis.export.write_bundle", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        export_model(results, "tiny", tmp_path / "out")
    assert checksums(folder) == before and len(list((tmp_path / "out").iterdir())) == 1
    with pytest.raises(LddmError, match="does not exist"):
        export_model(results, "tiny", tmp_path / "out", fold=1)
    with pytest.raises(LddmError, match="not a name"):
        export_model(results, "../tiny", tmp_path / "out")


def test_values_beyond_float16_stay_float32():
    for values in (torch.tensor([1e5, 1.0]), torch.full((4,), 1e-9), torch.arange(3)):
        assert half(values) is values
    assert half(torch.linspace(-3, 3, 50)).dtype == torch.float16


def test_the_shipped_model_is_small_complete_and_documented():
    folder = packaged_models() / DEFAULT
    assert megabytes(folder) <= 8
    about = load_bundle(folder).about  # checks the SHA-256 of its parts
    assert about["precision"] == "float16" and "simulated breast ultrasound" in about["trained_on"]
    assert about["licences"] == ["CC0-1.0 (simulated)"] and about[KEY]["train"] > 100
    assert about["provenance"]["code"]["commit"] and set(about["provenance"]["full_precision_sha256"]) == set(
        about["sha256"]
    )
    card = (folder / "MODEL_CARD.md").read_text()
    assert "Not for" in card and about["trained_on"] in card
    assert [load_bundle(path).about["generator"] for path in baselines_of(folder)] == ["motion_transfer"]


def test_a_still_is_animated_without_naming_a_model(tmp_path, own_models):
    Image.fromarray(image()).save(tmp_path / "s.png")
    command = [
        sys.executable,
        "-c",
        "from lddm.cli import app; app()",
        "animate",
        "s.png",
        "--out",
        "v.gif",
        "--compare",
    ]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "breast-phantom" in done.stdout and "simulated breast ultrasound" in done.stdout
    assert "sampled 1 video with motion_transfer" in done.stdout  # the baseline that comes with it
    assert "warning: this still is out of distribution" in done.stderr  # it is noise
    with Image.open(tmp_path / "v.gif") as film:
        assert film.size == (70, 50) and film.n_frames == 17


def test_an_imported_model_has_a_name(bundles, own_models, tmp_path):
    assert import_model(bundles / "static", "still-1") == own_models / "still-1"
    assert model_folders()["still-1"] == find_model("still-1") == own_models / "still-1"
    assert find_model(bundles / "lddm") == bundles / "lddm"
    assert {path.name for path in baselines_of(bundles / "static")} == {
        "lddm",
        "cinn",
        "gaussian",
        "motion_transfer",
        "pixel",
    }
    assert not baselines_of(own_models / "still-1")
    listed = CliRunner().invoke(app, ["models", "list"]).output
    assert "still-1" in listed and "imported" in listed and DEFAULT in listed
    shown = CliRunner().invoke(app, ["models", "show", "still-1"]).output
    assert "# Model card: static" in shown and checksums(own_models / "still-1")["bundle.json"] in shown
    with pytest.raises(LddmError, match="already"):
        import_model(bundles / "static", "still-1")
    with pytest.raises(LddmError, match="no model 'nothing'.*\n.*breast-phantom"):
        find_model("nothing")
    with pytest.raises(LddmError, match="is not a name"):
        import_model(bundles / "static", "a/../../b")


def test_an_archive_is_imported_without_foreign_files(bundles, own_models, tmp_path):
    with zipfile.ZipFile(tmp_path / "lung.zip", "w") as archive:
        for path in (bundles / "static").iterdir():
            archive.write(path, f"lung-model/{path.name}")
        archive.writestr("lung-model/../../bundle.json", "{}")
        archive.writestr("lung-model/run.py", "raise SystemExit")
    folder = import_model(tmp_path / "lung.zip")
    assert folder == own_models / "lung" and load_bundle(folder).about["generator"] == "static"
    assert len(list(folder.iterdir())) == 4 and not (tmp_path / "bundle.json").exists()
    (tmp_path / "text.zip").write_text("no archive")
    with pytest.raises(LddmError, match="cannot be unpacked"):
        import_model(tmp_path / "text.zip")
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as archive:
        archive.writestr("a/b.txt", "c")
    with pytest.raises(LddmError, match="contains no bundle.json"):
        import_model(tmp_path / "other.zip")


def test_a_damaged_model_is_not_imported(bundles, own_models, tmp_path):
    shutil.copytree(bundles / "static", tmp_path / "bad")
    (tmp_path / "bad/autoencoder.safetensors").write_bytes(b"nonsense")
    with pytest.raises(LddmError, match="missing or not what"):
        import_model(tmp_path / "bad")
    assert not own_models.exists() or not list(own_models.iterdir())
