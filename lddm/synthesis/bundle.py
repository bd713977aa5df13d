"""Model package: a folder with all files needed to animate a still, loaded without configuration and without pickle.

bundle.json              generator, sizes, frame rate, classes, condition, sampling options; written last: marks completeness
autoencoder.safetensors  stage 1
generator.safetensors    stage 2, or a baseline
MODEL_CARD.md            data, intended use, limitations
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
* **Licence of the training data**: {licences}. It may also apply to the model and its videos.
{condition}* **Intended use**: research on data augmentation and on the evaluation of synthetic ultrasound.
* **Not for** diagnosis, treatment, or any decision about a patient. The motion is synthetic: it is sampled from the
  distribution of the training videos and may be wrong for the patient shown.
* **Limitations**: no out-of-plane motion beyond that in the training clips. Images of another organ, probe or machine are out
  of distribution: `lddm animate` warns if simple statistics of a still differ from those of the training stills.
* All generated videos are synthetic and marked as such.
"""


@dataclass(frozen=True)
class Bundle:
    """A loaded model package; modules are on the CPU, in eval mode."""

    about: dict
    autoencoder: Autoencoder
    generator: Any


def write_bundle(folder: Path, generator: str, generator_file: Path, autoencoder_file: Path, about: dict) -> None:
    """Write a model package.

    Args:
        folder: folder to write; an existing model package is replaced.
        generator: name of the generator.
        generator_file, autoencoder_file: trained weights.
        about: experiment, fold, seed, size, frames, fps, classes, clips, licences, settings of the generator, condition
            (if it is a measured attribute), and any further JSON values to store.
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
    """Sentence for the model card about a measured attribute as condition."""
    attribute = Attribute.of_meta(meta)
    said = f"{attribute.name} ({attribute.said()})"
    if attribute.prior.exact:
        return f"{said}; a label is used as its own value."
    clips = len(attribute.prior.values)
    return f"{said}; for a given label, a value is sampled from p(attribute | label), estimated from {clips} clips."


def sampling_defaults(settings: dict[str, Any]) -> dict[str, Any]:
    """Default sampling options of a generator: fields of `SamplingOptions`.

    A distilled model takes one step. The guidance scale is the default of synthesis, limited to the range of the student.

    Args:
        settings: settings section of the generator as JSON, e.g. `diffusion`; empty for generators without one.
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
    """Load a model package.

    Raises:
        LddmError: not a model package, unknown generator, or a missing or damaged file.
    """
    folder = Path(folder)
    if not (folder / "bundle.json").is_file():
        raise LddmError(
            f"{folder} is not a model package (no bundle.json)", "pass a folder made by `lddm train-generator`"
        )
    about = read_json(folder / "bundle.json")
    entry = find_generator(about.get("generator"), f"{folder}: ")
    for part, expected in about["sha256"].items():
        path = folder / Path(part).name
        if not path.is_file() or sha256(path) != expected:
            raise LddmError(
                f"{path} is missing or does not match bundle.json", "copy the model package again, or train again"
            )
    generator = entry.model.load(folder / "generator.safetensors").eval()
    return Bundle(about, Autoencoder.load(folder / "autoencoder.safetensors"), generator)
