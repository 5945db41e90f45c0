"""The models in memory: loaded on demand, each in a process of its own, evicted by budget.

Room: server. Knows models by their cards; must not know any surface. A request names a card, never
a path.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from freehold import library
from freehold.config import Settings
from freehold.engine.wire import error_from
from freehold.errors import (
    BadRequest,
    CapacityError,
    Draining,
    FreeholdError,
    ModelLoading,
    UnknownModel,
    WrongTask,
)
from freehold.library.gate import require
from freehold.server.accounting import Accounting
from freehold.server.adapters import Adapters, AdapterSpec, NamedAdapter
from freehold.server.cards import ModelCard, cards_of
from freehold.server.deployments import Deployments
from freehold.server.loaded import LoadedModel, described
from freehold.server.metrics import Observer
from freehold.server.resident import ChatParts, EmbedderResident, Resident, load_chat, load_embedder

__all__ = ["LoadedModel", "Residents"]

_LOAD_WAIT_S = 60.0  # how long a request waits for its model to load
_DEFAULT_KV_BYTES = 4 << 30


@dataclass
class _Place:
    """A model's place in memory: being filled, or with its resident."""

    card: ModelCard
    memory_bytes: int
    loading: asyncio.Task[Resident | EmbedderResident]
    since: float
    resident: Resident | EmbedderResident | None = None

    @property
    def all_bytes(self) -> int:
        """What the model and its adapters take."""
        adapters = {} if self.resident is None else self.resident.engine.adapter_bytes
        return self.memory_bytes + sum(adapters.values())


class Residents:
    """Finds, loads, counts and evicts models."""

    def __init__(
        self,
        *,
        settings: Settings,
        refs: Sequence[str] = (),
        adapters: Sequence[AdapterSpec] = (),
        observer: Observer | None = None,
        accounting: Accounting | None = None,
        deployments: Deployments | None = None,
    ) -> None:
        self.ready = False
        self.failed: FreeholdError | None = None
        self._settings = settings
        self._observer = observer
        self._accounting = accounting if accounting is not None else Accounting()
        self._deployments = deployments
        self._cards = cards_of(refs, settings)
        paths = {library.resolve(ref, settings=settings) for ref in refs}
        self._at_start = [name for name, card in self._cards.items() if card.path in paths]
        self._adapters = Adapters()
        self._adapters.name_all(adapters, self._cards, self._at_start)
        self._aliases: Mapping[str, str] = {}
        self._places: dict[str, _Place] = {}

    async def start(self) -> None:
        """Loads the models named at the start. Raises: what loading one of them raised."""
        try:
            for name in self._at_start:
                _check_adapters(await self._resident(name))
        except FreeholdError as error:
            self.failed = error
            raise
        self.ready = True

    async def chat(self, ref: str) -> Resident:
        """The chat model, or adapter, of this name.

        Raises: UnknownModel, WrongTask, ModelLoading.
        """
        card = self._card(ref, "chat")
        resident = await self._resident(card.parent or card.id)
        assert isinstance(resident, Resident), "a chat card without a chat model"
        if card.parent is None:
            return resident
        adapter = self._adapters.find(card.id)
        if adapter is None:
            raise UnknownModel("the adapter was unloaded", param="model", value=ref)
        return resident.adapted(adapter.card, adapter.handle)

    async def load_adapter(self, name: str, path: Path, base: str | None) -> NamedAdapter:
        """Gives a chat model an adapter, which then may be asked for; loads the model if need be.

        Raises: BadRequest, UnknownModel, WrongTask; FormatError and LoadError for its files.
        """
        if name in self._cards:
            raise BadRequest(f"a model is called {name!r}", param="lora_name", value=name)
        chats = [card.id for card in self._cards.values() if card.kind == "chat"]
        loaded = [one for one in chats if self._is_loaded(one)]
        choice = [base] if base else loaded if len(loaded) == 1 else chats
        if len(choice) != 1:
            raise BadRequest(
                "which model the adapter is for is not clear",
                param="base_model_name",
                expected=" or ".join(sorted(chats)) or "a chat model",
                found="nothing",
            )
        card = self._card(choice[0], "chat")
        if card.parent is not None:
            raise BadRequest("an adapter cannot have an adapter", param="base_model_name")
        adapter = self._adapters.made(name, path, card)
        resident = await self._resident(card.id)
        await resident.engine.load_adapter(adapter.handle, str(path))
        if self._adapters.find(name) is not None:
            resident.engine.unload_adapter(adapter.handle)
            raise BadRequest(f"{name!r} was loaded meanwhile", param="lora_name", value=name)
        self._adapters.add(adapter)
        return adapter

    def restore(self, name: str, path: Path, base: str) -> bool:
        """Names an adapter that was trained here earlier; False where its model is gone."""
        card = self._cards.get(base)
        if card is None or card.kind != "chat" or not path.is_dir():
            return False
        self._adapters.add(self._adapters.made(name, path, card))
        return True

    async def adopt(self, name: str, path: Path, base: str) -> None:
        """Serves an adapter that was trained here; a model in memory gets it at once.

        A second time does nothing. Raises: BadRequest for a name that is taken; FormatError and
        LoadError for its files.
        """
        known = self._adapters.find(name)
        if known is not None and known.path == path:
            return
        adapter = self._adapters.made(name, path, self._card(base, "chat"))
        place = self._places.get(base)
        if place is not None:
            await asyncio.wait({place.loading})
        if place is not None and place.resident is not None:
            # A model whose process has just died comes back with all that it has.
            with suppress(CapacityError):
                await place.resident.engine.load_adapter(adapter.handle, str(path))
        self._adapters.add(adapter)

    def alias(self, names: Mapping[str, str]) -> None:
        """From now on these names stand for these models; open answers end as they began."""
        self._aliases = dict(names)

    def weights_of(self, ref: str) -> Path:
        """Where the weights of a chat model lie; an adapter's own. Raises: UnknownModel."""
        card = self._card(ref, "chat")
        adapter = self._adapters.find(card.id)
        return card.path if adapter is None else adapter.path

    def unload_adapter(self, name: str) -> None:
        """Takes an adapter's name away at once; answers that use it still end as they began.

        Raises: UnknownModel.
        """
        adapter = self._adapters.pop(name)
        if adapter is None:
            raise UnknownModel(
                f"no adapter is called {name[:200]!r} here", param="lora_name", value=name[:200]
            )
        place = self._places.get(adapter.card.parent or "")
        if place is not None and place.resident is not None:
            place.resident.engine.unload_adapter(adapter.handle)

    async def embedder(self, ref: str) -> EmbedderResident:
        """The embedder of this name. Raises: UnknownModel, WrongTask, ModelLoading."""
        resident = await self._resident(self._card(ref, "embedding").id)
        assert isinstance(resident, EmbedderResident), "an embedding card without an embedder"
        return resident

    async def ranker(self, ref: str) -> EmbedderResident | Resident:
        """The embedder, or the chat model that judges, of this name.

        Raises: UnknownModel, WrongTask, ModelLoading.
        """
        if self._card(ref).kind == "embedding":
            return await self.embedder(ref)
        resident = await self.chat(ref)
        if resident.judge is None:
            raise WrongTask(
                f"{ref[:200]!r} chats; this needs an embedder or a reranker",
                param="model",
                value=ref[:200],
                expected="vectors, or a prompt and two tokens to judge a document by",
                found="chat",
            )
        return resident

    def cards(self) -> list[ModelCard]:
        """Every model that may be asked for."""
        cards = [*self._cards.values(), *self._adapters.cards()]
        cards = [replace(one, loaded=self._is_loaded(one.parent or one.id)) for one in cards]
        known = {card.id: card for card in cards}
        names = [(name, known[of]) for name, of in self._aliases.items() if of in known]
        return [*cards, *(replace(card, id=name, parent=card.id) for name, card in names)]

    def loaded(self) -> list[LoadedModel]:
        """The models in memory now."""
        return [
            described(place.card, place.resident, place.all_bytes, place.since)
            for place in self._places.values()
            if place.resident is not None
        ]

    async def unload(self, ref: str) -> None:
        """Takes a model out of memory, an adapter's with it; open answers fail.

        Raises: UnknownModel.
        """
        card = self._card(ref)
        place = self._places.pop(card.parent or card.id, None)
        if place is not None:
            await _emptied(place)

    async def close(self) -> None:
        """Takes every model out of memory, since the server ends."""
        self.ready = False
        places, self._places = list(self._places.values()), {}
        why = Draining(
            "the server shut down before the answer was whole",
            hint="send the request again, to another one or later",
        )
        await asyncio.gather(*(_emptied(place, why) for place in places))

    def _is_loaded(self, name: str) -> bool:
        place = self._places.get(name)
        return place is not None and place.resident is not None

    def _card(self, ref: str, kind: str | None = None) -> ModelCard:
        name = self._aliases.get(ref, ref)
        adapter = self._adapters.find(name)
        card = self._cards.get(name) if adapter is None else adapter.card
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
                adapters={one.handle: str(one.path) for one in self._adapters.of(card.id)},
            )
            if card.id not in self._at_start:  # those were asked for before the server began
                await asyncio.to_thread(self._check_terms, card)
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
        if self._deployments is not None:
            self._deployments.loaded(card.id, card.path, resident.engine.info)
        return resident

    def _check_terms(self, card: ModelCard) -> None:
        """Raises: what the gate raises, with the card's name: who asks need not see a path."""
        require(card.path, "serve", settings=self._settings, name=card.id)

    def _kv_bytes(self, card: ModelCard) -> int:
        if card.kind != "chat":
            return 0
        return self._settings.kv_memory or min(_DEFAULT_KV_BYTES, _machine_bytes() // 4)

    def _make_room(self, card: ModelCard, needed: int) -> list[_Place]:
        """Takes the models unused longest out of the books until `needed` bytes fit."""
        budget = self._settings.model_memory or _machine_bytes() * 3 // 4
        evicted: list[_Place] = []
        while sum(place.all_bytes for place in self._places.values()) + needed > budget:
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


def _check_adapters(resident: Resident | EmbedderResident) -> None:
    """Raises: why an adapter named at the start could not be loaded."""
    for error in resident.engine.info.get("adapter_failures", {}).values():
        raise error_from(error)


def _machine_bytes() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


async def _emptied(place: _Place, why: FreeholdError | None = None) -> None:
    """Ends a place's loading or its resident."""
    if place.resident is not None:
        await place.resident.close(why)
        return
    place.loading.cancel()
    await asyncio.gather(place.loading, return_exceptions=True)
