"""From an `Ask` to the events of its answer.

Room: server. Joins templates, dialects, constraints and the engine; must not know any surface.
Everything that can be refused is refused in `begin`, before the first event.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from freehold.chat.constraints import constraint_for
from freehold.chat.prompts import RenderedPrompt, prompt_tokens
from freehold.engine.client import Outputs
from freehold.engine.request import Output, Request, TokenLogprob
from freehold.errors import BadPrompt, BadRequest, FreeholdError, PromptTooLong, WrongTask
from freehold.server.ask import Ask, Choice, Collected, Event, TokenText, Usage
from freehold.server.choices import ChoiceStream, collect_choice

if TYPE_CHECKING:
    from freehold.server.context import Asker
    from freehold.server.resident import Resident
    from freehold.tokenizer import Tokenizer

__all__ = ["Answer", "begin", "render", "token_texts"]

MAX_CHOICES = 128
MAX_LOGPROBS = 64
# Far beyond what anybody asks for; with more, one request would cost the others their time.
MAX_MESSAGES = 1 << 14
MAX_TOOLS = 512
MAX_STOPS = 64
MAX_STOP_CHARS = 1000

_numbers = itertools.count(1)


def render(resident: Resident, ask: Ask) -> RenderedPrompt:
    """The prompt's tokens, checked against the context.

    Raises: TemplateError, WrongTask, BadPrompt, BadRequest, PromptTooLong.
    """
    _check_sizes(ask)
    if ask.prompt is not None:
        ids = ask.prompt
        tokens = resident.tokenizer.encode(ids) if isinstance(ids, str) else list(ids)
        rendered = RenderedPrompt(tokens=tokens, tail="", starts_in_reasoning=False)
    elif resident.template is None:
        raise WrongTask(
            "this model has no chat template",
            param="messages",
            value=resident.name,
            hint="send the text to continue as a prompt; base models know no conversation",
        )
    else:
        rendered = prompt_tokens(
            resident.template,
            resident.tokenizer,
            _with_system(ask.messages or (), resident.system),
            dialect=resident.dialect,
            tools=ask.tools,
            tool_choice=ask.tool_choice,
            thinking=ask.thinking,
            variables=ask.template_variables,
            continue_final_message=ask.continue_final_message,
        )
    if not rendered.tokens:
        raise BadPrompt("the prompt is empty", expected="at least one token", found="none")
    _check_length(resident, len(rendered.tokens), ask.max_tokens)
    return rendered


def _check_sizes(ask: Ask) -> None:
    sizes = {
        "messages": (len(ask.messages or ()), MAX_MESSAGES, "messages"),
        "tools": (len(ask.tools), MAX_TOOLS, "tools"),
        "stop": (len(ask.stop), MAX_STOPS, "stop texts"),
    }
    for name, (count, most, what) in sizes.items():
        if count > most:
            raise BadRequest(
                f"there are too many {what}",
                param=name,
                value=count,
                expected=f"at most {most}",
                found=str(count),
            )
    longest = max(map(len, ask.stop), default=0)
    if longest > MAX_STOP_CHARS:
        raise BadRequest(
            "a stop text is too long",
            param="stop",
            value=longest,
            expected=f"at most {MAX_STOP_CHARS} characters",
            found=str(longest),
        )


def _with_system(
    messages: Sequence[Mapping[str, Any]], suggested: str | None
) -> Sequence[Mapping[str, Any]]:
    """The messages, led by the catalogue's system message where they have none of their own."""
    if suggested is None or (messages and messages[0].get("role") in ("system", "developer")):
        return messages
    return [{"role": "system", "content": suggested}, *messages]


def _check_length(resident: Resident, prompt: int, answer: int | None) -> None:
    room = answer if answer is not None else 1
    if prompt + room <= resident.context_tokens:
        return
    raise PromptTooLong(
        f"this model's context is {resident.context_tokens} tokens, and the request needs "
        f"{prompt + room}: {prompt} of the prompt and {room} for the answer",
        param="messages",
        value=prompt + room,
        expected=f"at most {resident.context_tokens} tokens in all",
        found=f"{prompt} tokens of prompt and {room} for the answer",
        hint="shorten the prompt or ask for a shorter answer; nothing is cut off silently",
    )


async def begin(resident: Resident, ask: Ask, asker: Asker) -> Answer:
    """Checks, renders and submits a request; the answer's events follow.

    Raises: every refusal there is, EngineDied, QueueFull, ModelLoading.
    """
    _check_counts(ask)
    started = time.monotonic()
    request, rendered = await asyncio.to_thread(_prepared, resident, ask, asker)
    outputs = Outputs(resident.engine)
    answer = Answer(resident, ask, asker, rendered, request, outputs, started)
    try:
        await outputs.submit(request)
    except BaseException:
        answer.refused()
        raise
    return answer


def _check_counts(ask: Ask) -> None:
    limits = {
        "n": (ask.n, 1, MAX_CHOICES),
        "max_tokens": (1 if ask.max_tokens is None else ask.max_tokens, 1, 1 << 31),
        "logprobs": (ask.logprobs or 0, 0, MAX_LOGPROBS),
        "prompt_logprobs": (ask.prompt_logprobs or 0, 0, MAX_LOGPROBS),
    }
    for name, (value, low, high) in limits.items():
        if not low <= value <= high:
            raise BadRequest(
                f"{name} is out of range",
                param=name,
                value=value,
                expected=f"a whole number from {low} to {high}",
                found=str(value),
            )


def _prepared(resident: Resident, ask: Ask, asker: Asker) -> tuple[Request, RenderedPrompt]:
    """The engine's request; in a thread of its own, because rendering and grammars take time."""
    rendered = render(resident, ask)
    constraint = constraint_for(
        dialect=resident.dialect,
        tokenizer=resident.tokenizer,
        tools=ask.tools,
        tool_choice=ask.tool_choice,
        parallel=ask.parallel_tool_calls,
        response_format=ask.response_format,
        reasoning=resident.reasoning if ask.messages is not None else None,
        starts_in_reasoning=rendered.starts_in_reasoning,
    )
    stop_ids = set(ask.stop_token_ids)
    if not ask.ignore_eos:
        stop_ids |= resident.tokenizer.eos_ids
    for token in [*ask.stop_token_ids, *(token for token, _ in ask.sampling.logit_bias)]:
        if not 0 <= token < resident.vocabulary:
            raise BadRequest(
                "a token id is outside the vocabulary",
                value=token,
                expected=f"0 to {resident.vocabulary - 1}",
                found=str(token),
            )
    request = Request(
        id=f"{asker.request_id}-{next(_numbers)}",
        tokens=list(rendered.tokens),
        max_tokens=ask.max_tokens or resident.context_tokens - len(rendered.tokens),
        sampling=resident.drawn(ask),
        stop_ids=frozenset(stop_ids),
        logprobs=ask.logprobs,
        prompt_logprobs=ask.prompt_logprobs,
        grammar=None if constraint is None else constraint.grammar,
        # What waits for others to leave may wait for long.
        deadline_s=None if asker.background else _sooner(ask.deadline_s, resident.request_s),
        owner=asker.key_id,
        adapter=resident.adapter,
        background=asker.background,
    )
    return request, rendered


def _sooner(asked_s: float | None, allowed_s: float | None) -> float | None:
    given = [seconds for seconds in (asked_s, allowed_s) if seconds is not None]
    return min(given, default=None)


@dataclass
class _Progress:
    """What one choice cost so far."""

    stream: ChoiceStream
    queue_s: float = 0.0
    last: float = 0.0
    done: bool = False


class Answer:
    """The events of one request; iterate it, or `collect` it, and close it in any case."""

    def __init__(  # noqa: PLR0913, PLR0917 - made in one place, `begin`
        self,
        resident: Resident,
        ask: Ask,
        asker: Asker,
        rendered: RenderedPrompt,
        request: Request,
        outputs: Outputs,
        started: float,
    ) -> None:
        self.prompt_tokens = len(request.tokens)
        self.prompt_logprobs: tuple[TokenText | None, ...] | None = None
        self._resident, self._ask, self._asker = resident, ask, asker
        self._request, self._outputs, self._started = request, outputs, started
        self._choices = [_Progress(ChoiceStream(i, resident, ask, rendered)) for i in range(ask.n)]
        self._cached_tokens = 0
        self._first: float | None = None
        self._accounted = False
        resident.opened()
        self._events = self._run()

    def __aiter__(self) -> AsyncIterator[Event]:
        return self._events

    async def __anext__(self) -> Event:
        return await anext(self._events)

    async def collect(self) -> Collected:
        """Every choice whole. Raises: what ended the answer early."""
        try:
            events = [event async for event in self._events]
        finally:
            await self.aclose()
        usage = events.pop()
        assert isinstance(usage, Usage), "an answer ended without its usage"
        choices: tuple[Choice, ...] = tuple(collect_choice(i, events) for i in range(self._ask.n))
        return Collected(choices=choices, usage=usage, prompt_logprobs=self.prompt_logprobs)

    def cancel(self) -> None:
        """Gives up the answer; its tokens so far still count."""
        self._outputs.cancel()

    def refused(self) -> None:
        """Takes back an answer that never began: it costs nothing and holds its model no more."""
        self._accounted = True
        self._resident.closed()

    async def aclose(self) -> None:
        """Ends the answer, whether or not it was read to its end. May be called again."""
        self.cancel()
        with suppress(RuntimeError):  # it is being read at this moment: its own end closes it
            await self._events.aclose()
        self._account("cancelled")

    async def _run(self) -> AsyncGenerator[Event, None]:
        try:
            while not all(choice.done for choice in self._choices):
                branch, output = await self._outputs.next()
                if output.error is not None:
                    raise output.error
                if self._first is None:
                    await self._begun(output)
                for event in self._take(branch, output):
                    yield event
            usage = self._usage()
            self._account("stop")
            yield usage
        except FreeholdError:
            self._account("error")
            raise
        finally:
            self._outputs.cancel()

    async def _begun(self, output: Output) -> None:
        """The first token is there: the prompt is cached, and the other choices may share it."""
        self._first = time.monotonic()
        self._cached_tokens = output.cached_tokens
        self._resident.observer.on_first_token(self._resident.name, self._first - self._started)
        if output.prompt_logprobs is not None:
            texts = self._resident.token_texts
            self.prompt_logprobs = tuple(
                None if note is None else texts(note) for note in output.prompt_logprobs
            )
        for branch in range(1, self._ask.n):
            name = f"{self._request.id}.{branch}"
            await self._outputs.submit(
                replace(self._request, id=name, branch=branch, prompt_logprobs=None)
            )

    def _take(self, branch: int, output: Output) -> list[Event]:
        choice = self._choices[branch]
        now = time.monotonic()
        for _ in output.tokens if choice.last else ():
            gap_s = (now - choice.last) / len(output.tokens)
            self._resident.observer.on_token_gap(self._resident.name, gap_s)
        choice.last = now
        choice.queue_s = choice.queue_s or output.queue_s
        events = choice.stream.take(output)
        if choice.stream.finished:
            choice.done = True
            self._outputs.cancel(branch)
        return events

    def _usage(self) -> Usage:
        first = self._first or time.monotonic()
        return Usage(
            prompt_tokens=self.prompt_tokens,
            completion_tokens=sum(choice.stream.tokens for choice in self._choices),
            cached_tokens=self._cached_tokens,
            reasoning_tokens=sum(choice.stream.reasoning_tokens for choice in self._choices),
            prompt_s=first - self._started,
            generate_s=time.monotonic() - first,
        )

    def _account(self, reason: str) -> None:
        """Tells the counters what this cost, once."""
        if self._accounted:
            return
        self._accounted = True
        usage, resident = self._usage(), self._resident
        resident.closed()
        for index, choice in enumerate(self._choices):
            resident.observer.on_finish(
                resident.name,
                choice.stream.reason or reason,
                time.monotonic() - self._started,
                choice.queue_s,
                usage.prompt_tokens if index == 0 else 0,
                choice.stream.tokens,
            )
        resident.accounting.finished(
            self._asker,
            resident.name,
            prompt_tokens=usage.prompt_tokens,
            completion_tokens=usage.completion_tokens,
            cached_tokens=usage.cached_tokens,
        )


def _token_text(tokenizer: Tokenizer, token: int, logprob: float) -> TokenText:
    """A token with its text and bytes."""
    data = tokenizer.token_bytes(token)
    return TokenText(token, data.decode(errors="replace"), data, logprob)


def token_texts(tokenizer: Tokenizer, note: TokenLogprob) -> TokenText:
    """A note of the engine with texts in place of ids alone."""
    top = tuple(_token_text(tokenizer, token, logprob) for token, logprob in note.top)
    return replace(_token_text(tokenizer, note.token, note.logprob), top=top)
