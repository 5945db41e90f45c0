"""POST /tokenize and /detokenize, GET /tokenizer_info, in vLLM's form.

Room: server. Knows tokenizers through their resident; must not know vocabularies.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from fastapi import APIRouter
from pydantic import Field

from freehold.errors import BadRequest, UnsupportedField
from freehold.server.ask import Ask
from freehold.server.context import Context, House
from freehold.server.http_errors import OPENAPI_ERRORS
from freehold.server.routes.openai.chat_form import (
    TemplateVariables,
    check_names,
    continues,
    template_choices,
)
from freehold.server.routes.openai.forms import Body, NotOffered
from freehold.server.routes.openai.messages import MessageForm, template_messages
from freehold.server.routes.openai.sampling import TokenId
from freehold.server.routes.openai.tooling import MAX_TOOLS, FunctionToolForm, tools_and_choice

if TYPE_CHECKING:
    from freehold.server.resident import Resident

__all__ = [
    "DetokenizeBody",
    "TokenizeBody",
    "detokenize",
    "router",
    "tokenize",
    "tokenizer_info",
]

router = APIRouter(responses=OPENAPI_ERRORS, tags=["tokens"])

_MAX_TOKENS = 1 << 20

ModelName = Annotated[str, Field(min_length=1, max_length=512)]


class TokenizeBody(Body):
    """A text, or a conversation as its template writes it."""

    not_offered: ClassVar = {
        "chat_template": NotOffered("the model's own template is used"),
        "mm_processor_kwargs": NotOffered("the model reads text only"),
    }
    model: ModelName | None = Field(None, description="May be left out when one is loaded.")
    prompt: str | None = None
    messages: Annotated[list[MessageForm], Field(min_length=1, max_length=4096)] | None = None
    add_special_tokens: bool | None = Field(
        None, description="Whether a text begins as the model's file asks. Default true."
    )
    return_token_strs: bool | None = None
    add_generation_prompt: bool | None = None
    continue_final_message: bool | None = None
    chat_template_kwargs: TemplateVariables | None = None
    tools: Annotated[list[FunctionToolForm], Field(max_length=MAX_TOOLS)] | None = None


class DetokenizeBody(Body):
    """Tokens to turn back into their text."""

    model: ModelName | None = Field(None, description="May be left out when one is loaded.")
    tokens: Annotated[list[TokenId], Field(max_length=_MAX_TOKENS)]


@router.post("/tokenize")
async def tokenize(body: TokenizeBody, ctx: Context) -> dict[str, Any]:
    """The tokens that a completion or a chat with this input would begin with."""
    resident = await ctx.house.residents.chat(body.model or _only_model(ctx.house))
    tokens = await asyncio.to_thread(_tokens, body, resident)
    strings = [resident.tokenizer.token(t) for t in tokens] if body.return_token_strs else None
    return {
        "count": len(tokens),
        "max_model_len": resident.context_tokens,
        "tokens": tokens,
        "token_strs": strings,
    }


@router.post("/detokenize")
async def detokenize(body: DetokenizeBody, ctx: Context) -> dict[str, str]:
    """The text of the tokens, control tokens written out."""
    resident = await ctx.house.residents.chat(body.model or _only_model(ctx.house))
    vocab_size = resident.tokenizer.vocab_size
    for at, token in enumerate(body.tokens):
        if token >= vocab_size:
            raise BadRequest(
                "the model does not have this token",
                param=f"tokens.{at}",
                value=token,
                expected=f"0 to {vocab_size - 1}",
                found=str(token),
            )
    decode = resident.tokenizer.decode
    return {"prompt": await asyncio.to_thread(decode, body.tokens, skip_special=False)}


@router.get("/tokenizer_info")
async def tokenizer_info(ctx: Context) -> dict[str, Any]:
    """What a harness asks of a tokenizer: its special tokens, and the chat template's source."""
    resident = await ctx.house.residents.chat(_only_model(ctx.house))
    tokenizer = resident.tokenizer
    named = {"bos_token": tokenizer.bos_id, "eos_token": tokenizer.eos_id}
    texts = {name: None if at is None else tokenizer.token(at) for name, at in named.items()}
    return {
        "tokenizer_class": "FreeholdTokenizer",
        "model": resident.name,
        "model_max_length": resident.context_tokens,
        **texts,
        "pad_token": texts["eos_token"],
        "chat_template": None if resident.template is None else resident.template.source,
    }


def _only_model(house: House) -> str:
    loaded = [m.card.id for m in house.residents.loaded() if m.card.kind == "chat"]
    if not loaded:
        known = (card for card in house.residents.cards() if card.parent is None)
        loaded = [card.id for card in known if card.kind == "chat"]
    if len(loaded) != 1:
        raise BadRequest(
            "the model has to be named unless exactly one is loaded, or there is only one",
            param="model",
            found=f"{len(loaded)} models",
        )
    return loaded[0]


def _tokens(body: TokenizeBody, resident: Resident) -> list[int]:
    if (body.prompt is None) == (body.messages is None):
        raise BadRequest("give prompt or messages, and not both", param="prompt")
    if body.prompt is not None:
        return _of_prompt(body, body.prompt, resident)
    if body.add_special_tokens:
        raise UnsupportedField(
            "a conversation has the special tokens that its template writes",
            param="add_special_tokens",
        )
    ask = _conversation(body, body.messages or [], resident)
    check_names(ask, resident)
    return resident.prompt(ask)


def _of_prompt(body: TokenizeBody, prompt: str, resident: Resident) -> list[int]:
    for name in ("add_generation_prompt", "continue_final_message", "chat_template_kwargs"):
        if getattr(body, name):
            raise BadRequest(f"{name} goes with messages", param=name)
    if body.tools:
        raise BadRequest("tools go with messages", param="tools")
    # None: as the file asks, which is how a completion's prompt is read too.
    return resident.tokenizer.encode(
        prompt, add_bos=False if body.add_special_tokens is False else None
    )


def _conversation(body: TokenizeBody, messages: list[MessageForm], resident: Resident) -> Ask:
    tools, choice = tools_and_choice(body.tools or (), None)
    thinking, variables = template_choices(body.chat_template_kwargs or {}, resident)
    return Ask(
        model=resident.name,
        messages=template_messages(messages),
        tools=tools,
        tool_choice=choice,
        thinking=thinking,
        template_variables=variables,
        continue_final_message=continues(
            messages,
            add_prompt=body.add_generation_prompt,
            continue_final=body.continue_final_message,
        ),
    )
