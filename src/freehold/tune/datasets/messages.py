"""The messages and tools of a line, checked: roles, order, calls, and what is to be learned.

Room: tune. Errors say where, never what was written. Must not know files or templates.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from freehold.errors import BadDataset
from freehold.tune.datasets.examples import Message

__all__ = ["MOST_MESSAGES", "Where", "answer_of", "conversation", "history", "tools_of"]

MOST_MESSAGES = 1 << 12
_MOST_TOOLS = 512
_ROLES = ("system", "developer", "user", "assistant", "tool")
_FIELDS = {
    "system": frozenset({"content", "name"}),
    "developer": frozenset({"content", "name"}),
    "user": frozenset({"content", "name"}),
    "tool": frozenset({"content", "name", "tool_call_id"}),
    "assistant": frozenset(
        {"content", "name", "tool_calls", "weight", "reasoning_content", "refusal", "audio"}
    ),
}
# Other names that reasoning has.
_REASONING = ("reasoning", "thinking")


@dataclass(frozen=True)
class Where:
    """A place in a dataset, for errors."""

    line: int
    at: str = ""
    names: frozenset[str] = field(default=frozenset())

    def __truediv__(self, part: object) -> Where:
        return Where(self.line, f"{self.at}.{part}".lstrip("."), self.names)

    def bad(
        self,
        message: str,
        *,
        expected: str = "",
        found: object = None,
        said: str = "",
        hint: str = "",
    ) -> BadDataset:
        """The error for this place: what was `found` by its kind, or in our own words, `said`."""
        told = said or _kind(found)
        return BadDataset(
            f"{self.at}: {message}" if self.at else message,
            line=self.line,
            value=self.at or None,
            expected=expected,
            found=told,
            hint=hint,
        )


def tools_of(given: object, where: Where) -> tuple[dict[str, Any], ...]:
    """The tools of a line, which may be JSON text in a table. Raises: BadDataset."""
    tools = _unpacked(given)
    if tools is None or tools == "":
        return ()
    if not isinstance(tools, list) or len(tools) > _MOST_TOOLS:
        raise where.bad("is no list of tools", expected=f"at most {_MOST_TOOLS}", found=tools)
    seen: set[str] = set()
    for place, tool in enumerate(tools):
        at = where / place
        function = tool.get("function") if isinstance(tool, dict) else None
        if not isinstance(function, dict) or tool.get("type", "function") != "function":
            raise at.bad(
                "is no function", expected='{"type": "function", "function": {...}}', found=tool
            )
        name, parameters = function.get("name"), function.get("parameters")
        if not isinstance(name, str) or not name or name in seen:
            raise at.bad("has no name of its own", expected="a name that no other has", found=name)
        if parameters is not None and not isinstance(parameters, dict):
            raise (at / "parameters").bad("is no schema", expected="an object", found=parameters)
        seen.add(name)
    return tuple(tools)


def conversation(
    given: object, where: Where, tools: Sequence[Mapping[str, Any]] = ()
) -> tuple[Message, ...]:
    """Messages that end with an answer. Raises: BadDataset."""
    messages = _messages(given, where, tools)
    if messages[-1]["role"] != "assistant":
        raise where.bad(
            "ends without an answer: nothing is learned from it",
            expected="an assistant's message at the end",
            said=f"one of the role {messages[-1]['role']}",
        )
    return messages


def history(
    given: object, where: Where, tools: Sequence[Mapping[str, Any]] = ()
) -> tuple[Message, ...]:
    """Messages that await an answer. Raises: BadDataset."""
    messages = _messages(given, where, tools)
    if messages[-1]["role"] not in ("user", "tool"):
        raise where.bad(
            "does not end where an answer is awaited",
            expected="a user's message or a tool's at the end",
            said=f"one of the role {messages[-1]['role']}",
        )
    return messages


def answer_of(
    given: object, where: Where, tools: Sequence[Mapping[str, Any]] = ()
) -> tuple[Message, ...]:
    """One answer: a text, or a list of one assistant's message. Raises: BadDataset."""
    given = _unpacked(given)
    if isinstance(given, str):
        given = [{"role": "assistant", "content": given}]
    if isinstance(given, dict):
        given = [given]
    if not isinstance(given, list) or len(given) != 1:
        said = f"{len(given)} messages" if isinstance(given, list) else _kind(given)
        raise where.bad("is no answer", expected="a text, or one assistant's message", said=said)
    (message,) = (_message(one, where / 0, _names(tools)) for one in given)
    if message["role"] != "assistant":
        raise where.bad("is no answer", expected="the role assistant", said=message["role"])
    return (message,)


def _messages(
    given: object, where: Where, tools: Sequence[Mapping[str, Any]]
) -> tuple[Message, ...]:
    given = _unpacked(given)
    if not isinstance(given, list) or not 1 <= len(given) <= MOST_MESSAGES:
        said = f"{len(given)} messages" if isinstance(given, list) else _kind(given)
        raise where.bad(
            "is no list of messages", expected=f"1 to {MOST_MESSAGES} messages", said=said
        )
    messages = tuple(_message(one, where / i, _names(tools)) for i, one in enumerate(given))
    _check_order(messages, where)
    return messages


def _names(tools: Sequence[Mapping[str, Any]]) -> frozenset[str]:
    return frozenset(tool["function"]["name"] for tool in tools)


def _check_order(messages: Sequence[Message], where: Where) -> None:
    """System first, then a user; no answer after an answer; results only of calls that wait."""
    waiting: set[object] = set()
    before = ""
    for place, message in enumerate(messages):
        role, at = message["role"], where / place
        if role in ("system", "developer") and place > 0:
            raise at.bad("the role is out of place", expected="it at the beginning", said=role)
        if role == "tool":
            if message["tool_call_id"] not in waiting:
                raise (at / "tool_call_id").bad(
                    "answers no call", expected="the id of a call before it", said="another"
                )
            waiting.discard(message["tool_call_id"])
        elif waiting:
            raise at.bad("comes before the results of the calls", expected="tool", said=role)
        if role == "assistant":
            if before not in ("user", "tool"):
                raise at.bad(
                    "the role is out of place",
                    expected="a user's message or a tool's before an assistant's",
                    said=before or "the beginning",
                )
            waiting = {call["id"] for call in message.get("tool_calls") or ()}
        before = role
    if waiting and messages[-1]["role"] == "tool":
        raise where.bad("lacks results of calls", expected="one for each", said="fewer")


def _message(given: object, where: Where, names: frozenset[str]) -> Message:
    if not isinstance(given, dict):
        raise where.bad("is no message", expected="an object with a role", found=given)
    role = given.get("role")
    if role not in _ROLES:
        raise (where / "role").bad(
            "is no role",
            expected=", ".join(_ROLES),
            said=role[:40] if isinstance(role, str) else "",
            found=role,
        )
    message = {"role": role} | {key: value for key, value in given.items() if key != "role"}
    for name in _REASONING:
        if name in message and role == "assistant":
            message.setdefault("reasoning_content", message.pop(name))
    # A table has every key in every row.
    message = {
        key: value for key, value in message.items() if value is not None or key == "content"
    }
    if unknown := message.keys() - _FIELDS[role] - {"role"}:
        raise (where / min(unknown)).bad(
            f"has no meaning in a message of the role {role}",
            expected=", ".join(sorted(_FIELDS[role])),
            said=min(unknown)[:40],
        )
    message["content"] = _content(message.get("content"), where / "content")
    if role == "assistant":
        _check_answer(message, where, names)
    elif role == "tool":
        if not isinstance(message.get("tool_call_id"), str):
            raise (where / "tool_call_id").bad(
                "is missing", expected="the id of a call", found=message.get("tool_call_id")
            )
    elif not message["content"].strip():
        raise (where / "content").bad("is empty", expected="some text", said="none")
    return message


def _content(given: object, where: Where) -> str:
    """Text, also where it came in parts."""
    if given is None:
        return ""
    if isinstance(given, str):
        return given
    if isinstance(given, list):
        texts = []
        for place, part in enumerate(given):
            text = part.get("text") if isinstance(part, dict) else None
            if not isinstance(text, str) or part.get("type", "text") != "text":
                kind = part.get("type") if isinstance(part, dict) else None
                said = kind[:40] if isinstance(kind, str) else ""
                raise (where / place).bad(
                    "is no text", expected="parts of text", said=said, found=part
                )
            texts.append(text)
        return "".join(texts)
    raise where.bad("is no text", expected="a text", found=given)


def _check_answer(message: Message, where: Where, names: frozenset[str]) -> None:
    weight = message.get("weight", 1)
    if isinstance(weight, bool) or weight not in (0, 1):
        raise (where / "weight").bad("is neither 0 nor 1", expected="0 or 1", found=weight)
    for name in ("refusal", "audio"):
        if name in message:
            raise (where / name).bad("cannot be learned", expected="content", said=name)
    thought = message.get("reasoning_content", "")
    if not isinstance(thought, str):
        raise (where / "reasoning_content").bad("is no text", expected="a text", found=thought)
    if not thought.strip():
        message.pop("reasoning_content", None)
    calls = message.pop("tool_calls", None) or []
    if not isinstance(calls, list):
        raise (where / "tool_calls").bad("is no list", expected="a list of calls", found=calls)
    if calls:
        message["tool_calls"] = [
            _call(call, where / "tool_calls" / place, names) for place, call in enumerate(calls)
        ]
    elif not message["content"].strip():
        raise where.bad(
            "is an empty turn of the assistant's",
            expected="text or calls",
            said="neither" if not thought else "reasoning alone",
        )


def _call(call: object, where: Where, names: frozenset[str]) -> dict[str, Any]:
    function = call.get("function") if isinstance(call, dict) else None
    if not isinstance(call, dict) or not isinstance(function, dict):
        raise where.bad("is no call", expected='{"id": ..., "function": {...}}', found=call)
    name, arguments = function.get("name"), _unpacked(function.get("arguments"))
    if name not in names:
        raise (where / "function" / "name").bad(
            "calls a tool that the line does not offer",
            expected=", ".join(sorted(names)[:20]) or "a list of tools beside the messages",
            said="another" if isinstance(name, str) else "",
            found=name,
        )
    if not isinstance(arguments, dict):
        raise (where / "function" / "arguments").bad(
            "is no JSON object", expected="an object, or a text that holds one", found=arguments
        )
    if not isinstance(call.get("id"), str) or not call["id"]:
        raise (where / "id").bad("is missing", expected="a text", found=call.get("id"))
    return {
        "id": call["id"],
        "type": "function",
        "function": {"name": name, "arguments": arguments},
    }


def _unpacked(given: object) -> Any:
    """A value that a table holds as JSON text; anything else as it is."""
    if isinstance(given, str) and given[:1] in ("[", "{"):
        try:
            return json.loads(given)
        except (ValueError, RecursionError):
            return given
    return given


def _kind(value: object) -> str:
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, int | float):
        return f"the number {value:g}"
    names = {list: "a list", dict: "an object", str: "a text", type(None): "nothing"}
    return names.get(type(value), type(value).__name__)
