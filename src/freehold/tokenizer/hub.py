"""The tokenizer of a directory: its tokenizer.json, and what the small files beside it say.

Room: tokenizer. Decides between what several files say; must not know how they are read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from freehold.errors import BadTokenizer, UnknownTokenizer
from freehold.tokenizer.described import Added, Described, describe
from freehold.tokenizer.ends import ending_ids
from freehold.tokenizer.tokenizer import Facts, Tokenizer

__all__ = ["Beside", "tokenizer_from_json"]


@dataclass(frozen=True, kw_only=True)
class Beside:
    """What lies beside a tokenizer.json. `size` is the number of rows that the weights have.

    `adds_bos` and `adds_eos` None: as the tokenizer.json itself does. `end_ids` end an answer.
    `control` are spellings that some file calls special.
    """

    size: int = 0
    added: tuple[Added, ...] = ()
    control: frozenset[str] = frozenset()
    bos: str | None = None
    eos: str | None = None
    end_ids: frozenset[int] = frozenset()
    adds_bos: bool | None = None
    adds_eos: bool | None = None


def tokenizer_from_json(fields: Mapping[str, object], beside: Beside) -> Tokenizer:
    """The tokenizer that a tokenizer.json's fields describe.

    Raises: UnknownTokenizer for what cannot be reproduced exactly; BadTokenizer naming what
    contradicts what.
    """
    described = describe(fields, further=beside.added, control=beside.control, size=beside.size)
    ids = {spelling: index for index, spelling in described.tokens.items() if spelling}
    marks = described.marks
    bos = _named(beside.bos or (marks.before[0] if marks.before else None), ids, "bos_token")
    eos = _named(beside.eos or (marks.after[-1] if marks.after else None), ids, "eos_token")
    adds_bos = _adds(beside.adds_bos, marks.before, ids, bos, "beginning")
    adds_eos = _adds(beside.adds_eos, marks.after, ids, eos, "end")
    control = {token.content: token.id for token in described.added.values() if token.control}
    named = frozenset() if eos is None else frozenset({eos})
    facts = Facts(
        vocab_size=len(described.tokens),
        bos_id=bos,
        eos_id=eos,
        eos_ids=named | ending_ids(control),
        adds_bos=adds_bos,
        adds_eos=adds_eos,
        drops_first_space=described.spelling.drops_first_space,
        byte_level=described.spelling.byte_level,
        verbatim=_verbatim(described),
        special=frozenset(control.values()),
    )
    return Tokenizer(described.cutter, facts).with_ends(beside.end_ids)


def _named(token: str | None, ids: Mapping[str, int], field: str) -> int | None:
    if token is None:
        return None
    if token not in ids:
        raise BadTokenizer(f"{field}: is no token", expected="a token", found=repr(token[:80]))
    return ids[token]


def _adds(
    said: bool | None, marks: tuple[str, ...], ids: Mapping[str, int], own: int | None, which: str
) -> bool:
    """Whether a plain text gets the token at this end."""
    if len(marks) > 1 or (marks and ids.get(marks[0]) != own):
        raise UnknownTokenizer(
            f"post_processor: puts other tokens at the {which} of a text than the model's own",
            expected="the bos_token before, the eos_token after, or nothing",
            found=", ".join(marks)[:80],
        )
    if said and own is None:
        raise BadTokenizer(f"the tokenizer adds a token at the {which} of a text and names none")
    return bool(marks) if said is None else said


def _verbatim(described: Described) -> frozenset[int]:
    """Tokens that are their own text. Spaces are spelled in the others, added ones too."""
    return frozenset(
        token.id
        for token in described.added.values()
        if token.control or described.spelling.byte_level
    )
