"""A model's chat template over sample conversations, as the tokens that the model would read.

Room: inspection. Knows how prompts are made; must not know requests.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from freehold.chat.dialects import dialect_of
from freehold.chat.prompts import prompt_tokens
from freehold.chat.reasoning import reasoning_of
from freehold.chat.templates import ChatTemplate
from freehold.chat.tools import Tool
from freehold.errors import FreeholdError
from freehold.tokenizer import Tokenizer

__all__ = ["ChatFacts", "Piece", "Sample", "chat_facts"]


@dataclass(frozen=True)
class Piece:
    """Some text of a prompt; `control` when it is one token that no text can spell."""

    text: str
    control: bool


@dataclass(frozen=True)
class Sample:
    """A conversation as the model reads it, or why the template refuses it."""

    title: str
    tokens: int
    pieces: tuple[Piece, ...]
    refused: str = ""


@dataclass(frozen=True)
class ChatFacts:
    """What a chat template is and does; `reasoning` is how it marks thinking, or empty."""

    names: tuple[str, ...]
    characters: int
    dialect: str
    reasoning: str
    samples: tuple[Sample, ...]
    source: str


_WEATHER = Tool(
    name="weather",
    description="The weather of a place.",
    parameters={
        "type": "object",
        "properties": {"place": {"type": "string"}},
        "required": ["place"],
    },
)
_PLAIN: list[dict[str, Any]] = [
    {"role": "system", "content": "You answer in one sentence."},
    {"role": "user", "content": "What is the capital of France?"},
    {"role": "assistant", "content": "Paris."},
    {"role": "user", "content": "And of Italy?"},
]
_CALLS: list[dict[str, Any]] = [
    {"role": "user", "content": "Do I need an umbrella in Oslo?"},
    {
        "role": "assistant",
        "content": "",
        "tool_calls": [
            {
                "id": "call00001",
                "type": "function",
                "function": {"name": "weather", "arguments": '{"place": "Oslo"}'},
            }
        ],
    },
    {"role": "tool", "tool_call_id": "call00001", "content": "Rain, 6 degrees."},
]


def chat_facts(templates: Mapping[str, str], tokenizer: Tokenizer) -> ChatFacts | None:
    """The template on samples: plain, with a tool call, with thinking. None without a template."""
    if not templates:
        return None
    names = tuple(
        key.removeprefix("tokenizer.chat_template").lstrip(".") or "default" for key in templates
    )
    source = templates.get("tokenizer.chat_template") or next(iter(templates.values()))
    reasoning, dialect = reasoning_of(source), dialect_of(source)
    try:
        template: ChatTemplate | FreeholdError = ChatTemplate.from_metadata(templates, tokenizer)
    except FreeholdError as error:
        template = error
    asks: list[tuple[str, list[dict[str, Any]], tuple[Tool, ...], bool | None]] = [
        ("system, user, assistant", _PLAIN, (), None),
        ("a tool, its call and its result", _CALLS, (_WEATHER,), None),
    ]
    if reasoning is not None:
        asks.append(("asked to think first", _PLAIN[:2], (), True))
    return ChatFacts(
        names=names,
        characters=len(source),
        dialect=type(dialect).__module__.rsplit(".", 1)[-1],
        reasoning="" if reasoning is None else f"{reasoning.start} … {reasoning.end}",
        samples=tuple(_sample(template, tokenizer, *ask) for ask in asks),
        source=source,
    )


def _sample(
    template: ChatTemplate | FreeholdError,
    tokenizer: Tokenizer,
    title: str,
    messages: list[dict[str, Any]],
    tools: tuple[Tool, ...],
    thinking: bool | None,
) -> Sample:
    if isinstance(template, FreeholdError):
        return Sample(title, 0, (), template.message)
    dialect = dialect_of(template.source)
    try:
        ids = prompt_tokens(
            template, tokenizer, messages, dialect=dialect, tools=tools, thinking=thinking
        ).tokens
    except FreeholdError as error:
        return Sample(title, 0, (), error.message)
    return Sample(title, len(ids), tuple(_pieces(ids, tokenizer)))


def _pieces(ids: list[int], tokenizer: Tokenizer) -> list[Piece]:
    pieces: list[Piece] = []
    text: list[int] = []
    for token in ids:
        if not tokenizer.is_special(token):
            text.append(token)
            continue
        if text:
            pieces.append(Piece(tokenizer.decode(text, continuing=True), False))
            text = []
        pieces.append(Piece(tokenizer.token(token), True))
    if text:
        pieces.append(Piece(tokenizer.decode(text, continuing=True), False))
    return pieces
