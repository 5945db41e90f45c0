"""Tools and the choice among them, as chat completions write them.

Room: server. Turns them into `Tool` and `ToolChoice`; must not know dialects or constraints.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from freehold.chat.tools import Tool, ToolChoice
from freehold.errors import BadRequest, UnsupportedField
from freehold.server.routes.openai.forms import Body

__all__ = [
    "MAX_TOOLS",
    "AllowedForm",
    "ChoiceForm",
    "FunctionForm",
    "FunctionToolForm",
    "NamedForm",
    "ReferenceForm",
    "ToolChoiceField",
    "tools_and_choice",
]

MAX_TOOLS = 128

Name = Annotated[str, Field(pattern=r"^[a-zA-Z0-9_-]{1,64}$")]


class FunctionForm(Body):
    """A function, its arguments as a JSON Schema."""

    name: Name
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = Field(None, description="Enforce the schema of the arguments.")


class FunctionToolForm(Body):
    """A tool the model may call."""

    type: Literal["function", "custom"]
    function: FunctionForm | None = None
    custom: Any = None


class NamedForm(Body):
    """Only the name of a function."""

    name: Name


class ReferenceForm(Body):
    """One of the request's own tools, by its name."""

    type: Literal["function", "custom"]
    function: NamedForm | None = None
    custom: Any = None


class AllowedForm(Body):
    """Some of the request's tools, and whether one of them must be called."""

    mode: Literal["auto", "required"]
    tools: Annotated[list[ReferenceForm], Field(min_length=1, max_length=MAX_TOOLS)]


class ChoiceForm(Body):
    """A choice: one of three words, here as the type, or an object that names tools."""

    type: Literal["none", "auto", "required", "function", "allowed_tools", "custom"]
    function: NamedForm | None = None
    allowed_tools: AllowedForm | None = None
    custom: Any = None


def _as_choice(value: object) -> object:
    return {"type": value} if isinstance(value, str) else value


ToolChoiceField = Annotated[
    ChoiceForm,
    BeforeValidator(
        _as_choice, json_schema_input_type=Literal["none", "auto", "required"] | ChoiceForm
    ),
]


def tools_and_choice(
    forms: Sequence[FunctionToolForm], choice: ChoiceForm | None
) -> tuple[tuple[Tool, ...], ToolChoice]:
    """The tools that may be called, and how to choose.

    Raises: BadRequest, UnsupportedField, naming the field.
    """
    tools = tuple(_tool(form, f"tools.{i}") for i, form in enumerate(forms))
    names = [tool.name for tool in tools]
    if len(set(names)) < len(names):
        twice = next(i for i, name in enumerate(names) if name in names[:i])
        raise BadRequest("two tools have the same name", param=f"tools.{twice}.function.name")
    if choice is None:
        return tools, ToolChoice()
    if choice.type == "custom" or choice.custom is not None:
        raise _no_custom("tool_choice.type")
    given = {n for n in ("function", "allowed_tools") if getattr(choice, n) is not None}
    words = {"none", "auto", "required"}
    if given != {choice.type} - words:
        raise BadRequest(
            "a tool_choice has the field that its type names, and no other",
            param="tool_choice",
            expected=f"the type {choice.type}"
            + ("" if choice.type in words else ", and its field"),
            found=", ".join(sorted(given)) or "no other field",
        )
    if not tools and choice.type not in ("none", "auto"):
        raise BadRequest("tool_choice needs tools", param="tool_choice", hint="send tools")
    return _chosen(tools, choice)


def _tool(form: FunctionToolForm, at: str) -> Tool:
    if form.type == "custom" or form.custom is not None:
        raise _no_custom(f"{at}.type")
    if form.function is None:
        raise BadRequest("the tool has no function", param=f"{at}.function")
    function = form.function
    parameters = function.parameters
    if parameters is None:  # as the interface has it: a function without parameters
        parameters = {"type": "object", "properties": {}}
    if parameters.get("type", "object") != "object":
        raise BadRequest(
            "a function's parameters are an object",
            param=f"{at}.function.parameters.type",
            expected="object",
        )
    return Tool(
        name=function.name,
        description=function.description or "",
        parameters=parameters,
        strict=function.strict is True,
    )


def _chosen(tools: tuple[Tool, ...], choice: ChoiceForm) -> tuple[tuple[Tool, ...], ToolChoice]:
    match choice.type:
        case "none" | "auto" | "required" as word:
            return tools, ToolChoice(word)
        case "function":
            assert choice.function is not None, "checked before"
            _check_known(choice.function.name, tools, "tool_choice.function.name")
            return tools, ToolChoice("named", choice.function.name)
        case _:
            assert choice.allowed_tools is not None, "checked before"
            allowed = _allowed_names(choice.allowed_tools, tools)
            kept = tuple(tool for tool in tools if tool.name in allowed)
            return kept, ToolChoice(choice.allowed_tools.mode)


def _allowed_names(allowed: AllowedForm, tools: tuple[Tool, ...]) -> set[str]:
    names = set()
    for i, reference in enumerate(allowed.tools):
        at = f"tool_choice.allowed_tools.tools.{i}"
        if reference.type == "custom" or reference.custom is not None:
            raise _no_custom(f"{at}.type")
        if reference.function is None:
            raise BadRequest("the tool has no function", param=f"{at}.function")
        _check_known(reference.function.name, tools, f"{at}.function.name")
        names.add(reference.function.name)
    return names


def _check_known(name: str, tools: tuple[Tool, ...], param: str) -> None:
    if all(tool.name != name for tool in tools):
        raise BadRequest(
            "tool_choice names a tool that is not among tools", param=param, value=name
        )


def _no_custom(param: str) -> UnsupportedField:
    return UnsupportedField(
        "custom tools are not offered here", param=param, hint="use function tools"
    )
