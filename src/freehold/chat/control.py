"""The texts of a tokenizer's control tokens: where they stand in a text, and which ids they are.

Room: chat. Knows a tokenizer's face; must not know messages, templates or grammars.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

if TYPE_CHECKING:
    from freehold.tokenizer import Tokenizer

__all__ = ["ControlStrings"]

_KNOWN: WeakKeyDictionary[Tokenizer, ControlStrings] = WeakKeyDictionary()


class ControlStrings:
    """What must not become a control token when a person writes it, and must when a template does.

    Safe to share between threads.
    """

    def __init__(self, ids: Mapping[str, int]) -> None:
        # No vocabulary has a control token of one character; a mark could not break it.
        self.ids = {text: token for text, token in ids.items() if len(text) > 1}
        longest_first = sorted(self.ids, key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, longest_first)) or r"(?!)")

    @classmethod
    def of(cls, tokenizer: Tokenizer) -> ControlStrings:
        """Those of a tokenizer; gathered once for each."""
        known = _KNOWN.get(tokenizer)
        if known is None:
            special = filter(tokenizer.is_special, range(tokenizer.vocab_size))
            known = _KNOWN[tokenizer] = cls({tokenizer.token(token): token for token in special})
        return known

    @classmethod
    def written(cls, tokenizer: Tokenizer, texts: Iterable[str]) -> ControlStrings:
        """Those of the texts that are tokens of the kind that is read in any text.

        Such are `<think>` and `<tool_call>` where a vocabulary has them as user-defined.
        """
        found = {text: tokenizer.encode(text, add_bos=False) for text in texts}
        return cls({text: ids[0] for text, ids in found.items() if len(ids) == 1})

    def occur_in(self, text: str) -> bool:
        """Whether any stands in the text."""
        return self._pattern.search(text) is not None

    def split(self, text: str) -> Iterator[int | str]:
        """The ids found, leftmost and longest first, and the non-empty texts between."""
        start = 0
        for match in self._pattern.finditer(text):
            if match.start() > start:
                yield text[start : match.start()]
            yield self.ids[match.group()]
            start = match.end()
        if start < len(text):
            yield text[start:]

    def broken_by(self, text: str, mark: str) -> str:
        """The text with a mark inside each control string, and after an end that may begin one."""
        broken = text
        while self._pattern.search(broken):  # again, since "<<a>" may hold "<<a>" and "<a>"
            broken = self._pattern.sub(lambda found: found[0][0] + mark + found[0][1:], broken)
        ends = range(1, min(self._longest, len(text) + 1))
        return broken + mark if any(text[-n:] in self._starts for n in ends) else broken

    @cached_property
    def _longest(self) -> int:
        return max(map(len, self.ids), default=1)

    @cached_property
    def _starts(self) -> frozenset[str]:
        """Every proper beginning of a control string."""
        return frozenset(text[:end] for text in self.ids for end in range(1, len(text)))
