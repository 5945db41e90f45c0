"""What one line of a dataset is, once read: a conversation, a text, or a choice of two answers.

Room: tune. Plain data; must not know files, templates or tokens.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

__all__ = ["Example", "Message", "Preference", "texts_of"]

Message = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Example:
    """A conversation whose answers are learned, or a plain text.

    An assistant's message with `weight` 0 is not learned. Of a plain text, `before` is what it
    continues, which is not learned; there are no messages then.
    """

    messages: tuple[Message, ...] = ()
    tools: tuple[dict[str, Any], ...] = ()
    line: int = 0
    text: str | None = None
    before: str = ""

    @property
    def turns(self) -> list[int]:
        """The places of the messages that are learned."""
        return [
            place
            for place, message in enumerate(self.messages)
            if message["role"] == "assistant" and message.get("weight", 1) != 0
        ]

    @property
    def asked(self) -> str:
        """Everything that is not learned, as one text: what must not be held out and learned."""
        learned = set(self.turns)
        others = (m for place, m in enumerate(self.messages) if place not in learned)
        said = [
            text for message in others if message["role"] != "system" for text in _said(message)
        ]
        return "\n".join(said) if self.text is None else self.before or self.text

    @property
    def whole(self) -> str:
        """All of it as one text, for what looks for the same again."""
        said = [text for message in self.messages for text in (message["role"], *_said(message))]
        return "\n".join(said) if self.text is None else self.before + self.text


@dataclass(frozen=True, kw_only=True)
class Preference:
    """A prompt with two answers, of which one is preferred."""

    prompt: tuple[Message, ...]
    chosen: tuple[Message, ...]
    rejected: tuple[Message, ...]
    line: int = 0
    tools: tuple[dict[str, Any], ...] = ()

    @property
    def asked(self) -> str:
        """The prompt as one text, without a system message."""
        said = (m for m in self.prompt if m["role"] != "system")
        return "\n".join(text for message in said for text in _said(message))

    @property
    def whole(self) -> str:
        """All of it as one text."""
        every = (*self.prompt, *self.chosen, *self.rejected)
        return "\n".join(text for message in every for text in (message["role"], *_said(message)))

    @property
    def answers(self) -> tuple[Example, Example]:
        """The two conversations, the preferred first, of which only the answers are learned."""
        prompt = tuple(
            {**message, "weight": 0} if message["role"] == "assistant" else message
            for message in self.prompt
        )
        chosen, rejected = (
            Example(messages=(*prompt, *answer), tools=self.tools, line=self.line)
            for answer in (self.chosen, self.rejected)
        )
        return chosen, rejected


def texts_of(value: Any) -> Iterator[str]:
    """Every text in a value of JSON, keys left out."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for inner in value.values():
            yield from texts_of(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from texts_of(inner)


def _said(message: Message) -> list[str]:
    """What a message says: its words, its reasoning, its calls."""
    said = [str(message.get(key) or "") for key in ("reasoning_content", "content")]
    for call in message.get("tool_calls") or ():
        said += [call["function"]["name"], *texts_of(call["function"].get("arguments"))]
    return [text for text in said if text]
