"""The root of the tree: what every error carries.

Room: errors. The tree is drawn in the package's own words.
"""

from __future__ import annotations

from typing import ClassVar

__all__ = ["FreeholdError"]


class FreeholdError(Exception):
    """Every error that Freehold raises on purpose.

    `code` is stable and safe to test for; the words are for people and may change. `str()` gives
    the whole story on one line. Survives pickling, so it can cross from the engine's process.
    """

    code: ClassVar[str] = "freehold"

    def __init_subclass__(cls, *, code: str) -> None:
        super().__init_subclass__()
        cls.code = code

    def __init__(
        self,
        message: str,
        *,
        value: object = None,
        expected: str = "",
        found: str = "",
        hint: str = "",
    ) -> None:
        super().__init__(message)
        self.message = message
        self.value = value
        self.expected = expected
        self.found = found
        self.hint = hint

    def __str__(self) -> str:
        story = self.message
        if self.expected:
            story += f"; expected {self.expected}"
        if self.found:
            story += f"; found {self.found}"
        if self.hint:
            story += f" (hint: {self.hint})"
        return story
