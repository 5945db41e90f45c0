"""The pages of the KV pool: who holds which.

Room: engine. Plain data; knows neither model nor array.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from freehold.errors import OutOfPages

__all__ = ["PageList", "Sequence"]


@dataclass
class Sequence:
    """One text in the cache: its pages in token order and how many tokens they hold."""

    pages: list[int] = field(default_factory=list)
    length: int = 0


class PageList:
    """Hands out the page ids 0 .. count - 1, each to one sequence at a time."""

    def __init__(self, count: int, page_tokens: int) -> None:
        self.count = count
        self.page_tokens = page_tokens
        self._free = list(range(count - 1, -1, -1))

    @property
    def num_pages_free(self) -> int:
        """Pages nobody holds."""
        return len(self._free)

    def extend(self, sequence: Sequence, length: int) -> None:
        """Gives the sequence pages for `length` tokens.

        Mutates: sequence.pages. Raises: OutOfPages, leaving everything as it was.
        """
        wanted = -(-length // self.page_tokens) - len(sequence.pages)
        if wanted > len(self._free):
            raise OutOfPages(
                "the KV cache has no room for these tokens",
                value=length,
                expected=f"at most {len(self._free)} more pages of {self.page_tokens} tokens",
                found=f"{wanted} wanted",
            )
        for _ in range(wanted):
            sequence.pages.append(self._free.pop())

    def release(self, sequence: Sequence) -> None:
        """Takes all pages back. Mutates: sequence."""
        self._free.extend(reversed(sequence.pages))
        sequence.pages = []
        sequence.length = 0
