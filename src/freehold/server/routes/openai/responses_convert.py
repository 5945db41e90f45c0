"""From a request and the items before it to an `Ask`, and to the response that repeats it.

Room: server. Knows items, messages and fields; must not know the store or the runtime.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from freehold.engine.sampler import Sampling
from freehold.errors import BadRequest, BadSchema, RequestError
from freehold.server.ask import Ask
from freehold.server.routes.openai.messages import with_system_text
from freehold.server.routes.openai.responses_items import Item, text_of
from freehold.server.routes.openai.responses_schema import CreateBody, PromptBody
from freehold.server.routes.openai.responses_tools import choice_of, shown_tool, tools_of

if TYPE_CHECKING:
    from freehold.server.resident import Resident

__all__ = ["ask_of", "fresh_response", "messages_of", "named_as_here"]

Message = dict[str, Any]

# What an `Ask` calls what this interface calls otherwise.
_NAMES = {
    "logprobs": "top_logprobs",
    "max_tokens": "max_output_tokens",
    "messages": "input",
    "prompt": "input",
    "response_format": "text.format",
    "thinking": "reasoning.effort",
}


def ask_of(body: PromptBody, items: Sequence[Item], resident: Resident) -> Ask:
    """What the model is asked: the items, oldest first, after this request's own instructions.

    Raises: BadRequest, UnsupportedField, naming the field.
    """
    messages = messages_of(items)
    if body.instructions:
        messages = ({"role": "system", "content": body.instructions}, *messages)
    form = body.text.format if body.text else None
    if form is not None and form.description:
        messages = with_system_text(messages, f"The answer is JSON: {form.description}")
    tools, choice = choice_of(body.tool_choice, tools_of(body.tools or ()))
    thinking, variables = _thinking(body, resident)
    ask = Ask(
        model=resident.name,
        messages=messages,
        tools=tools,
        tool_choice=choice,
        parallel_tool_calls=body.parallel_tool_calls is not False,
        response_format=body.wanted(),
        thinking=thinking,
        template_variables=variables,
    )
    if not isinstance(body, CreateBody):
        return ask
    return replace(
        ask,
        sampling=body.sampling(),
        unsaid=body.unsaid(),
        max_tokens=body.max_output_tokens,
        logprobs=body.logprobs,
    )


@contextmanager
def named_as_here(ask: Ask) -> Iterator[None]:
    """Lets an error of the runtime name the field as this interface does. Mutates: the error."""
    try:
        yield
    except RequestError as error:
        if error.param is None and isinstance(error, BadSchema):
            # Only tools' own schemas come with their name.
            error.param = "tools" if ask.response_format is None else "response_format"
        if error.param is not None:
            name, _, rest = error.param.partition(".")
            # A message's place is not that of the items it was made of.
            kept = f".{rest}" if rest and name not in _NAMES else ""
            error.param = _NAMES.get(name, name) + kept
        raise


def _thinking(body: PromptBody, resident: Resident) -> tuple[bool | None, dict[str, Any]]:
    """Whether to think, and how hard for a template that knows levels."""
    effort = body.reasoning.effort if body.reasoning else None
    if effort is None:
        return None, {}
    template = resident.template
    levels = template is not None and "reasoning_effort" in template.source
    return effort != "none", {"reasoning_effort": effort} if levels and effort != "none" else {}


def fresh_response(
    body: CreateBody, response_id: str, model: str, drawn: Sampling
) -> dict[str, Any]:
    """The response before anything was generated. Units: `created_at` in seconds since 1970."""
    text, reasoning = body.text, body.reasoning
    form = text.format if text else None
    shown = form.model_dump(by_alias=True, exclude_none=True) if form else {"type": "text"}
    return {
        "id": response_id,
        "object": "response",
        "created_at": int(time.time()),
        "status": "in_progress",
        "background": False,
        "completed_at": None,
        "error": None,
        "incomplete_details": None,
        "instructions": body.instructions,
        "max_output_tokens": body.max_output_tokens,
        "max_tool_calls": None,
        "metadata": body.metadata or {},
        "model": model,
        "output": [],
        "parallel_tool_calls": body.parallel_tool_calls is not False,
        "previous_response_id": body.previous_response_id,
        "prompt_cache_key": body.prompt_cache_key,
        "reasoning": {"effort": reasoning.effort if reasoning else None, "summary": None},
        "safety_identifier": body.safety_identifier,
        "service_tier": "default",
        "store": body.stores,
        "temperature": drawn.temperature,
        "text": {"format": shown, "verbosity": "medium"},
        "tool_choice": "auto" if body.tool_choice is None else body.tool_choice,
        "tools": [shown_tool(tool) for tool in tools_of(body.tools or ())],
        "top_logprobs": body.top_logprobs or 0,
        "top_p": drawn.top_p if body.top_p is None else body.top_p,
        "truncation": "disabled",
        "usage": None,
        "user": body.user,
    }


def messages_of(items: Sequence[Item]) -> tuple[Message, ...]:
    """Items as the messages that chat templates expect.

    What an assistant reasons, says and calls in a row is one message.

    Raises: BadRequest for a call without its output, an output without its call, or a call whose
    arguments are no JSON object.
    """
    turns = _Turns()
    for item in items:
        match item["type"]:
            case "message" if item["role"] == "assistant":
                turns.say(text_of(item))
            case "message":
                # What OpenAI renamed to developer is the system message to every template.
                role = "system" if item["role"] == "developer" else item["role"]
                turns.add({"role": role, "content": text_of(item)})
            case "reasoning":
                turns.reason(text_of(item))
            case "function_call":
                turns.call(item)
            case _:
                turns.result(item)
    return turns.finish()


class _Turns:
    """Messages under construction; `_open` is the assistant's that may still grow."""

    def __init__(self) -> None:
        self._done: list[Message] = []
        self._open: Message | None = None
        self._unanswered: dict[str, str] = {}

    def add(self, message: Message) -> None:
        """A whole message of somebody else."""
        self._check_answered()
        self._open = None
        self._done.append(message)

    def reason(self, text: str) -> None:
        """The assistant reasons: the beginning of its message, unless its calls are still open."""
        message = self._growing() or self._new()
        earlier = message.get("reasoning_content")
        message["reasoning_content"] = f"{earlier}\n{text}" if earlier else text

    def say(self, text: str) -> None:
        """The assistant speaks; once more without a call is a message of its own."""
        message = self._growing() or self._open
        if message is None or (message["content"] and not self._unanswered):
            message = self._new()
        message["content"] = f"{message['content']}\n{text}" if message["content"] else text

    def call(self, item: Mapping[str, Any]) -> None:
        """The assistant calls a function."""
        message = self._open or self._new()
        if item["call_id"] in self._unanswered:
            raise BadRequest("two function calls in a row have the same call_id", param="input")
        self._unanswered[item["call_id"]] = item["name"]
        function = {"name": item["name"], "arguments": _arguments(item)}
        call = {"id": item["call_id"], "type": "function", "function": function}
        message.setdefault("tool_calls", []).append(call)

    def result(self, item: Mapping[str, Any]) -> None:
        """A function's output, which answers a call."""
        name = self._unanswered.pop(item["call_id"], None)
        if name is None:
            raise BadRequest(
                "a function_call_output must follow the function_call it answers",
                param="input",
                expected="the call_id of a call that has no output yet",
            )
        if item.get("name", name) != name:
            raise BadRequest("the output's name is not the called function's", param="input")
        self._open = None
        result = {"role": "tool", "tool_call_id": item["call_id"], "name": name}
        self._done.append({**result, "content": text_of(item)})

    def finish(self) -> tuple[Message, ...]:
        """All messages."""
        self._check_answered()
        return tuple(self._done)

    def _growing(self) -> Message | None:
        """The message whose calls wait for their outputs: nothing of the assistant can follow."""
        return self._open if self._unanswered else None

    def _new(self) -> Message:
        self._open = {"role": "assistant", "content": ""}
        self._done.append(self._open)
        return self._open

    def _check_answered(self) -> None:
        if self._unanswered:
            raise BadRequest(
                "every function_call must be followed by its function_call_output",
                param="input",
                found=f"{len(self._unanswered)} without one",
            )


def _arguments(item: Mapping[str, Any]) -> dict[str, Any]:
    # Some servers write a parameterless call with no arguments at all.
    if not item["arguments"].strip():
        return {}
    try:
        arguments = json.loads(item["arguments"])
    except (ValueError, RecursionError):
        arguments = None
    if not isinstance(arguments, dict):
        raise BadRequest(
            "a function_call's arguments are not a JSON object",
            param="input",
            expected="a JSON object",
            hint="a call that was cut off cannot be continued",
        )
    return arguments
