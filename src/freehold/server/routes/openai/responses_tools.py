"""Tools and the choice among them, as the Responses interface writes them: flat.

Room: server. Turns them into `Tool` and `ToolChoice`; must not know dialects or constraints.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import Field

from freehold.chat.tools import Tool, ToolChoice
from freehold.errors import BadRequest
from freehold.server.routes.openai.forms import Body, NotOffered, refuse_unless_neutral
from freehold.server.routes.openai.responses_items import checked, not_offered_type

__all__ = ["choice_of", "shown_tool", "tools_of"]

Name = Annotated[str, Field(pattern=r"^[a-zA-Z0-9_-]{1,64}$")]

_CALLERS = NotOffered("the model calls functions itself", ([], ["direct"]))
_DEFER = NotOffered("send the tools that may be called", (False,))
_ASYNC = NotOffered("send each call with its output", (False,))
_OUTPUT_SCHEMA = NotOffered("say in the description what the output looks like")
_WORDS: Mapping[str, Literal["auto", "none", "required"]] = {
    "auto": "auto",
    "none": "none",
    "required": "required",
}


class _Function(Body):
    type: Literal["function"]
    name: Name
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None
    allowed_callers: Any = None
    defer_loading: Any = None
    asynchronous: Annotated[Any, Field(alias="async")] = None
    output_schema: Any = None


class _Named(Body):
    type: Literal["function"]
    name: Name


class _Allowed(Body):
    type: Literal["allowed_tools"]
    mode: Literal["auto", "required"]
    tools: Annotated[list[dict[str, Any]], Field(min_length=1, max_length=128)]


def tools_of(given: Sequence[dict[str, Any]]) -> tuple[Tool, ...]:
    """The functions that may be called. Strict only where the request says so.

    Raises: BadRequest, UnsupportedField, naming the place.
    """
    tools = tuple(_tool(raw, f"tools.{index}") for index, raw in enumerate(given))
    names = [tool.name for tool in tools]
    for index, name in enumerate(names):
        if name in names[:index]:
            raise BadRequest("two tools have the same name", param=f"tools.{index}.name")
    return tools


def shown_tool(tool: Tool) -> dict[str, Any]:
    """A tool as the response repeats it."""
    return {
        "type": "function",
        "name": tool.name,
        "description": tool.description or None,
        "parameters": dict(tool.parameters),
        "strict": tool.strict,
    }


def choice_of(
    given: str | dict[str, Any] | None, tools: tuple[Tool, ...]
) -> tuple[tuple[Tool, ...], ToolChoice]:
    """The tools that are left to choose from, and how to choose.

    Raises: BadRequest, UnsupportedField.
    """
    if given is None:
        return tools, ToolChoice("auto")
    if isinstance(given, str):
        if given not in _WORDS:
            raise BadRequest(
                "tool_choice is none of its words",
                param="tool_choice",
                expected="auto, none, required or an object",
            )
        choice = ToolChoice(_WORDS[given])
    elif given.get("type") == "allowed_tools":
        tools, choice = _allowed(checked(_Allowed, given, "tool_choice"), tools)
    elif given.get("type") == "function":
        name = checked(_Named, given, "tool_choice").name
        _check_known(name, tools, "tool_choice.name")
        choice = ToolChoice("named", name)
    else:
        raise not_offered_type(given.get("type"), "tool_choice", ("function", "allowed_tools"))
    if choice.kind == "required" and not tools:
        raise BadRequest("tool_choice needs tools", param="tool_choice", hint="send tools")
    return tools, choice


def _tool(raw: dict[str, Any], place: str) -> Tool:
    if raw.get("type") != "function":
        raise not_offered_type(raw.get("type"), place, ("function",))
    tool = checked(_Function, raw, place)
    for name, value, field in (
        ("allowed_callers", tool.allowed_callers, _CALLERS),
        ("defer_loading", tool.defer_loading, _DEFER),
        ("async", tool.asynchronous, _ASYNC),
        ("output_schema", tool.output_schema, _OUTPUT_SCHEMA),
    ):
        refuse_unless_neutral(f"{place}.{name}", value, field)
    parameters = tool.parameters
    if parameters is None:
        parameters = {"type": "object", "properties": {}}
    return Tool(
        name=tool.name,
        description=tool.description or "",
        parameters=parameters,
        strict=tool.strict is True,
    )


def _allowed(allowed: _Allowed, tools: tuple[Tool, ...]) -> tuple[tuple[Tool, ...], ToolChoice]:
    names = set()
    for index, raw in enumerate(allowed.tools):
        place = f"tool_choice.tools.{index}"
        if raw.get("type") != "function":
            raise not_offered_type(raw.get("type"), place, ("function",))
        name = checked(_Named, raw, place).name
        _check_known(name, tools, f"{place}.name")
        names.add(name)
    return tuple(tool for tool in tools if tool.name in names), ToolChoice(allowed.mode)


def _check_known(name: str, tools: tuple[Tool, ...], param: str) -> None:
    if all(tool.name != name for tool in tools):
        raise BadRequest(
            "tool_choice names a tool that is not among tools", param=param, value=name
        )
