"""The pieces that an answer's text is taken apart into.

Room: chat. Plain data; must not know dialects or surfaces.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["CallArguments", "CallStart", "Piece", "Reasoning", "Text"]


@dataclass(frozen=True, slots=True)
class Text:
    """Text for the person who asked."""

    text: str


@dataclass(frozen=True, slots=True)
class Reasoning:
    """Text that the model wrote to itself."""

    text: str


@dataclass(frozen=True, slots=True)
class CallStart:
    """A tool call begins; `index` counts the calls of the answer."""

    index: int
    id: str
    name: str


@dataclass(frozen=True, slots=True)
class CallArguments:
    """The next piece of a call's arguments, which joined are a JSON object."""

    index: int
    text: str


Piece = Text | Reasoning | CallStart | CallArguments
