"""What is said of a model in memory.

Room: server. Must not know how models come and go.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from freehold.engine.request import EngineStats
from freehold.server.cards import ModelCard

if TYPE_CHECKING:
    from freehold.server.resident import EmbedderResident, Resident

__all__ = ["LoadedModel", "described"]


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


def described(
    card: ModelCard, resident: Resident | EmbedderResident, memory_bytes: int, since: float
) -> LoadedModel:
    """A model as it is now."""
    info: dict[str, Any] = resident.engine.info
    stats = resident.engine.stats
    return LoadedModel(
        card=replace(card, loaded=True),
        memory_bytes=memory_bytes,
        context_tokens=resident.context_tokens,
        running=stats.num_running,
        waiting=stats.num_waiting,
        since=since,
        stats=stats,
        pid=resident.engine.pid,
        isa=info.get("isa", ""),
        threads=info.get("threads", 0),
        kv_tokens=info.get("kv_tokens", 0),
    )
