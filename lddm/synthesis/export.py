"""Export of a trained generator for sharing: half precision, with model card, provenance and a baseline."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lddm.data.frames import FrameStore
from lddm.errors import LddmError
from lddm.files import read_json
from lddm.latent.dataset import LatentSet
from lddm.synthesis.bundle import load_bundle, write_bundle
from lddm.synthesis.model_store import is_name, whole_folder
from lddm.synthesis.out_of_distribution import KEY
from lddm.synthesis.train_generator import sources_of, training_stills
from lddm.training.weights import load_weights, save_weights

ROUNDING = 1e-3  # largest relative RMS error of a tensor in half precision
OF_FILE = ("lddm", "generator", "sha256", "sampling")  # keys of bundle.json that `write_bundle` sets


def export_model(
    results: Path,
    name: str,
    out: Path,
    fold: int = 0,
    generator: str = "lddm",
    baselines: tuple[str, ...] = ("motion_transfer",),
    trained_on: str = "",
) -> Path:
    """Write `out`/`name`: the model package of a generator in half precision, with baselines in subfolders.

    Args:
        results: results/<experiment> of a finished run.
        out: parent folder.
        name: name of the model.
        fold: fold of the generator.
        generator, baselines: names of generators; baselines that the run did not train are omitted.
        trained_on: short description of the training data; empty = number of clips and their sources.

    Returns:
        The new folder; an existing one is replaced.

    Raises:
        LddmError: no such run, fold or generator, or an invalid name.
    """
    if not is_name(name):
        raise LddmError(
            f"'{name}' is not a valid model name", "use letters, digits, '-', '_' and '.', e.g. breast-phantom"
        )
    bundles = results / f"fold-{fold}" / "generators"
    if not (bundles / generator / "bundle/bundle.json").is_file():
        raise LddmError(
            f"{bundles}/{generator}/bundle does not exist", "finish the run that trains it first, e.g. `make run`"
        )
    more = _more(results, fold, trained_on)
    with whole_folder(out / name) as made:
        halve(bundles / generator / "bundle", made, more)
        for baseline in baselines:
            if baseline != generator and (bundles / baseline / "bundle/bundle.json").is_file():
                halve(bundles / baseline / "bundle", made / baseline, more)
    return out / name


def _more(results: Path, fold: int, trained_on: str) -> dict[str, Any]:
    """Metadata of the run that an older model package may lack: training stills, data sources and the run itself."""
    store = FrameStore.open(results / "data/frames").at_model_size()
    latents = LatentSet.load(results / f"fold-{fold}/latents.safetensors")
    versions = read_json(results / "provenance.json").get("code") if (results / "provenance.json").is_file() else None
    more: dict[str, Any] = {
        KEY: training_stills(store, latents),
        "trained_on": trained_on or sources_of(store, latents),
    }
    return more | {"provenance": {"results": results.name, "fold": fold, "code": versions}}


def halve(bundle: Path, out: Path, more: dict[str, Any] | None = None) -> None:
    """Copy a model package with float16 instead of float32 weights; loading converts them back.

    Args:
        bundle: model package; it is checked.
        out: folder to write.
        more: further keys of bundle.json.
    """
    loaded = load_bundle(bundle)
    about = {key: value for key, value in loaded.about.items() if key not in OF_FILE} | (more or {})
    provenance = about.get("provenance", {}) | {"full_precision_sha256": loaded.about["sha256"]}
    about |= {"precision": "float16", "provenance": provenance | {"lddm": loaded.about["lddm"]}}
    parts = {"autoencoder": loaded.autoencoder.kind, "generator": loaded.generator.kind}
    out.mkdir(parents=True, exist_ok=True)
    temporary = {}
    for part, kind in parts.items():
        state, described = load_weights(bundle / f"{part}.safetensors", kind)
        temporary[part] = out / f"{part}.half.safetensors"
        save_weights(temporary[part], {key: half(value) for key, value in state.items()}, kind, **described)
    write_bundle(out, loaded.about["generator"], temporary["generator"], temporary["autoencoder"], about)
    for path in temporary.values():
        path.unlink()


def half(values: Tensor) -> Tensor:
    """Convert a float32 tensor to float16; unchanged if float16 overflows or its error exceeds `ROUNDING`."""
    if values.dtype != torch.float32 or not values.numel():
        return values
    rounded = values.half()
    error, size = (rounded.float() - values).square().mean().sqrt(), values.square().mean().sqrt()
    return rounded if bool(torch.isfinite(rounded).all()) and float(error) <= ROUNDING * float(size) else values
