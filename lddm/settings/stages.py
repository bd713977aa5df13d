"""Settings files of jobs: one small YAML file per stage, results/<experiment>/settings/<stage>.yaml.

`stage_text` writes the file of a stage, and `parse_stage` reads the sections that a command needs. whole.yaml contains all
settings; every command accepts it, and also a user's own config.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from lddm.errors import LddmError
from lddm.settings import Settings
from lddm.settings.base import Section
from lddm.settings.mistakes import validated

# Locations and tracking: no result depends on them.
ELSEWHERE = {"data_root", "weights_dir", "tracking"}
# File -> its sections, in addition to the seed.
STAGES: dict[str, tuple[str, ...]] = {
    "seed": (),
    "index": ("index",),
    "preprocess": ("index", "preprocess"),
    "split": ("split",),
    "pseudo_labels": ("pseudo_labels",),
    "condition": ("condition",),
    "motion": ("autoencoder",),
    "autoencoder": ("autoencoder",),
    "diffusion": ("diffusion",),
    "cinn": ("cinn",),
    "gaussian": ("gaussian",),
    "pixel": ("pixel",),
    "synthesis": ("synthesis",),
    "domain_network": ("domain_network",),
    "quality": ("quality",),
    "classification": ("classification",),
    "tables": ("split", "synthesis", "classification", "sweep"),
}
# File -> the keys that it contains of its section; its commands do not depend on the others.
KEYS: dict[str, tuple[str, ...]] = {
    "motion": ("decoder", "latent", "motion_rank", "map_size", "flow_passes", "time_reversal"),
}
WHOLE = "whole"
HEAD = "# Written by the rule `settings`. Edit the config instead: a changed copy of this file is refused.\n"


def whole(settings: Settings) -> dict[str, Any]:
    """All settings except file locations and tracking."""
    return settings.model_dump(mode="json", exclude=ELSEWHERE)


def stage(settings: Settings, *sections: str) -> dict[str, Any]:
    """The seed and the named sections only."""
    return {"seed": settings.seed} | {name: getattr(settings, name).model_dump(mode="json") for name in sections}


def stage_json(settings: Settings, *sections: str) -> str:
    """`stage` as one line of JSON, which commands also accept."""
    return json.dumps(stage(settings, *sections), separators=(",", ":"))


def stage_text(settings: Settings, name: str) -> str:
    """Content of <name>.yaml, ASCII only in any locale.

    Args:
        name: a key of `STAGES`, or "whole".
    """
    value = whole(settings) if name == WHOLE else stage(settings, *STAGES[name])
    if name in KEYS:
        (section,) = STAGES[name]
        value = {
            "seed": 0,
            section: {key: value[section][key] for key in KEYS[name]},
        }  # measuring uses no random numbers
    return HEAD + yaml.safe_dump(value, sort_keys=False, width=120)


def digest(text: str) -> str:
    """Digest of a settings file's content: twelve hexadecimal digits."""
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def parse_stage(given: str, *sections: type[Section]) -> tuple[Any, ...]:
    """Read the settings of one command.

    Args:
        given: path of a YAML file of this stage or of a whole config (it has the key `experiment`), or JSON text.
        sections: classes of the sections that the command needs.

    Returns:
        (seed, section, ...) in the order of the classes. Keys omitted by a whole config take their defaults.

    Raises:
        LddmError: the file cannot be read, differs from what this run of Snakemake planned, lacks a section or contains one
            of another stage, or a value is invalid.
    """
    names = {field.annotation: name for name, field in Settings.model_fields.items()}
    wanted = [names[section] for section in sections]
    settings = parse(given, wanted)
    return (settings.seed, *(getattr(settings, name) for name in wanted))


def parse(given: str, sections: Sequence[str] | None = None) -> Settings:
    """As `parse_stage`, but by section name; returns all settings, with defaults for sections that are not in the file.

    If `sections` is None, a whole config is expected.
    """
    raw = _read(given)
    if "experiment" not in raw and (sections is None or set(raw) != {"seed", *sections}):
        expected = ", ".join(["experiment", "seed", "..."] if sections is None else ["seed", *sections])
        raise LddmError(
            f"--settings: expected the keys {expected}; got {', '.join(map(str, raw)) or 'none'}",
            "pass results/<experiment>/settings/<stage>.yaml, or a whole config with the key experiment",
        )
    return validated(Settings, raw)


def _read(given: str) -> dict[Any, Any]:
    if given.lstrip().startswith("{"):
        try:
            return json.loads(given)
        except ValueError as error:
            raise LddmError(
                f"--settings is not JSON: {error}", 'pass a file, or {"seed": 0, "<section>": {...}}'
            ) from None
    try:
        text = Path(given).read_text(encoding="utf-8")
        raw = yaml.safe_load(text)
    except OSError as error:
        hint = "pass results/<experiment>/settings/<stage>.yaml, or a whole config"
        raise LddmError(f"--settings {given}: {error.strerror}", hint) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise LddmError(
            f"--settings {given} is not valid YAML: {error}", "correct the file, or remove it and run again"
        ) from None
    planned = os.environ.get("LDDM_SETTINGS")  # set by the rules of the workflow
    if planned and digest(text) != planned:
        raise LddmError(
            f"--settings {given} differs from what this run planned: it was edited, or written for another config",
            f"remove the folder {Path(given).parent} and run Snakemake again",
        )
    if not isinstance(raw, dict):
        raise LddmError(
            f"--settings {given}: expected keys with values, got {type(raw).__name__}", "pass a YAML file of settings"
        )
    return raw
