"""Conversations that every version of a prompt's form must write as its maker's program does."""

from __future__ import annotations

from typing import Any


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def answer(text: str, *calls: dict[str, Any]) -> dict[str, Any]:
    return {"role": "assistant", "content": text} | ({"tool_calls": list(calls)} if calls else {})


def system(text: str) -> dict[str, Any]:
    return {"role": "system", "content": text}


def result(number: str, text: str) -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": number, "name": "f", "content": text}


def _call(number: str, name: str, arguments: dict[str, Any]) -> dict[str, Any]:
    function = {"name": name, "arguments": arguments}
    return {"id": number, "type": "function", "function": function}


VERSIONS = ("v1", "v3", "v7", "v11", "v13", "v15")
EFFORT = {"type": "enum", "values": ["none", "high"], "accepts_none": True, "default": "none"}
_CONTROL = """
<unk> <s> </s> [INST] [/INST] [AVAILABLE_TOOLS] [/AVAILABLE_TOOLS] [TOOL_RESULTS] [/TOOL_RESULTS]
[TOOL_CALLS] [IMG] <pad> [IMG_BREAK] [IMG_END] [PREFIX] [MIDDLE] [SUFFIX] [SYSTEM_PROMPT]
[/SYSTEM_PROMPT] [TOOL_CONTENT] [ARGS] [CALL_ID] [THINK] [/THINK] [MODEL_SETTINGS]
[/MODEL_SETTINGS]
"""
CONTROL = _CONTROL.split()

_CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOLS: list[dict[str, Any]] = [
    {"name": "get_weather", "description": "Weather, in “°C”", "parameters": _CITY},
    {"name": "now", "description": "", "parameters": {"type": "object", "properties": {}}},
]
_FIRST = _call("abcdefgh1", "get_weather", {"city": "Zürich", "n": 2})
_SECOND = _call("abcdefgh2", "now", {})

# Name: messages, and whether the tools are offered.
CONVERSATIONS: dict[str, tuple[list[dict[str, Any]], bool]] = {
    "one": ([user("Hello there")], False),
    "system": ([system("Be brief.\nBe kind."), user("Hi")], False),
    "turns": (
        [
            system("Be brief."),
            user("Hi"),
            answer("Hello!"),
            user(" How?\n"),
            answer("Fine "),
            user("好 👍"),
        ],
        False,
    ),
    "tools": ([system("Be brief."), user("Weather?")], True),
    "called": (
        [user("Weather?"), answer("", _FIRST), result("abcdefgh1", '{"temp": 20, "s": "é"}')],
        True,
    ),
    "called_text": ([user("Weather?"), answer("", _FIRST), result("abcdefgh1", 'a "b"')], True),
    "twice": (
        [
            system("S"),
            user("Weather?"),
            answer("", _FIRST, _SECOND),
            result("abcdefgh1", "a"),
            result("abcdefgh2", "b"),
            answer("Done."),
            user("More"),
        ],
        True,
    ),
    "said_and_called": (
        [
            user("Weather?"),
            answer("See.", _FIRST),
            result("abcdefgh1", "x"),
            answer("ok"),
            user("So"),
        ],
        True,
    ),
}
