"""Conversion between typed settings and config files.

`load` turns a config (a dict, from YAML) into `Settings` and reports all mistakes at once. `default_yaml` and
`json_schema` generate config/config.yaml and workflow/schemas/config.schema.yaml; `write` saves them
(`lddm settings --write`). `lddm.settings.stages` writes and reads the sections of one stage.
"""

from __future__ import annotations

import hashlib
import json
import re
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from lddm.errors import LddmError
from lddm.files import atomic_path, sha256
from lddm.settings import Settings
from lddm.settings.base import Section
from lddm.settings.checks import check_condition, check_embedder, check_sampler
from lddm.settings.data import FolderSource
from lddm.settings.evaluation import ClassificationSettings
from lddm.settings.mistakes import validated
from lddm.settings.sizes import check_sizes
from lddm.settings.stages import parse_stage, stage_json, whole  # noqa: F401 (public here too)

CONFIG_PATH = Path("config/config.yaml")
SCHEMA_PATH = Path("workflow/schemas/config.schema.yaml")
COMMENT_WIDTH = 118
# Regime -> generator of its synthetic videos; None = no synthetic videos.
REGIME_GENERATOR: dict[str, str | None] = {
    "real": None,
    "real+aug": None,
    "real+pseudo": None,
    "real+static": "static",
    "real+motion_transfer": "motion_transfer",
    "real+gaussian": "gaussian",
    "real+cinn": "cinn",
    "real+pixel": "pixel",
    "real+lddm": "lddm",
    "lddm_only": "lddm",
}


def load(raw: Mapping[str, Any]) -> Settings:
    """Validate a whole config.

    Args:
        raw: sections by name, as parsed from YAML; absent keys take their defaults.
    Raises:
        LddmError: one line per mistake (key path, expected, got, nearest known key) and a hint.
    """
    settings = validated(Settings, raw)
    _check_pseudo_labels(settings)
    _check_synthesis(settings)
    check_sampler(settings)
    check_embedder(settings)
    check_condition(settings)
    check_sizes(settings)
    return settings


def section_type(name: str) -> type[Section]:
    """The class of a section."""
    found = {key: field.annotation for key, field in Settings.model_fields.items()}[name]
    assert isinstance(found, type) and issubclass(found, Section)
    return found


def identity(settings: Settings) -> str:
    """Identifier of a pipeline: twelve hexadecimal digits of all settings except file locations and tracking."""
    return hashlib.sha256(json.dumps(whole(settings), sort_keys=True).encode()).hexdigest()[:12]


def sweep_points(settings: Settings) -> list[str]:
    """Names of the sweep points, e.g. videos-16_share-0.5: one value varies, the other is that of the ablation."""
    usual, sweep = settings.classification, settings.sweep
    points = [(videos, usual.synthetic_share) for videos in sweep.real_videos]
    points += [(usual.real_videos or 0, share) for share in sweep.synthetic_share]
    return list(dict.fromkeys(f"videos-{videos}_share-{share:g}" for videos, share in points))


def at_point(usual: ClassificationSettings, point: str) -> ClassificationSettings:
    """Settings of the ablation at one sweep point; videos-0 means all videos.

    Raises:
        LddmError: `point` is not the name of a point.
    """
    found = re.fullmatch(r"videos-(\d+)_share-(0\.\d+)", point)
    if found is None:
        raise LddmError(f"'{point}' is not a point of a sweep", "expected a name such as videos-16_share-0.5")
    amounts = {"real_videos": int(found[1]) or None, "synthetic_share": float(found[2])}
    return usual.model_copy(update=amounts)


def at_classifier(whole: ClassificationSettings, classifier: str) -> ClassificationSettings:
    """The settings on which the trainings of one network depend; the others have their defaults.

    Adding a network, a regime or bootstrap resamples to a finished study therefore retrains no other network.
    """
    fields = type(whole).model_fields
    own = {
        "classifiers": [classifier],
        "training": whole.training_for(classifier),
        "training_overrides": {},
        "regimes_by_classifier": {},
    }
    return whole.model_copy(update=own | {key: fields[key].default for key in ("regimes", "bootstrap")})


def check_data_folders(settings: Settings) -> None:
    """Raise LddmError unless the folder of each source (the phantom has none) exists below data_root."""
    folders = [
        (source.kind, Path(settings.data_root) / source.folder)
        for source in settings.index.sources
        if hasattr(source, "folder")
    ]
    missing = [f"  source {kind}: {folder}" for kind, folder in folders if not folder.is_dir()]
    if missing:
        raise LddmError(
            "\n".join([f"raw data not found (data_root is {settings.data_root!r}):", *missing]),
            "put the data there (docs/data.md describes the layout), or add --config data_root=FOLDER",
        )


def patients_digests(settings: Settings) -> dict[str, str | None]:
    """SHA-256 of each patients or targets CSV named by the sources, by path below data_root; None if the file is missing.

    The index depends on their content, so the workflow compares it; it does not depend on the location of data_root.
    """
    named = [
        f"{source.folder}/{table}"
        for source in settings.index.sources
        if isinstance(source, FolderSource)
        for table in (source.patients, source.targets)
        if table is not None
    ]
    found = {name: Path(settings.data_root) / name for name in named}
    return {name: sha256(path) if path.is_file() else None for name, path in found.items()}


def all_regimes(settings: Settings) -> list[str]:
    """All regimes of the ablation and of its sweep."""
    swept = settings.sweep.regimes if sweep_points(settings) else []
    return list(dict.fromkeys([*(regime for _, regime in settings.classification.cells()), *swept]))


def _check_pseudo_labels(settings: Settings) -> None:
    """Raise LddmError if pseudo-labels have no unlabelled videos, or regime real+pseudo has no pseudo-labels."""
    guesses = settings.pseudo_labels.classifier is not None
    if guesses and settings.split.max_labelled_videos is None:
        raise LddmError(
            "pseudo_labels.classifier is set, but all videos are labelled",
            "set split.max_labelled_videos, or pseudo_labels.classifier null",
        )
    if "real+pseudo" in all_regimes(settings) and not guesses:
        raise LddmError("regime 'real+pseudo' needs pseudo-labels", "set pseudo_labels.classifier, or drop the regime")


def _check_synthesis(settings: Settings) -> None:
    """Raise LddmError unless held-out videos are animated (for the scores), and stills by each regime's generator."""
    stills = settings.synthesis.samples.get("stills", 0)
    if settings.synthesis.samples.get("heldout", 0) < 1:
        raise LddmError("synthesis.samples.heldout: the scores need at least 1", "set synthesis.samples.heldout to 1")
    for regime in all_regimes(settings):
        generator = REGIME_GENERATOR[regime]
        if generator is not None and (generator not in settings.synthesis.generators or stills == 0):
            raise LddmError(
                f"regime {regime!r} needs stills animated by {generator!r}, but synthesis makes none",
                f"add {generator} to synthesis.generators and set synthesis.samples.stills to 1, or drop the regime",
            )


def default_yaml() -> str:
    """Content of config/config.yaml: every key with its default, preceded by its description as a comment."""
    head = (
        "# yaml-language-server: $schema=../workflow/schemas/config.schema.yaml\n"
        "# Default experiment: breast ultrasound phantoms, minutes on two CPU cores. Lists every key with its default.\n"
        "# Generated from lddm/settings by `lddm settings --write`; do not edit. Write the keys that differ into a config\n"
        "# of your own (config/README.md) and pass it with --configfile.\n\n"
    )
    return head + "\n".join(_yaml_lines(Settings(), 0, set())) + "\n"


def json_schema() -> str:
    """Content of workflow/schemas/config.schema.yaml: the JSON schema, for editors and the workflow catalogue."""
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **Settings.model_json_schema()}
    head = "# Generated from lddm/settings by `lddm settings --write`; do not edit.\n"
    return head + yaml.safe_dump(schema, sort_keys=False, width=120, allow_unicode=True)


def generated() -> dict[Path, str]:
    """Path below the repository -> generated content."""
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
    """YAML of one section; keys of a repeated class are described only the first time."""
    pad = " " * indent
    comment = type(section) not in explained
    explained.add(type(section))
    lines: list[str] = []
    for name, field in type(section).model_fields.items():
        value = getattr(section, name)
        if isinstance(value, Section):
            title = next(iter((type(value).__doc__ or "").strip().splitlines()), "")  # none under python -OO
            repeated = type(value) in explained
            lines += [""] if indent == 0 else []
            lines += _comment("see the first section of this kind above" if repeated else title, pad)
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
