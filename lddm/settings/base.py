"""Base class of all settings sections: closed, frozen, strict."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, model_validator


class Section(BaseModel):
    """A closed section: unknown keys and wrong types are errors, values cannot change later.

    Fields are documented with `Field(description=...)`: the text becomes the comment in the
    generated YAML and the description in the JSON schema.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, validate_default=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _fill_up(cls, given: Any) -> Any:
        """Fill keys omitted by a nested section from this section's default, not from the nested class."""
        if not isinstance(given, dict):
            return given
        defaults = {key: field.default for key, field in cls.model_fields.items()}
        return given | {
            key: default.model_dump(exclude_unset=True) | given[key]
            for key, default in defaults.items()
            if isinstance(default, Section) and isinstance(given.get(key), dict)
        }
