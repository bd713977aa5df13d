"""Between the typed settings and the text that people and rules handle.

`load` turns a config (a dict, from YAML) into `Settings` and names every mistake at once. `stage_json` and
`parse_stage` carry one stage's sections to a job and back. `default_yaml` and `json_schema` generate
config/config.yaml and workflow/schemas/config.schema.yaml; `write` puts them in place (`lddm settings --write`).
"""

from __future__ import annotations

import hashlib
import json
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from lddm.errors import LddmError
from lddm.files import atomic_path
from lddm.settings import Settings
from lddm.settings.base import Section
from lddm.settings.mistakes import explain
from lddm.settings.sizes import check_sizes

CONFIG_PATH = Path("config/config.yaml")
SCHEMA_PATH = Path("workflow/schemas/config.schema.yaml")
COMMENT_WIDTH = 118
# What a regime adds to the real videos of the training set; None = nothing synthetic.
REGIME_GENERATOR: dict[str, str | None] = {
    "real": None,
    "real+aug": None,
    "real+guessed": None,
    "real+static": "static",
    "real+motion_transfer": "motion_transfer",
    "real+cinn": "cinn",
    "real+lddm": "lddm",
    "lddm_only": "lddm",
}


def load(raw: Mapping[str, Any]) -> Settings:
    """Validate a whole config.

    Args:
        raw: sections by name, as YAML gives them; absent keys take their defaults.
    Raises:
        LddmError: with one line for each mistake (key path, expected, got, nearest known key) and a hint.
    """
    settings = _validate(Settings, raw)
    _check_guess(settings)
    _check_synthesis(settings)
    _check_sampler(settings)
    check_sizes(settings)
    return settings


def section_type(name: str) -> type[Section]:
    """The class of a section."""
    found = {key: field.annotation for key, field in Settings.model_fields.items()}[name]
    assert isinstance(found, type) and issubclass(found, Section)
    return found


def stage_json(settings: Settings, *sections: str) -> str:
    """JSON of the seed and of the named sections only: a rule that carries it reruns on their change, on no other."""
    stage = {"seed": settings.seed} | {name: getattr(settings, name).model_dump(mode="json") for name in sections}
    return json.dumps(stage, separators=(",", ":"))


def parse_stage(text: str, *sections: type[Section]) -> tuple[Any, ...]:
    """Read what `stage_json` wrote: (seed, section, ...) in the order of the classes.

    Raises:
        LddmError: `text` is not JSON, lacks a section, holds another one, or a value is wrong.
    """
    try:
        raw = json.loads(text)
    except ValueError as error:
        raise LddmError(f"--settings is not JSON: {error}", 'pass {"seed": 0, "<section>": {...}}') from None
    names = {field.annotation: name for name, field in Settings.model_fields.items()}
    wanted = [names[section] for section in sections]
    if not isinstance(raw, dict) or set(raw) != {"seed", *wanted}:
        got = ", ".join(raw) if isinstance(raw, dict) else type(raw).__name__
        raise LddmError(f"--settings: expected the keys {', '.join(['seed', *wanted])}; got {got}", "see lddm --help")
    settings = _validate(Settings, raw)
    return (settings.seed, *(getattr(settings, name) for name in wanted))


def identity(settings: Settings) -> str:
    """Twelve hexadecimal digits that name a pipeline: all settings but where files lie and how runs are tracked."""
    return hashlib.sha256(whole_json(settings).encode()).hexdigest()[:12]


def whole_json(settings: Settings) -> str:
    """All settings but where files lie and how runs are tracked."""
    content = settings.model_dump(mode="json", exclude={"data_root", "weights_dir", "tracking"})
    return json.dumps(content, sort_keys=True)


def sweep_points(settings: Settings) -> list[str]:
    """Names of the points of the sweep, e.g. videos-16_share-0.5: each number alone, the other as in the ablation."""
    usual, sweep = settings.classification, settings.sweep
    points = [(videos, usual.synthetic_share) for videos in sweep.real_videos]
    points += [(usual.real_videos or 0, share) for share in sweep.synthetic_share]
    return list(dict.fromkeys(f"videos-{videos}_share-{share:g}" for videos, share in points))


def at_point(settings: Settings, point: str) -> Settings:
    """The settings with the amounts of one point; videos-0 stands for all videos."""
    videos, share = (part.split("-", 1)[1] for part in point.split("_"))
    amounts = {"real_videos": int(videos) or None, "synthetic_share": float(share)}
    return settings.model_copy(update={"classification": settings.classification.model_copy(update=amounts)})


def at_cell(settings: Settings, classifier: str, regime: str) -> Settings:
    """The settings that the training of one cell of the ablation depends on; the others have their defaults.

    So a network, a regime or bootstrap resamples that are added to a finished study do not train its cells again.
    """
    whole = settings.classification
    cell = {
        "classifiers": [classifier],
        "regimes": [regime],
        "only": {},
        "training_of": {name: training for name, training in whole.training_of.items() if name == classifier},
        "bootstrap": type(whole).model_fields["bootstrap"].default,
    }
    return settings.model_copy(update={"classification": whole.model_copy(update=cell)})


def check_data_folders(settings: Settings) -> None:
    """Raise LddmError unless the folder of each source (the phantom has none) exists below data_root."""
    folders = {
        source.kind: Path(settings.data_root) / source.folder
        for source in settings.index.sources
        if hasattr(source, "folder")
    }
    missing = [f"  source {kind}: {folder}" for kind, folder in folders.items() if not folder.is_dir()]
    if missing:
        raise LddmError(
            "\n".join([f"raw data not found (data_root is {settings.data_root!r}):", *missing]),
            "put the data there as docs/data.md says, or add --config data_root=FOLDER",
        )


def _validate(model: type[Section], raw: Any) -> Any:
    try:
        return model.model_validate(raw)
    except ValidationError as error:
        raise explain(model, raw, error) from None


def all_regimes(settings: Settings) -> list[str]:
    """The regimes of the ablation and of its sweep."""
    swept = settings.sweep.regimes if sweep_points(settings) else []
    return list(dict.fromkeys([*(regime for _, regime in settings.classification.cells()), *swept]))


def _check_guess(settings: Settings) -> None:
    """Labels are guessed where some are hidden, and a regime of guessed labels needs a guess."""
    guesses = settings.guess.classifier is not None
    if guesses and settings.split.labelled_videos is None:
        raise LddmError(
            "guess.classifier: all videos are labelled", "set split.labelled_videos, or guess.classifier null"
        )
    if "real+guessed" in all_regimes(settings) and not guesses:
        raise LddmError("regime 'real+guessed' needs guessed labels", "set guess.classifier, or drop the regime")


def _check_synthesis(settings: Settings) -> None:
    """The scores need animated held-out videos, each regime the stills animated by its generator."""
    stills = settings.synthesis.samples.get("stills", 0)
    if settings.synthesis.samples.get("heldout", 0) < 1:
        raise LddmError("synthesis.samples.heldout: the scores need at least 1", "set synthesis.samples.heldout to 1")
    for regime in all_regimes(settings):
        generator = REGIME_GENERATOR[regime]
        if generator is not None and (generator not in settings.synthesis.generators or stills == 0):
            raise LddmError(
                f"regime {regime!r} needs stills animated by {generator!r}; synthesis makes none",
                f"add {generator} to synthesis.generators and set synthesis.samples.stills to 1, or drop the regime",
            )


def _check_sampler(settings: Settings) -> None:
    """One step is drawn by a model that was distilled for it."""
    wanted, taught = settings.synthesis, settings.diffusion.distillation
    if wanted.sampler != "distilled" or "lddm" not in wanted.generators:
        return
    if taught is None:
        raise LddmError(
            "synthesis.sampler 'distilled' needs diffusion.distillation, which is null",
            "set synthesis.sampler to unipc, or leave diffusion.distillation out to have its defaults",
        )
    if not taught.teaches(wanted.guidance, wanted.guide_by):
        raise LddmError(
            f"synthesis asks for guidance {wanted.guidance:g} by {wanted.guide_by}, diffusion.distillation teaches 1 to "
            f"{taught.highest_guidance:g} by {taught.guide_by}",
            "change one of the two, or set synthesis.sampler to unipc",
        )


def default_yaml() -> str:
    """config/config.yaml: every key with its default value, its description as the comment above it."""
    head = (
        "# yaml-language-server: $schema=../workflow/schemas/config.schema.yaml\n"
        "# The embedded default: breast ultrasound phantoms, minutes on two CPU cores. Every key, with its default.\n"
        "# Generated from lddm/settings by `lddm settings --write`, so do not edit it: put what differs into a file\n"
        "# of your own (config/README.md) and pass that with --configfile.\n\n"
    )
    return head + "\n".join(_yaml_lines(Settings(), 0, set())) + "\n"


def json_schema() -> str:
    """workflow/schemas/config.schema.yaml: the JSON schema, for editors and the workflow catalogue."""
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **Settings.model_json_schema()}
    head = "# Generated from lddm/settings by `lddm settings --write`; do not edit.\n"
    return head + yaml.safe_dump(schema, sort_keys=False, width=120, allow_unicode=True)


def generated() -> dict[Path, str]:
    """Path below the repository -> what the file there must contain."""
    return {CONFIG_PATH: default_yaml(), SCHEMA_PATH: json_schema()}


def write(root: str | Path = ".") -> list[Path]:
    """Write the generated files below `root`; return those whose content changed."""
    changed = []
    for path, content in generated().items():
        target = Path(root) / path
        if not target.is_file() or target.read_text() != content:
            with atomic_path(target) as temporary:
                temporary.write_text(content)
            changed.append(target)
    return changed


def _yaml_lines(section: Section, indent: int, explained: set[type[Section]]) -> list[str]:
    """YAML of one section; a class that comes again is commented the first time only."""
    pad = " " * indent
    comment = type(section) not in explained
    explained.add(type(section))
    lines: list[str] = []
    for name, field in type(section).model_fields.items():
        value = getattr(section, name)
        if isinstance(value, Section):
            title = (type(value).__doc__ or "").strip().splitlines()[0]
            repeated = type(value) in explained
            lines += [""] if indent == 0 else []
            lines += _comment("as explained at the first of its kind above" if repeated else title, pad)
            lines += [f"{pad}{name}:", *_yaml_lines(value, indent + 2, explained)]
            continue
        lines += _comment(field.description, pad) if comment else []
        if isinstance(value, list) and value and isinstance(value[0], Section):
            lines.append(f"{pad}{name}:")
            for item in value:
                body = _yaml_lines(item, indent + 4, explained)
                lines += [f"{pad}  - {body[0].strip()}", *body[1:]]
        else:
            lines.append(f"{pad}{name}: {_inline(value)}")
    return lines


def _inline(value: Any) -> str:
    """YAML of a plain value on one line."""
    return yaml.safe_dump(value, sort_keys=False, width=10_000, default_flow_style=True).removesuffix("...\n").strip()


def _comment(text: str | None, pad: str) -> list[str]:
    return [f"{pad}# {line}" for line in textwrap.wrap(text or "", COMMENT_WIDTH - len(pad) - 2)]
