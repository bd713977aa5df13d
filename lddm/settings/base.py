"""What every section of the settings has in common: closed, frozen, strict."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A closed section: unknown keys and wrong types are errors, values cannot change later.

    Fields are documented with `Field(description=...)`: the text becomes the comment in the
    generated YAML and the description in the JSON schema.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, validate_default=True)
