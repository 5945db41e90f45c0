"""The models in memory: loaded on demand, each in a process of its own, evicted by budget.

Room: server. Knows models by their cards; must not know any surface. A request names a card, never
a path.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from freehold.config import Settings
from freehold.engine.request import EngineStats
from freehold.errors import FreeholdError, ModelLoading, UnknownModel, WrongTask
from freehold.server.accounting import Accounting
from freehold.server.cards import ModelCard, cards_of
from freehold.server.metrics import Observer
from freehold.server.resident import ChatParts, EmbedderResident, Resident, load_chat, load_embedder

__all__ = ["LoadedModel", "Residents"]

_LOAD_WAIT_S = 60.0  # how long a request waits for its model to load
_DEFAULT_KV_BYTES = 4 << 30


@dataclass(frozen=True, kw_only=True)
class LoadedModel:
    """A model in memory, as `freehold ps` shows it; `since` in unix seconds."""

    card: ModelCard
    memory_bytes: int
    context_tokens: int
    running: int
    waiting: int
    since: float
    stats: EngineStats
    pid: int | None = None
    isa: str = ""
    threads: int = 0
    kv_tokens: int = 0


@dataclass
class _Place:
    """A model's place in memory: being filled, or with its resident."""

    card: ModelCard
    memory_bytes: int
    loading: asyncio.Task[Resident | EmbedderResident]
    since: float
    resident: Resident | EmbedderResident | None = None


class Residents:
    """Finds, loads, counts and evicts models."""

    def __init__(
        self,
        *,
        settings: Settings,
        refs: Sequence[str] = (),
        observer: Observer | None = None,
        accounting: Accounting | None = None,
    ) -> None:
        self.ready = False
        self.failed: FreeholdError | None = None
        self._settings = settings
        self._observer = observer
        self._accounting = accounting if accounting is not None else Accounting()
        self._cards = cards_of(refs, settings)
        named = cards_of(refs, settings)
        self._at_start = [name for name in named if self._named(name, refs)]
        self._places: dict[str, _Place] = {}

    def _named(self, name: str, refs: Sequence[str]) -> bool:
        card = self._cards[name]
        return name in refs or any(
            os.path.realpath(ref) == os.path.realpath(card.path) for ref in refs
        )

    async def start(self) -> None:
        """Loads the models named at the start. Raises: what loading one of them raised."""
        try:
            for name in self._at_start:
                await self._resident(name)
        except FreeholdError as error:
            self.failed = error
            raise
        self.ready = True

    async def chat(self, ref: str) -> Resident:
        """The chat model of this name. Raises: UnknownModel, WrongTask, ModelLoading."""
        resident = await self._resident(self._card(ref, "chat").id)
        assert isinstance(resident, Resident), "a chat card without a chat model"
        return resident

    async def embedder(self, ref: str) -> EmbedderResident:
        """The embedder of this name. Raises: UnknownModel, WrongTask, ModelLoading."""
        resident = await self._resident(self._card(ref, "embedding").id)
        assert isinstance(resident, EmbedderResident), "an embedding card without an embedder"
        return resident

    def cards(self) -> list[ModelCard]:
        """Every model that may be asked for."""
        return [replace(card, loaded=self._is_loaded(name)) for name, card in self._cards.items()]

    def loaded(self) -> list[LoadedModel]:
        """The models in memory now."""
        return [
            _described(place, place.resident)
            for place in self._places.values()
            if place.resident is not None
        ]

    async def unload(self, ref: str) -> None:
        """Takes a model out of memory; its open answers fail. Raises: UnknownModel."""
        place = self._places.pop(self._card(ref).id, None)
        if place is not None:
            await _emptied(place)

    async def close(self) -> None:
        """Takes every model out of memory."""
        self.ready = False
        places, self._places = list(self._places.values()), {}
        await asyncio.gather(*(_emptied(place) for place in places))

    def _is_loaded(self, name: str) -> bool:
        place = self._places.get(name)
        return place is not None and place.resident is not None

    def _card(self, ref: str, kind: str | None = None) -> ModelCard:
        card = self._cards.get(ref)
        if card is None:
            raise UnknownModel(
                f"no model is called {ref[:200]!r} here",
                param="model",
                value=ref[:200],
                expected=" or ".join(sorted(self._cards)) or "nothing: no model is in the store",
                hint="`freehold pull starter` fetches a first one; `GET /v1/models` lists them",
            )
        if kind is not None and card.kind != kind:
            does, needs = ("embeds texts", "chat") if kind == "chat" else ("chats", "embedding")
            raise WrongTask(
                f"{ref!r} {does}; this needs a model for {needs}",
                param="model",
                value=ref,
                expected=f"a model for {needs}",
                found=card.kind,
            )
        return card

    async def _resident(self, name: str) -> Resident | EmbedderResident:
        place = self._places.get(name)
        if place is None:
            place = await self._placed(self._cards[name])
        if place.resident is not None:
            return place.resident
        try:
            # Shielded: one asker who leaves must not stop what others wait for.
            return await asyncio.wait_for(asyncio.shield(place.loading), _LOAD_WAIT_S)
        except TimeoutError:
            raise ModelLoading(
                f"{name!r} is still being loaded", retry_after_s=5.0, hint="ask again in a moment"
            ) from None

    async def _placed(self, card: ModelCard) -> _Place:
        kv_bytes = self._kv_bytes(card)
        needed = card.size_bytes + kv_bytes
        evicted = self._make_room(card, needed)
        place = _Place(
            card=card,
            memory_bytes=needed,
            loading=asyncio.create_task(self._load(card, kv_bytes, evicted)),
            since=time.time(),
        )
        self._places[card.id] = place
        return place

    async def _load(
        self, card: ModelCard, kv_bytes: int, evicted: list[_Place]
    ) -> Resident | EmbedderResident:
        try:
            for place in evicted:
                await _emptied(place)
            parts = ChatParts(
                card=card,
                kv_bytes=kv_bytes,
                settings=self._settings,
                observer=self._observer,
                accounting=self._accounting,
            )
            load = load_chat if card.kind == "chat" else load_embedder
            resident: Resident | EmbedderResident = await load(parts)
        except BaseException:
            self._places.pop(card.id, None)
            raise
        own = self._places.get(card.id)
        if own is None:  # unloaded meanwhile
            await resident.close()
            raise ModelLoading(f"{card.id!r} was unloaded", retry_after_s=1.0)
        own.resident = resident
        return resident

    def _kv_bytes(self, card: ModelCard) -> int:
        if card.kind != "chat":
            return 0
        return self._settings.kv_memory or min(_DEFAULT_KV_BYTES, _machine_bytes() // 4)

    def _make_room(self, card: ModelCard, needed: int) -> list[_Place]:
        """Takes the models unused longest out of the books until `needed` bytes fit."""
        budget = self._settings.model_memory or _machine_bytes() * 3 // 4
        evicted: list[_Place] = []
        while sum(place.memory_bytes for place in self._places.values()) + needed > budget:
            idle = [
                place
                for place in self._places.values()
                if place.resident is not None and not place.resident.open_answers
            ]
            if not idle:
                raise self._no_room(card, needed, budget)
            victim = min(idle, key=lambda place: place.resident.last_used if place.resident else 0)
            del self._places[victim.card.id]
            evicted.append(victim)
        return evicted

    def _no_room(self, card: ModelCard, needed: int, budget: int) -> ModelLoading:
        busy = bool(self._places)
        return ModelLoading(
            f"{card.id!r} does not fit in memory" + (" beside those in use" if busy else ""),
            value=card.id,
            expected=f"at most {budget} bytes for all models",
            found=f"{needed} bytes for this one",
            retry_after_s=5.0 if busy else None,
            hint="raise the memory for models or lower the KV cache's",
        )


def _machine_bytes() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


async def _emptied(place: _Place) -> None:
    """Ends a place's loading or its resident."""
    if place.resident is not None:
        await place.resident.close()
        return
    place.loading.cancel()
    await asyncio.gather(place.loading, return_exceptions=True)


def _described(place: _Place, resident: Resident | EmbedderResident) -> LoadedModel:
    info: dict[str, Any] = resident.engine.info
    stats = resident.engine.stats
    return LoadedModel(
        card=replace(place.card, loaded=True),
        memory_bytes=place.memory_bytes,
        context_tokens=resident.context_tokens,
        running=stats.num_running,
        waiting=stats.num_waiting,
        since=place.since,
        stats=stats,
        pid=resident.engine.pid,
        isa=info.get("isa", ""),
        threads=info.get("threads", 0),
        kv_tokens=info.get("kv_tokens", 0),
    )
