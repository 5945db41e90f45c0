"""Scripted residents in place of the runtime: tests of a surface need no weights.

A test says which events the model's answer consists of, or which error it ends in; the resident
keeps every `Ask` it was given, and its answers say whether they were closed.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from fastapi import APIRouter, FastAPI, Request
from fastapi.responses import JSONResponse
from starlette.testclient import TestClient
from starlette.types import ASGIApp, Receive, Scope, Send

from freehold.engine.sampler import Sampling
from freehold.errors import FreeholdError, UnknownModel
from freehold.loading import Suggested
from freehold.server.ask import (
    Ask,
    Choice,
    Collected,
    Event,
    Finish,
    ReasoningDelta,
    TextDelta,
    TokenText,
    ToolCall,
    ToolCallDelta,
    ToolCallStart,
    Usage,
)
from freehold.server.context import Asker, House
from freehold.tokenizer import Tokenizer, tokenizer_from_gguf
from tests.tokenizer.vocabularies import byte_level

MODEL = "scripted/model"
CREATED = 1_700_000_000

USAGE = Usage(prompt_tokens=7, completion_tokens=3, cached_tokens=2, reasoning_tokens=1)

# What a model that says hello gives.
HELLO: tuple[Event, ...] = (
    TextDelta(0, "Hello"),
    TextDelta(0, " world"),
    Finish(0, "stop"),
    USAGE,
)


@dataclass
class ScriptedAnswer:
    """Gives its events in order; an error among them is raised when its turn comes."""

    events: Sequence[Event | FreeholdError]
    prompt_tokens: int = 7
    prompt_logprobs: tuple[TokenText | None, ...] | None = None
    cancelled: bool = False
    closed: bool = False
    _at: int = 0

    def __aiter__(self) -> AsyncIterator[Event]:
        return self

    async def __anext__(self) -> Event:
        if self._at == len(self.events) or self.cancelled:
            raise StopAsyncIteration
        event = self.events[self._at]
        self._at += 1
        if isinstance(event, FreeholdError):
            raise event
        return event

    async def collect(self) -> Collected:
        """Every choice whole."""
        events = [event async for event in self]
        usage = next(event for event in events if isinstance(event, Usage))
        finishes = [event for event in events if isinstance(event, Finish)]
        finishes.sort(key=lambda finish: finish.choice)
        choices = tuple(_choice(events, finish) for finish in finishes)
        return Collected(choices=choices, usage=usage, prompt_logprobs=self.prompt_logprobs)

    def cancel(self) -> None:
        self.cancelled = True

    async def aclose(self) -> None:
        self.closed = True


def _choice(events: Iterable[Event], finish: Finish) -> Choice:
    own = [event for event in events if not isinstance(event, Usage)]
    own = [event for event in own if event.choice == finish.choice]
    texts = [event for event in own if isinstance(event, TextDelta)]
    starts = [event for event in own if isinstance(event, ToolCallStart)]
    pieces = [event for event in own if isinstance(event, ToolCallDelta)]
    calls = tuple(
        ToolCall(s.id, s.name, "".join(p.arguments for p in pieces if p.index == s.index))
        for s in starts
    )
    return Choice(
        index=finish.choice,
        text="".join(event.text for event in texts),
        reasoning="".join(event.text for event in own if isinstance(event, ReasoningDelta)),
        tool_calls=calls,
        finish_reason=finish.reason,
        stop_sequence=finish.stop_sequence,
        logprobs=tuple(token for event in texts for token in event.logprobs),
        ended_by=finish.ended_by,
    )


@dataclass
class ScriptedResident:
    """One model that answers every request with `events`, or refuses it with `refuses`."""

    events: Sequence[Event | FreeholdError] = HELLO
    refuses: FreeholdError | None = None
    prompt_logprobs: tuple[TokenText | None, ...] | None = None
    name: str = MODEL
    context_tokens: int = 2048
    created: int = CREATED
    template: Any = None
    dialect: Any = None
    metadata: dict[str, Any] = field(default_factory=dict)
    suggested: Suggested = field(default_factory=Suggested)
    tokenizer: Tokenizer = field(default_factory=lambda: tokenizer_from_gguf(byte_level()))
    asks: list[Ask] = field(default_factory=list)
    askers: list[Asker] = field(default_factory=list)
    answers: list[ScriptedAnswer] = field(default_factory=list)

    @property
    def ask(self) -> Ask:
        """The only request so far."""
        (ask,) = self.asks
        return ask

    @property
    def vocabulary(self) -> int:
        return self.tokenizer.vocab_size

    def drawn(self, ask: Ask) -> Sampling:
        """As a real resident does."""
        return replace(ask.sampling, **self.suggested.of(ask.unsaid))

    def prompt(self, ask: Ask) -> list[int]:
        """Each message as its role and content; nothing a real template would do."""
        self.asks.append(ask)
        if ask.prompt is not None:
            return list(ask.prompt) if isinstance(ask.prompt, tuple) else self.encode(ask.prompt)
        lines = [f"{m['role']}: {m['content']}\n" for m in ask.messages or ()]
        return self.encode("".join(lines))

    def encode(self, text: str) -> list[int]:
        return self.tokenizer.encode(text)

    async def answer(self, ask: Ask, asker: Asker) -> ScriptedAnswer:
        self.asks.append(ask)
        self.askers.append(asker)
        if self.refuses is not None:
            raise self.refuses
        answer = ScriptedAnswer(self.events, prompt_logprobs=self.prompt_logprobs)
        self.answers.append(answer)
        return answer


@dataclass
class ScriptedResidents:
    """Knows the one resident by its name and nothing else."""

    resident: ScriptedResident
    embedders: dict[str, Any] = field(default_factory=dict)
    ready: bool = True
    names: dict[str, str] = field(default_factory=dict)
    weights: Path = Path("scripted.gguf")

    def weights_of(self, ref: str) -> Path:
        if ref != self.resident.name:
            raise UnknownModel(f"no model is called {ref!r}", param="model", value=ref)
        return self.weights

    async def chat(self, ref: str) -> ScriptedResident:
        if ref != self.resident.name:
            raise UnknownModel(f"no model is called {ref!r}", param="model", value=ref)
        return self.resident

    async def embedder(self, ref: str) -> Any:
        if ref not in self.embedders:
            raise UnknownModel(f"no model is called {ref!r}", param="model", value=ref)
        return self.embedders[ref]

    async def ranker(self, ref: str) -> Any:
        return await self.embedder(ref)

    def cards(self) -> list[Any]:
        return [
            SimpleNamespace(
                id=self.resident.name,
                created=self.resident.created,
                kind="chat",
                path=Path("scripted.gguf"),
                size_bytes=1_000_000,
                sha256="ab" * 32,
                family="scripted",
                parameters=1_000_000,
                quantization="Q4_1",
                context_tokens=self.resident.context_tokens,
                licence="Apache-2.0",
                system=None,
                loaded=True,
                parent=None,
            )
        ]

    def alias(self, names: Mapping[str, str]) -> None:
        self.names = dict(names)

    def unload_adapter(self, name: str) -> None:
        raise UnknownModel(f"no adapter is called {name!r}", param="lora_name", value=name)

    def loaded(self) -> list[Any]:
        (card,) = self.cards()
        stats = SimpleNamespace(
            num_running=0,
            num_waiting=0,
            kv_usage=0.0,
            prompt_tokens_total=0,
            generation_tokens_total=0,
            prefix_queries_total=0,
            prefix_hits_total=0,
            preemptions_total=0,
            guessed_tokens_total=0,
            kept_tokens_total=0,
            engine_restarts_total=0,
        )
        return [
            SimpleNamespace(
                card=card,
                memory_bytes=2_000_000,
                context_tokens=self.resident.context_tokens,
                running=0,
                waiting=0,
                since=CREATED,
                stats=stats,
            )
        ]

    async def unload(self, ref: str) -> None:
        await self.chat(ref)

    async def close(self) -> None:
        self.ready = False


@dataclass
class ScriptedDoors:
    """Lets everybody in as `asker`."""

    app: ASGIApp
    asker: Asker

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope.setdefault("state", {})["asker"] = self.asker
        await self.app(scope, receive, send)


def app_for(
    router: APIRouter,
    resident: ScriptedResident | None = None,
    *,
    asker: Asker | None = None,
    store: object = None,
) -> FastAPI:
    """An app with these routes over this resident, its errors formed as the real app forms them."""
    app = FastAPI()
    app.include_router(router)
    residents: Any = ScriptedResidents(resident or ScriptedResident())
    settings: Any = SimpleNamespace(generation_config="auto")
    kept: Any = store
    app.state.house = House(settings=settings, residents=residents, store=kept)
    _form_errors(app)
    app.add_middleware(ScriptedDoors, asker=asker or Asker(request_id="req_test"))
    return app


def client_for(
    router: APIRouter,
    resident: ScriptedResident | None = None,
    *,
    asker: Asker | None = None,
    store: object = None,
) -> TestClient:
    """A client of `app_for`; a bug in a route is raised in the test."""
    return TestClient(app_for(router, resident, asker=asker, store=store))


def _form_errors(app: FastAPI) -> None:
    async def plainly(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, FreeholdError)
        said = {"message": str(error), "param": getattr(error, "param", None), "code": error.code}
        return JSONResponse({"error": said}, status_code=400)

    app.add_exception_handler(FreeholdError, plainly)
