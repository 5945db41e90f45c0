"""Finding in text the tokens that are matched whole: control tokens and what a model's maker added.

Room: tokenizer. Knows spellings and ids; must not know how the text between is cut.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from freehold.errors import BadTokenizer
from freehold.tokenizer.vocabulary import Kind, Vocabulary

__all__ = ["SpecialTokens", "looks_like_control", "pattern_of"]

# Spellings may begin one another this often: runs of spaces do, up to some sixty.
_MAX_NESTING = 128

# Unicode's White_Space, which is what the `tokenizers` library strips around a token.
_SPACES = "\t\n\x0b\x0c\r \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
_SPACES_AFTER = re.compile(f"[{_SPACES}]*")
_SPACES_BEFORE = re.compile(f"(?<![{_SPACES}])[{_SPACES}]+\\Z")

# Some makers mark what frames a conversation as plain added tokens. Source: the same rule in
# llama.cpp's converter, so that a directory and a GGUF file of one model mean the same.
_CONTROL = re.compile(
    r"<\|.*\|>|<\N{FULLWIDTH VERTICAL LINE}.*\N{FULLWIDTH VERTICAL LINE}>|<unused.*>"
    r"|<pad>|<mask>|<2mass>|\[@BOS@\]",
    re.DOTALL,
)


def looks_like_control(spelling: str) -> bool:
    """Whether a token that no file marks as control is spelled like one."""
    return _CONTROL.fullmatch(spelling) is not None


class SpecialTokens:
    """The tokens of a vocabulary that are matched whole, leftmost and longest first.

    Tokens of type control and unknown are matched only when asked, so that control strings inside
    what a person typed stay text. Those of type user-defined (`<think>`, runs of spaces) are part
    of how the model reads any text and are always matched. llama.cpp and the models' own
    tokenizers do the same. `strips` names ids that take the spaces before or after them along.
    """

    def __init__(
        self,
        control: Mapping[str, int],
        user_defined: Mapping[str, int],
        strips: Mapping[int, tuple[bool, bool]] | None = None,
    ) -> None:
        self._always = dict(user_defined)
        self._all = {**user_defined, **control}
        self._strips = dict(strips or {})
        self._always_pattern = pattern_of(list(self._always))
        self._all_pattern = pattern_of(list(self._all)) if control else self._always_pattern

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
            token = ids[match.group()]
            before, after = self._strips.get(token, (False, False))
            begin = _stripped_end(text, start, match.start()) if before else match.start()
            if begin > start:
                yield text[start:begin]
            yield token
            start = _after_spaces(text, match.end()) if after else match.end()
        if start < len(text):
            yield text[start:] if start else text


def _stripped_end(text: str, start: int, end: int) -> int:
    spaces = _SPACES_BEFORE.search(text, start, end)
    return spaces.start() if spaces else end


def _after_spaces(text: str, start: int) -> int:
    spaces = _SPACES_AFTER.match(text, start)
    return spaces.end() if spaces else start


def pattern_of(spellings: Sequence[str]) -> re.Pattern[str] | None:
    """A pattern that finds these texts, the longest of those that begin at one place.

    It is a tree of their common beginnings: thousands of spellings cost a text no more than a few
    do. Raises: BadTokenizer when too many begin one another.
    """
    if not spellings:
        return None
    return re.compile(_branches(sorted(set(spellings)), 0, 0))


def _branches(spellings: Sequence[str], at: int, depth: int) -> str:
    """The pattern of what follows the first `at` characters, which sorted spellings share."""
    if depth > _MAX_NESTING:
        raise BadTokenizer(
            "too many special tokens begin one another",
            expected=f"at most {_MAX_NESTING} deep",
            found="more",
        )
    ends = len(spellings[0]) == at
    longer = spellings[1:] if ends else spellings
    branches = []
    first = 0
    while first < len(longer):
        last = first
        while last + 1 < len(longer) and longer[last + 1][at] == longer[first][at]:
            last += 1
        shared = _shared(longer[first], longer[last], at)
        rest = _branches(longer[first : last + 1], shared, depth + 1)
        branches.append(re.escape(longer[first][at:shared]) + rest)
        first = last + 1
    if not branches:
        return ""
    return f"(?:{'|'.join(branches)}){'?' if ends else ''}"


def _shared(first: str, second: str, start: int) -> int:
    """Where two texts part, from `start` on; sorted neighbours between them part no earlier."""
    end = min(len(first), len(second))
    while start < end and first[start] == second[start]:
        start += 1
    return start
