"""Tools for models whose template does not know them: told in the system message.

Room: chat. Knows the words that tell them; must not know templates.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from freehold.chat.dialects.base import Messages
from freehold.chat.dialects.hermes import Hermes
from freehold.chat.tools import Tool

__all__ = ["Plain"]

_BEFORE = """You can call functions. These are the functions, each with a JSON Schema of its \
arguments:
"""
_AFTER = """
To call a function, answer with its name and arguments as JSON in this form, once for each call:
<tool_call>
{"name": "function name", "arguments": {"argument": "value"}}
</tool_call>
The results come back in <tool_response> tags. When you need no function, answer in words."""


class Plain(Hermes):
    """The form of Hermes, described to the model, with calls and results told as plain text."""

    name = "plain"
    tells_tools = True

    def inject(self, messages: Messages, tools: Sequence[Tool]) -> Messages:
        """The conversation in the roles that every template knows."""
        told = _told(messages)
        if not tools:
            return told
        lines = [json.dumps(tool.for_template()["function"], ensure_ascii=False) for tool in tools]
        text = _BEFORE + "\n".join(lines) + _AFTER
        if told and told[0].get("role") == "system":
            first = {**told[0], "content": f"{told[0].get('content') or ''}\n\n{text}".lstrip()}
            return [first, *told[1:]]
        return [{"role": "system", "content": text}, *told]


def _told(messages: Messages) -> list[Mapping[str, Any]]:
    """Calls as the text that they were; results, and what the user says next, as one message."""
    told: list[Mapping[str, Any]] = []
    in_results = False
    for message in messages:
        role, content = message.get("role"), message.get("content") or ""
        if role == "tool":
            content = f"<tool_response>\n{content}\n</tool_response>"
        if in_results and role in ("tool", "user"):
            content = f"{told.pop()['content']}\n{content}"
        in_results = role == "tool"
        if in_results or content != (message.get("content") or ""):
            told.append({"role": "user", "content": content})
            continue
        calls = message.get("tool_calls")
        if not calls:
            told.append(message)
            continue
        parts = [message.get("content") or "", *map(_call_text, calls)]
        rest = {key: value for key, value in message.items() if key != "tool_calls"}
        told.append({**rest, "content": "\n".join(part for part in parts if part)})
    return told


def _call_text(call: Mapping[str, Any]) -> str:
    function = call["function"]
    said = {"name": function["name"], "arguments": function["arguments"]}
    return f"<tool_call>\n{json.dumps(said, ensure_ascii=False)}\n</tool_call>"
