"""What each field of a Messages request means: honoured in an `Ask`, or refused by name.

Room: server. Pure; must not know residents or answers.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import Any, NoReturn

from freehold.chat.tools import ResponseFormat, Tool, ToolChoice
from freehold.engine.sampler import Sampling
from freehold.errors import BadRequest, UnsupportedField
from freehold.server.ask import SUGGESTED, WINDOW, Ask
from freehold.server.routes.anthropic.requests import (
    AdaptiveThinking,
    CountBody,
    CustomTool,
    DisabledThinking,
    EnabledThinking,
    MessagesBody,
    OtherThinking,
    OtherTool,
    ToolChoiceAny,
    ToolChoiceAuto,
    ToolChoiceTool,
)
from freehold.server.routes.anthropic.turns import is_prefill, messages_of

__all__ = ["REFUSED", "ask_of", "counted", "thinking_budget"]

# Fields of the interface that mean nothing, or nothing true, on a machine of one's own.
REFUSED = {
    "billing_policy": "nothing is billed here",
    "compaction": "the conversation is the client's to shorten",
    "container": "no code runs on this server",
    "context_management": "the conversation is the client's to shorten",
    "diagnostics": "usage.cache_read_input_tokens says what the cache gave",
    "fallback_credit_token": "nothing is billed here",
    "fallbacks": "one model answers",
    "inference_geo": "the answer is computed on this machine",
    "mcp_servers": "connect the servers to the client, which runs the tools",
    "thread": "send the whole conversation",
}


def ask_of(body: MessagesBody) -> Ask:
    """The request to answer.

    Raises: UnsupportedField, BadRequest, BadSampling, each naming its field.
    """
    if body.max_tokens == 0:
        raise UnsupportedField(
            "the cache cannot be filled without an answer",
            param="max_tokens",
            value=0,
            expected="at least 1",
        )
    sampling = Sampling(
        temperature=1.0 if body.temperature is None else body.temperature,
        # The interface allows 0, the smallest nucleus there is: the likeliest token alone.
        top_p=1.0 if body.top_p is None else max(body.top_p, sys.float_info.min),
        top_k=body.top_k or 0,
    )
    said = {name for name in ("temperature", "top_k", "top_p") if getattr(body, name) is not None}
    return replace(
        counted(body),
        sampling=sampling,
        unsaid=(SUGGESTED | {WINDOW}) - said,
        max_tokens=body.max_tokens,
        stop=tuple(body.stop_sequences),
    )


def counted(body: CountBody) -> Ask:
    """The part of a request that its prompt depends on."""
    _refuse_fields(body)
    tools = tuple(_tool(tool, f"tools.{i}") for i, tool in enumerate(body.tools))
    _tell_apart(tools)
    choice = body.tool_choice
    parallel = not getattr(choice, "disable_parallel_tool_use", False)
    return Ask(
        model=body.model,
        messages=tuple(messages_of(body.system, body.messages)),
        tools=tools,
        tool_choice=_choice(body, tools),
        parallel_tool_calls=parallel,
        response_format=_format(body),
        thinking=_thinking(body),
        continue_final_message=is_prefill(body.messages),
    )


def thinking_budget(body: MessagesBody) -> int | None:
    """How many tokens the model may think for, where the request says so."""
    return body.thinking.budget_tokens if isinstance(body.thinking, EnabledThinking) else None


def _refuse_fields(body: CountBody) -> None:
    for name, hint in REFUSED.items():
        value = getattr(body, name, None)
        if value is not None and value not in ([], {}):
            raise UnsupportedField(f"{name} is not offered", param=name, hint=hint)
    if body.speed == "fast":
        raise UnsupportedField("there is one speed", param="speed", value="fast")


def _tool(tool: CustomTool | OtherTool, param: str) -> Tool:
    if isinstance(tool, OtherTool):
        raise UnsupportedField(
            f"the tool type {tool.type!r} is not offered",
            param=f"{param}.type",
            value=tool.type,
            expected="a tool of your own, with a name and an input_schema",
        )
    if tool.allowed_callers not in (None, [], ["direct"]):
        _refuse(f"{param}.allowed_callers", "tools are called by the model only")
    if tool.defer_loading:
        _refuse(f"{param}.defer_loading", "every tool is shown to the model")
    if tool.input_examples:
        _refuse(f"{param}.input_examples", "describe the input in description and input_schema")
    if tool.input_schema.get("type") != "object":
        raise BadRequest(
            "a tool's input is an object",
            param=f"{param}.input_schema.type",
            expected="'object'",
        )
    return Tool(
        name=tool.name,
        description=tool.description,
        parameters=tool.input_schema,
        strict=tool.strict,
    )


def _tell_apart(tools: tuple[Tool, ...]) -> None:
    names: set[str] = set()
    for i, tool in enumerate(tools):
        if tool.name in names:
            raise BadRequest("two tools have one name", param=f"tools.{i}.name", value=tool.name)
        names.add(tool.name)


def _choice(body: CountBody, tools: tuple[Tool, ...]) -> ToolChoice:
    choice = body.tool_choice
    if choice is None or isinstance(choice, ToolChoiceAuto):
        return ToolChoice("auto")
    if isinstance(choice, ToolChoiceAny | ToolChoiceTool) and not tools:
        raise BadRequest("there are no tools to choose from", param="tool_choice")
    if isinstance(choice, ToolChoiceAny):
        return ToolChoice("required")
    if isinstance(choice, ToolChoiceTool):
        if choice.name not in {tool.name for tool in tools}:
            raise BadRequest("no tool has this name", param="tool_choice.name", value=choice.name)
        return ToolChoice("named", choice.name)
    return ToolChoice("none")


def _format(body: CountBody) -> ResponseFormat | None:
    config = body.output_config
    asked = body.output_format
    if config is not None:
        if config.effort not in (None, "high"):
            # "high" is the interface's own default: what a model does unasked.
            _refuse("output_config.effort", "a model's effort cannot be set", value=config.effort)
        if config.task_budget is not None:
            _refuse("output_config.task_budget", "max_tokens bounds the answer")
        if config.format is not None and asked is not None:
            raise BadRequest("the format is given twice", param="output_format")
        asked = config.format or asked
    return None if asked is None else ResponseFormat(kind="json_schema", schema=asked.schema_)


def _thinking(body: CountBody) -> bool | None:
    thinking = body.thinking
    if thinking is None:
        return None
    if isinstance(thinking, DisabledThinking):
        return False
    if isinstance(thinking, OtherThinking):
        _refuse("thinking.type", "a model thinks before it answers", value=thinking.type)
    if isinstance(thinking, EnabledThinking | AdaptiveThinking):
        if thinking.display not in (None, "summarized"):
            _refuse("thinking.display", "thinking is always shown", value=thinking.display)
        if thinking.block_binding is not None:
            _refuse("thinking.block_binding", "blocks are not bound to a key")
    if isinstance(thinking, EnabledThinking):
        if isinstance(body, MessagesBody) and thinking.budget_tokens >= body.max_tokens:
            raise BadRequest(
                "the budget leaves no room for an answer",
                param="thinking.budget_tokens",
                value=thinking.budget_tokens,
                expected=f"less than max_tokens, {body.max_tokens}",
            )
        return True
    return None


def _refuse(param: str, message: str, *, value: Any = None) -> NoReturn:
    raise UnsupportedField(message, param=param, value=value)
