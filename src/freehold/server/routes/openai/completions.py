"""POST /v1/completions, streaming and not.

Room: server. Writes events in OpenAI's older form; must not know how an answer is made.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Request
from starlette.responses import JSONResponse, Response

from freehold.server.ask import (
    Ask,
    Choice,
    Event,
    Finish,
    ReasoningDelta,
    TextDelta,
    TokenText,
    Usage,
)
from freehold.server.context import Asker, Context
from freehold.server.http_errors import OPENAPI_ERRORS
from freehold.server.presence import unless_gone
from freehold.server.routes.openai.chat import ANSWERED, CLIENT_LEFT, error_frame
from freehold.server.routes.openai.completions_form import CompletionBody, Wanted
from freehold.server.routes.openai.forms import naming
from freehold.server.routes.openai.replies import (
    DONE,
    Chunks,
    head_of,
    prompt_logprobs_of,
    total,
    usage_of,
)
from freehold.server.routes.openai.token_table import TokenTable
from freehold.server.routes.openai.waiting import collected, merged
from freehold.server.streams import stream

if TYPE_CHECKING:
    from freehold.server.answering import Answer
    from freehold.server.resident import Resident

__all__ = ["completions", "router"]

router = APIRouter(responses=OPENAPI_ERRORS, tags=["openai"])


@router.post("/v1/completions", response_model=None, responses=ANSWERED)
async def completions(body: CompletionBody, request: Request, ctx: Context) -> Response:
    """Continue one text or several."""
    resident = await ctx.house.residents.chat(body.model)
    asks = body.asks(resident)
    with naming({"messages": "prompt"}, form=body.structure_field()):
        echoes = await asyncio.to_thread(_echoes, asks, body.wanted(), resident)
        answers = await _begun(asks, resident, ctx.asker)
    writer = _Writer(body.wanted(), resident, asks[0].n, answers, echoes)
    head = head_of("cmpl", "text_completion", resident)
    if body.stream:
        chunks = Chunks(head, with_usage=body.wants_usage())
        frames = _frames(writer, chunks, with_usage=body.wants_usage())
        return stream(frames, on_error=error_frame(ctx.asker.request_id))
    done = await unless_gone(request, collected(answers))
    if done is None:
        return Response(status_code=CLIENT_LEFT)
    choices = [
        writer.whole(i, choice, whole.prompt_logprobs or ())
        for i, whole in enumerate(done)
        for choice in whole.choices
    ]
    usage = usage_of(writer.counted([whole.usage for whole in done]))
    return JSONResponse({**head, "choices": choices, "usage": usage})


async def _begun(asks: Sequence[Ask], resident: Resident, asker: Asker) -> list[Answer]:
    """All answers, or the first refusal of any; those before it are then closed."""
    async with AsyncExitStack() as stack:
        answers = []
        for ask in asks:
            answer = await resident.answer(ask, asker)
            stack.push_async_callback(answer.aclose)
            answers.append(answer)
        stack.pop_all()
    return answers


@dataclass(frozen=True)
class _Echo:
    """The prompt as it is given back: its text, and its first token, which no other predicts."""

    text: str = ""
    first: int | None = None


def _echoes(asks: Sequence[Ask], wanted: Wanted, resident: Resident) -> list[_Echo]:
    return [_echo(ask, wanted, resident) if wanted.echo else _Echo() for ask in asks]


def _echo(ask: Ask, wanted: Wanted, resident: Resident) -> _Echo:
    first = None if wanted.logprobs is None else resident.prompt(ask)[0]
    if isinstance(ask.prompt, str):
        return _Echo(ask.prompt, first)
    return _Echo(resident.tokenizer.decode(ask.prompt or ()), first)


@dataclass
class _Writer:
    """Writes the choices of all prompts, whole or in pieces; number them prompt by prompt."""

    wanted: Wanted
    resident: Resident
    n: int
    answers: Sequence[Answer]
    echoes: Sequence[_Echo]
    _tables: dict[int, TokenTable] = field(default_factory=dict)

    def whole(
        self, number: int, choice: Choice, prompt: Sequence[TokenText | None]
    ) -> dict[str, Any]:
        """A finished choice of the prompt `number`."""
        index = number * self.n + choice.index
        done = self._choice(index, self.echoes[number].text)
        done["finish_reason"] = choice.finish_reason if self.wanted.text else "length"
        done["stop_reason"] = choice.stop_sequence if self.wanted.text else None
        if self.wanted.text:
            done["text"] += choice.reasoning + choice.text
        if self.wanted.logprobs is not None:
            shown = [*(prompt if self.wanted.echo else ())]
            if self.wanted.text:
                # As elsewhere, the token that ended the text has its place, though no text.
                shown += [*choice.logprobs, *([choice.ended_by] if choice.ended_by else [])]
            done["logprobs"] = self._rows(index, shown)
        if self.wanted.prompt_logprobs is not None:
            done["prompt_logprobs"] = prompt_logprobs_of(
                [_fewer(token, self.wanted.prompt_logprobs) for token in prompt]
            )
        return done

    def opening(self, number: int, choice: int) -> dict[str, Any]:
        """The echo, as a choice's first piece."""
        index = number * self.n + choice
        piece = self._choice(index, self.echoes[number].text)
        if self.wanted.logprobs is not None:
            prompt = self.answers[number].prompt_logprobs
            assert prompt is not None, "the prompt's log probabilities come before its answer"
            piece["logprobs"] = self._rows(index, prompt)
        return piece

    def piece(self, number: int, event: Event) -> dict[str, Any] | None:
        """An event as a piece; None for one that is not shown."""
        match event:
            case TextDelta(choice, text, tokens) if self.wanted.text:
                index = number * self.n + choice
                piece = self._choice(index, text)
                if self.wanted.logprobs is not None:
                    piece["logprobs"] = self._rows(index, tokens)
                return piece
            case ReasoningDelta(choice, text) if self.wanted.text:
                return self._choice(number * self.n + choice, text)
            case Finish(choice, reason, stop_sequence, ended_by):
                shown, index = self.wanted.text, number * self.n + choice
                ended: dict[str, Any] = {
                    "finish_reason": reason if shown else "length",
                    "stop_reason": stop_sequence if shown else None,
                }
                if shown and ended_by is not None and self.wanted.logprobs is not None:
                    ended["logprobs"] = self._rows(index, [ended_by])
                return self._choice(index, "") | ended
            case _:
                return None

    def counted(self, usages: Sequence[Usage]) -> Usage:
        """All prompts together, without a token that was computed and not shown."""
        usage = total(usages)
        return usage if self.wanted.text else replace(usage, completion_tokens=0)

    def _rows(self, index: int, tokens: Sequence[TokenText | None]) -> dict[str, Any]:
        if index not in self._tables:
            alternatives = self.wanted.logprobs or 0
            tokenizer = self.resident.tokenizer
            self._tables[index] = TokenTable(
                tokenizer, alternatives, after_prompt=not self.wanted.echo
            )
        return self._tables[index].rows(tokens, self.echoes[index // self.n].first)

    def _choice(self, index: int, text: str) -> dict[str, Any]:
        return {"index": index, "text": text, "logprobs": None, "finish_reason": None}


def _fewer(token: TokenText | None, alternatives: int) -> TokenText | None:
    """With no more alternatives than were asked for; the echo may have needed more."""
    return None if token is None else replace(token, top=token.top[:alternatives])


async def _frames(
    writer: _Writer, chunks: Chunks, *, with_usage: bool
) -> AsyncGenerator[str, None]:
    """The events as chunks, as they come from all prompts."""
    begun: set[tuple[int, int]] = set()
    usages: list[Usage] = []
    events = merged(writer.answers)
    try:
        async for number, event in events:
            if isinstance(event, Usage):
                usages.append(event)
                continue
            if writer.wanted.echo and (number, event.choice) not in begun:
                begun.add((number, event.choice))
                yield chunks.of(writer.opening(number, event.choice))
            if (piece := writer.piece(number, event)) is not None:
                yield chunks.of(piece)
        if with_usage:
            yield chunks.last(writer.counted(usages))
        yield DONE
    finally:
        await events.aclose()
