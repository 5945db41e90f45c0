"""Fixed conversations and texts by which two renderings are told apart.

Room: tune. Data of our own; changing any of it changes every fingerprint.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["CONVERSATIONS", "TEXTS", "TOOLS"]

Message = Mapping[str, Any]


def _user(text: str) -> Message:
    return {"role": "user", "content": text}


def _says(text: str) -> Message:
    return {"role": "assistant", "content": text}


_CALL: Message = {
    "role": "assistant",
    "content": "",
    "tool_calls": [
        {
            "id": "call00001",
            "type": "function",
            "function": {"name": "weather", "arguments": {"place": "Oslo", "days": 2}},
        }
    ],
}

# For the conversation that calls one.
TOOLS: tuple[Mapping[str, Any], ...] = (
    {
        "name": "weather",
        "description": "The weather of the next days.",
        "parameters": {
            "type": "object",
            "properties": {"place": {"type": "string"}, "days": {"type": "integer"}},
            "required": ["place"],
        },
    },
)

CONVERSATIONS: Mapping[str, tuple[Message, ...]] = {
    "one turn": (_user("What is a fjord?"), _says("A long, narrow inlet of the sea.")),
    "system": (
        {"role": "system", "content": "Answer in one word."},
        _user("The capital of Norway?"),
        _says("Oslo."),
    ),
    "three turns": (
        _user("Count to two."),
        _says("One, two."),
        _user("And on to four."),
        _says("Three, four."),
        _user("Stop."),
        _says("Stopped."),
    ),
    "spaces and scripts": (
        _user("  leading\n\n\ttabs, 日本語, Größe, 🙂 and <|im_end|> as text  \n"),
        _says("\n  kept as it is: 12345.67 \u0436\u0301  "),
    ),
    "reasoning": (
        _user("Is 91 a prime?"),
        {"role": "assistant", "content": "No.", "reasoning_content": "91 is 7 times 13."},
        _user("And 97?"),
        {"role": "assistant", "content": "Yes.", "reasoning_content": "No divisor up to 9."},
    ),
    "a call": (
        _user("How is the weather in Oslo?"),
        _CALL,
        {"role": "tool", "tool_call_id": "call00001", "content": '{"sky": "clear"}'},
        _says("Clear."),
    ),
}

TEXTS: Mapping[str, str] = {
    "prose": "The quick brown fox, 1234567 times: it's what's said -- isn't it?\n\n\tif x == 10:\n",
    "scripts": "Größe naïve 日本語のテキスト Привет мир 🙂🙂 ﬁ e\u0301 العربية",
    "code": "def f(a, b=3.14):\r\n    return {'k': [a, b]}  # <tag> </tag> foo_bar fooBar FOOBar",
}
