"""What each field of `/api/chat` and `/api/generate` means: honoured, or refused by name.

Room: server. Pure but for `fitted`, which asks the resident how long a prompt is.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from freehold.chat.tools import ResponseFormat, Tool
from freehold.errors import BadRequest, PromptTooLong, UnsupportedField
from freehold.server.ask import Ask
from freehold.server.naming import named_as
from freehold.server.routes.ollama.names import ref_of
from freehold.server.routes.ollama.options import (
    NAMES,
    max_tokens_of,
    refuse_options,
    sampling_of,
    unsaid_in,
)
from freehold.server.routes.ollama.requests import ChatBody, GenerateBody, Options, ToolForm
from freehold.server.routes.ollama.turns import messages_of

if TYPE_CHECKING:
    from freehold.server.resident import Resident

__all__ = ["ask_of", "fitted", "generate_ask"]

_EFFORT = "reasoning_effort"

# Fields of `/api/generate` that ask for what text models on templates of their own cannot give.
_GENERATE_REFUSED = {
    "suffix": "the model continues text, it does not fill gaps",
    "template": "the model's own template is used; set raw to send a finished prompt",
    "context": "send the conversation to /api/chat; its prompt is cached",
    "images": "the model reads text",
    "width": "the model writes text",
    "height": "the model writes text",
    "steps": "the model writes text",
}


def ask_of(body: ChatBody) -> Ask | None:
    """The request to answer; None when there is no message, and only loading is wanted.

    Raises: UnsupportedField, BadRequest, BadSampling, each naming its field.
    """
    ask = _answered(body)
    if not body.messages:
        return None
    tools = tuple(_tool(tool, f"tools.{i}") for i, tool in enumerate(body.tools or ()))
    _tell_apart(tools)
    last = body.messages[-1]
    return replace(
        ask,
        messages=tuple(messages_of(body.messages)),
        tools=tools,
        continue_final_message=last.role == "assistant",
    )


def generate_ask(body: GenerateBody) -> Ask | None:
    """The request to answer; None when there is no prompt, and only loading is wanted.

    Raises: UnsupportedField, BadRequest, BadSampling, each naming its field.
    """
    ask = _answered(body)
    for name, hint in _GENERATE_REFUSED.items():
        if getattr(body, name):
            raise UnsupportedField(f"{name} is not offered", param=name, hint=hint)
    if not body.prompt:
        return None
    if body.raw:
        for name in ("system", "think"):
            if getattr(body, name):
                raise BadRequest(f"{name} has no place in a raw prompt", param=name)
        return replace(ask, prompt=body.prompt, thinking=None)
    system = [{"role": "system", "content": body.system}] if body.system else []
    return replace(ask, messages=(*system, {"role": "user", "content": body.prompt}))


def _answered(body: ChatBody | GenerateBody) -> Ask:
    """The fields that both share."""
    options = body.options or Options()
    refuse_options(options)
    for name, hint in (
        ("truncate", "nothing is cut off silently; send less"),
        ("shift", "nothing is cut off silently; the answer ends with the context"),
        ("debug_render_only", "use /tokenize"),
    ):
        if getattr(body, name):
            raise UnsupportedField(f"{name} is not offered", param=name, hint=hint)
    if body.top_logprobs and not body.logprobs:
        raise BadRequest("top_logprobs needs logprobs", param="top_logprobs")
    if "" in (options.stop or ()):
        raise BadRequest("a stop text is empty", param="options.stop")
    level = body.think if isinstance(body.think, str) else None
    with named_as(NAMES):
        sampling = sampling_of(options)
    return Ask(
        model=ref_of(body.model),
        sampling=sampling,
        unsaid=unsaid_in(options),
        max_tokens=max_tokens_of(options),
        stop=tuple(options.stop or ()),
        response_format=_format(body.format),
        logprobs=(body.top_logprobs or 0) if body.logprobs else None,
        thinking=None if body.think is None else bool(body.think),
        template_variables={_EFFORT: level} if level else {},
    )


def _format(asked: str | dict[str, Any] | None) -> ResponseFormat | None:
    if isinstance(asked, dict):
        return ResponseFormat(kind="json_schema", schema=asked)
    return ResponseFormat(kind="json_object") if asked else None


def _tool(form: ToolForm, param: str) -> Tool:
    if form.items is not None:
        raise UnsupportedField("a function has no items", param=f"{param}.items")
    function = form.function
    # As the interface has it, a function without parameters takes none.
    parameters = function.parameters or {"type": "object", "properties": {}}
    return Tool(name=function.name, description=function.description, parameters=parameters)


def _tell_apart(tools: tuple[Tool, ...]) -> None:
    names = [tool.name for tool in tools]
    for i, name in enumerate(names):
        if name in names[:i]:
            raise BadRequest("two tools have one name", param=f"tools.{i}.function.name")


async def fitted(ask: Ask, resident: Resident, num_ctx: int | None) -> Ask:
    """The request within `num_ctx` tokens of prompt and answer together.

    Raises: UnsupportedField when the model's context is smaller, or when its template knows no
    level of thinking; PromptTooLong when the two do not fit.
    """
    template = resident.template
    if ask.template_variables and (template is None or _EFFORT not in template.source):
        raise UnsupportedField(
            "this model's template knows no levels of thinking",
            param="think",
            expected="true or false",
        )
    if num_ctx is None:
        return ask
    if not 1 <= num_ctx <= resident.context_tokens:
        raise UnsupportedField(
            f"the context is {resident.context_tokens} tokens and cannot be {num_ctx}",
            param="options.num_ctx",
            value=num_ctx,
            expected=f"1 to {resident.context_tokens}",
            found=str(num_ctx),
        )
    prompt = len(await asyncio.to_thread(resident.prompt, ask))
    wanted = ask.max_tokens or 1
    if prompt + wanted > num_ctx:
        raise PromptTooLong(
            f"options.num_ctx is {num_ctx}, and the request needs {prompt + wanted} tokens: "
            f"{prompt} of the prompt and {wanted} for the answer",
            param="options.num_ctx",
            value=prompt + wanted,
            hint="raise num_ctx or send less; nothing is cut off silently",
        )
    return replace(ask, max_tokens=ask.max_tokens or num_ctx - prompt)
