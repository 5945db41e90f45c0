"""Finding in text the tokens that are matched whole: control tokens and what a model's maker added.

Room: tokenizer. Knows spellings and ids; must not know how the text between is cut.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from freehold.tokenizer.vocabulary import Kind, Vocabulary

__all__ = ["SpecialTokens"]


class SpecialTokens:
    """The tokens of a vocabulary that are matched whole, leftmost and longest first.

    Tokens of type control and unknown are matched only when asked, so that control strings inside
    what a person typed stay text. Those of type user-defined (`<think>`, runs of spaces) are part
    of how the model reads any text and are always matched. llama.cpp and the models' own
    tokenizers do the same.
    """

    def __init__(self, control: Mapping[str, int], user_defined: Mapping[str, int]) -> None:
        self._always = dict(user_defined)
        self._all = {**user_defined, **control}
        self._always_pattern = _pattern(self._always)
        self._all_pattern = _pattern(self._all)

    @classmethod
    def of(cls, vocabulary: Vocabulary) -> SpecialTokens:
        """The special tokens of a vocabulary, by their types."""

        def spelled(*kinds: Kind) -> dict[str, int]:
            return {vocabulary.tokens[index]: index for index in vocabulary.ids_of(*kinds)}

        return cls(spelled(Kind.CONTROL, Kind.UNKNOWN), spelled(Kind.USER_DEFINED))

    def split(self, text: str, *, parse_special: bool) -> Iterator[str | int]:
        """The text in order: ids of the tokens found, and the non-empty strings between them."""
        ids = self._all if parse_special else self._always
        pattern = self._all_pattern if parse_special else self._always_pattern
        start = 0
        for match in pattern.finditer(text) if pattern else ():
            if match.start() > start:
                yield text[start : match.start()]
            yield ids[match.group()]
            start = match.end()
        if start < len(text):
            yield text[start:] if start else text


def _pattern(ids: Mapping[str, int]) -> re.Pattern[str] | None:
    if not ids:
        return None
    return re.compile("|".join(map(re.escape, sorted(ids, key=len, reverse=True))))
