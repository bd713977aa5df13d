"""The exception for errors that a user can fix."""

from __future__ import annotations


class LddmError(Exception):
    """Error that the user can fix; commands show it without a traceback.

    Args:
        message: what was expected and what was found.
        hint: the remedy, one sentence.
    """

    def __init__(self, message: str, hint: str = ""):
        self.message = message
        self.hint = hint
        super().__init__(message, hint)

    def __str__(self) -> str:
        return f"{self.message}\nHint: {self.hint}" if self.hint else self.message

    def __reduce__(self):
        return type(self), (self.message, self.hint)
