"""The one error that users are meant to see."""

from __future__ import annotations


class LddmError(Exception):
    """Something that the user can put right.

    Args:
        message: what was expected and what came.
        hint: how to put it right, one sentence.
    """

    def __init__(self, message: str, hint: str = ""):
        self.message = message
        self.hint = hint
        super().__init__(message, hint)

    def __str__(self) -> str:
        return f"{self.message}\nHint: {self.hint}" if self.hint else self.message

    def __reduce__(self):
        return type(self), (self.message, self.hint)
