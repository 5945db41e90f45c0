"""Texts that are too long for an encoder: refused, or cut where the asker said so.

Room: server. Must not know any one endpoint.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from freehold.errors import BadRequest, PromptTooLong

if TYPE_CHECKING:
    from freehold.server.resident import EmbedderResident, Resident

__all__ = ["Limit", "TokenLimit", "cut_or_refuse", "limit_of"]

TokenLimit = Annotated[int, Field(ge=-1, lt=1 << 31)] | None

_FEWEST = 3  # a begin mark, a token, an end mark


@dataclass(frozen=True)
class Limit:
    """How many tokens a text may have, and whether a longer one is cut."""

    tokens: int
    cuts: bool


def limit_of(asked: int | None, reader: EmbedderResident | Resident, param: str) -> Limit:
    """The limit that a request's field asks for: -1 is the model's own, null cuts nothing.

    Raises: BadRequest for a limit the model cannot keep.
    """
    if asked is None or asked == -1:
        return Limit(reader.context_tokens, cuts=asked is not None)
    if not _FEWEST <= asked <= reader.context_tokens:
        raise BadRequest(
            f"{param} is out of range",
            param=param,
            value=asked,
            expected=f"-1, or {_FEWEST} to {reader.context_tokens}, the model's context",
            found=str(asked),
        )
    return Limit(asked, cuts=True)


def cut_or_refuse(
    texts: list[list[int]], embedder: EmbedderResident, limit: Limit, place: str
) -> tuple[list[list[int]], list[int]]:
    """The texts within the limit, and the indices of those that were cut.

    `place` names a text by its index in errors. Raises: PromptTooLong.
    """
    long = [index for index, tokens in enumerate(texts) if len(tokens) > limit.tokens]
    if long and not limit.cuts:
        index = long[0]
        raise PromptTooLong(
            f"a text has {len(texts[index])} tokens and this model reads {limit.tokens}; "
            "it was not shortened",
            param=place.format(index),
            value=len(texts[index]),
            expected=f"at most {limit.tokens} tokens",
            found=f"{len(texts[index])} tokens",
            hint="split it into parts",
        )
    for index in long:
        texts[index] = embedder.tokenizer.cut(texts[index], limit.tokens)
    return texts, long
