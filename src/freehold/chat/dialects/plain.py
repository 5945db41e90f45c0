"""Tools for models whose template does not know them: told in the system message.

Room: chat. Knows the words that tell them; must not know templates.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from freehold.chat.dialects.base import Messages
from freehold.chat.dialects.hermes import Hermes

__all__ = ["Plain"]

_FORM = """To call a function, answer with its name and arguments as JSON in this form, once for \
each call:
<tool_call>
{"name": "function name", "arguments": {"argument": "value"}}
</tool_call>
The results come back in <tool_response> tags."""


class Plain(Hermes):
    """The form of Hermes, described to the model, with calls and results told as plain text."""

    name = "plain"
    tells_tools = True
    form = _FORM

    def history(self, messages: Messages) -> Messages:
        """The conversation in the roles that every template knows."""
        return _told(messages)


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
