"""Error messages for configs: key path, expected value, given value, nearest known name."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar, get_args

from pydantic import ValidationError
from pydantic.fields import FieldInfo

from lddm.errors import LddmError
from lddm.settings import former
from lddm.settings.base import Section

M = TypeVar("M", bound=Section)


NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")
TEXT_HINT = (
    "Snakemake reads numbers, true, false and null in nested --config as text: put them into a file for --configfile; "
    "YAML also reads 1e-3 as text, write 1.0e-3"
)
SPELLING = 0.75  # minimum similarity (difflib) at which a name is suggested as the correct spelling


def validated(model: type[M], raw: Any) -> M:
    """Validate `raw` as a section.

    Raises:
        LddmError: `raw` is invalid; see `explain`.
    """
    try:
        return model.model_validate(raw)
    except ValidationError as error:
        raise explain(model, raw, error) from None


def explain(model: type[Section], raw: Any, error: ValidationError) -> LddmError:
    """Convert pydantic's error to an LddmError with one line per mistake in `raw`."""
    items = error.errors()
    lines = [f"  {_describe(model, raw, item)}" for item in items]
    hints = ["config/config.yaml describes each key"]
    if any(_is_text_of_something_else(item) for item in items):
        hints.append(TEXT_HINT)
    if any(item["type"] == "string_type" and not isinstance(item["input"], dict | list) for item in items):
        hints.append("quote text that YAML reads as another type: yes, no, on, off, null, numbers and dates")
    count = "1 mistake" if len(lines) == 1 else f"{len(lines)} mistakes"
    return LddmError("\n".join([f"the config has {count}:", *lines]), "; ".join(hints))


def _describe(model: type[Section], raw: Any, item: Any) -> str:
    """One line for one pydantic error: key path, expected value, given value, nearest known name."""
    path, known = _locate(model, raw, item["loc"])
    name = ".".join(str(part) for part in path) or "config"
    got = item["input"]
    if item["type"] == "extra_forbidden":
        if name in former.KEYS:
            return f"{name}: {former.KEYS[name]}"
        where = ".".join(str(part) for part in path[:-1]) or "the top level"
        near = difflib.get_close_matches(str(path[-1]), known, n=1, cutoff=SPELLING)
        suggestion = f"did you mean {near[0]!r}?" if near else f"keys: {', '.join(known)}"
        return f"{name}: not a key of {where}; {suggestion}"
    whole = ".".join(str(part) for part in path if not isinstance(part, int))  # an item of a list counts as the list
    if isinstance(got, str) and got in former.VALUES.get(whole, {}):
        return f"{name}: {got!r} was {former.VALUES[whole][got]}"
    expected = re.sub(r"^(Value error, |Input should be |String should )", "", item["msg"])
    if item["type"] == "value_error":
        return f"{name}: {expected}"
    if item["type"] in ("model_type", "model_attributes_type", "dict_type"):
        expected = "a section (key: value lines)"
    elif item["type"] == "union_tag_not_found":
        expected = "a section with the key 'kind'"
    elif item["type"] == "union_tag_invalid":
        name, got, expected = f"{name}.kind", item["ctx"]["tag"], item["ctx"]["expected_tags"]
    elif item["type"] == "string_pattern_mismatch":
        expected = f"text that matches {item['ctx']['pattern']}"
    elif item["type"] in ("too_short", "too_long") and "actual_length" in item["ctx"]:
        return f"{name}: {_wrong_count(item)}"
    near = difflib.get_close_matches(str(got), re.findall(r"'([^']+)'", expected), n=1, cutoff=SPELLING)
    suggestion = f"; did you mean {near[0]!r}?" if near else ""
    shown = repr(got) if len(repr(got)) <= 60 else f"{repr(got)[:57]}..."
    return f"{name}: expected {expected}, got {shown} ({type(got).__name__}){suggestion}"


def _wrong_count(item: Any) -> str:
    """Message for a list that is too short or too long."""
    short, context = item["type"] == "too_short", item["ctx"]
    limit = context["min_length"] if short else context["max_length"]
    got = context["actual_length"]
    return f"expected at {'least' if short else 'most'} {limit} {'entry' if limit == 1 else 'entries'}, got {got}"


def _locate(model: type[Section], raw: Any, location: Sequence[Any]) -> tuple[list[Any], list[str]]:
    """Follow pydantic's location through the raw config and the models.

    Pydantic includes the tag of a union (`phantom`) and markers such as `[key]` in the location. Neither is a key of the
    user's file, so both are dropped. Returns the path, and the known keys of the section that contains its last part.
    """
    path: list[Any] = []
    here, known = raw, list(model.model_fields)
    current: type[Section] | None = model
    annotation: Any = model
    before: Any = None
    for part in location:
        tagged = isinstance(before, int)  # a union tag follows a list index, and may equal a key's name
        before = part
        if isinstance(part, int) and isinstance(here, list) and part < len(here):
            path, here = [*path, part], here[part]
            current = _choose(annotation, here)
        elif isinstance(here, Mapping) and part in here and not (tagged and part == here.get("kind")):
            known = list(current.model_fields) if current else known
            field = current.model_fields.get(part) if current else None
            annotation = field.annotation if field else None
            path, here = [*path, part], here[part]
            current = _choose(annotation, here)
    return path, known


def _choose(annotation: Any, value: Any) -> type[Section] | None:
    """The section class for `value`; in a union, the class with the same `kind`."""
    found: list[type[Section]] = []
    queue = [annotation]
    while queue:
        part = queue.pop()
        if isinstance(part, type) and issubclass(part, Section):
            found.append(part)
        queue.extend(part.annotation if isinstance(part, FieldInfo) else part for part in get_args(part))
    if len(found) == 1:
        return found[0]
    kind = value.get("kind") if isinstance(value, Mapping) else None
    return next((section for section in found if section.model_fields["kind"].default == kind), None)


def _is_text_of_something_else(item: Any) -> bool:
    """Whether the given value is text that YAML would have read as a number, true, false or null."""
    value = item["input"]
    if not isinstance(value, str) or item["type"] in ("extra_forbidden", "value_error"):
        return False
    return NUMBER.fullmatch(value) is not None or value.lower() in ("true", "false", "null")
