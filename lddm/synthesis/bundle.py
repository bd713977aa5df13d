"""The model bundle: one folder with all that animates a still, loadable without config and without pickle.

bundle.json              generator, sizes, frame rate, classes, condition, sampling; written last, so that the bundle is whole
autoencoder.safetensors  stage 1
generator.safetensors    stage 2, or a baseline
MODEL_CARD.md            data, intended use, limits
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lddm import version
from lddm.autoencoder.model import Autoencoder
from lddm.data.attribute import Attribute
from lddm.errors import LddmError
from lddm.files import atomic_path, read_json, sha256, write_json
from lddm.generators.registry import find_generator
from lddm.settings.models import SynthesisSettings
from lddm.task import Task

CARD = """# Model card: {generator} ({experiment})

Turns a still ultrasound image into a short video ({frames} frames after the still, {fps:g} Hz, {size} x {size} pixels).

* **Trained on** {trained_on}: fold {fold} of experiment `{experiment}`, seed {seed}; labels: {labels}.
* **Licence of the training data**: {licences}. It may bind the model and its videos.
{condition}* **Intended use**: research on data augmentation and on the evaluation of synthetic ultrasound.
* **Not for** diagnosis, treatment, or any decision about a patient. The motion is invented; it is drawn from what
  the training videos showed and may be wrong for the patient whose still is animated.
* **Limits**: no out-of-plane motion beyond what the training clips hold. Images of another organ, probe or machine are out of
  distribution: `lddm animate` warns where simple statistics of a still differ from those of the training stills.
* Every video it makes is synthetic and marked so.
"""


@dataclass(frozen=True)
class Bundle:
    """A loaded bundle; modules are on the CPU, in eval mode."""

    about: dict
    autoencoder: Autoencoder
    generator: Any


def write_bundle(folder: Path, generator: str, generator_file: Path, autoencoder_file: Path, about: dict) -> None:
    """Assemble a bundle.

    Args:
        folder: where to; an existing bundle there is replaced.
        generator: its name.
        generator_file, autoencoder_file: trained weights.
        about: experiment, fold, seed, size, frames, fps, classes, clips, licences, settings of the generator, condition
            (where it is a measured attribute), and what else is to be kept (JSON).
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "bundle.json").unlink(missing_ok=True)
    parts = {"autoencoder.safetensors": autoencoder_file, "generator.safetensors": generator_file}
    for name, source in parts.items():
        with atomic_path(folder / name) as temporary:
            shutil.copyfile(source, temporary)
    with atomic_path(folder / "MODEL_CARD.md") as temporary:
        lists = {"licences": ", ".join(about["licences"]) or "not stated", "labels": Task.of_meta(about).said()}
        lists["trained_on"] = about.get("trained_on") or f"{about['clips']} clips"
        lists["condition"] = f"* **Condition**: {_condition(about['condition'])}\n" if "condition" in about else ""
        temporary.write_text(CARD.format(generator=generator, **about | lists))
    hashes = {name: sha256(folder / name) for name in parts}
    head = {"lddm": version.__version__, "generator": generator, "sha256": hashes}
    sampling = {"sampling": sampling_defaults(about.get("settings") or {})}
    write_json(folder / "bundle.json", head | sampling | about)


def _condition(meta: dict[str, Any]) -> str:
    """What a model is conditioned on instead of a label, for its card."""
    attribute = Attribute.of_meta(meta)
    said = f"{attribute.name} ({attribute.said()})"
    if attribute.prior.exact:
        return f"{said}; a label asks for its own value."
    return f"{said}; for a label a value is drawn from p(attribute | label), estimated from {len(attribute.prior.values)} clips."


def sampling_defaults(settings: dict[str, Any]) -> dict[str, Any]:
    """How a generator samples unless told otherwise: fields of `SamplingOptions`.

    A distilled model takes one step. Guidance is that of the default synthesis, within what the student was taught.

    Args:
        settings: the generator's own section as JSON, e.g. `diffusion`; empty for generators without one.
    """
    usual, taught = SynthesisSettings(), settings.get("distillation")
    options: dict[str, Any] = {"sampler": "unipc"} | {
        name: getattr(usual, name) for name in ("num_inference_steps", "guidance_scale", "guidance_target")
    }
    if taught:
        guidance_scale = min(usual.guidance_scale, taught["max_guidance_scale"])
        options |= {
            "sampler": "distilled",
            "guidance_scale": guidance_scale,
            "guidance_target": taught["guidance_target"],
        }
    return options


def load_bundle(folder: str | Path) -> Bundle:
    """Load a bundle.

    Raises:
        LddmError: not a bundle, an unknown generator, or a part that is missing or damaged.
    """
    folder = Path(folder)
    if not (folder / "bundle.json").is_file():
        raise LddmError(
            f"{folder} is not a model bundle (no bundle.json)", "pass a folder made by `lddm train-generator`"
        )
    about = read_json(folder / "bundle.json")
    entry = find_generator(about.get("generator"), f"{folder}: ")
    for part, expected in about["sha256"].items():
        path = folder / Path(part).name
        if not path.is_file() or sha256(path) != expected:
            raise LddmError(f"{path} is missing or not what bundle.json says", "copy the bundle again, or train again")
    generator = entry.model.load(folder / "generator.safetensors").eval()
    return Bundle(about, Autoencoder.load(folder / "autoencoder.safetensors"), generator)
