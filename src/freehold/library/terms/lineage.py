"""What the record says of a file's terms: its own, and those of everything it was made from.

Room: library. Reads events by digests that are known already; never hashes, so it costs little.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from freehold.errors import BadReference
from freehold.library.hash_cache import HashCache
from freehold.library.identity import HashedFile, digest_of_files, files_of
from freehold.library.record import open_record
from freehold.library.terms.evidence import Claim

if TYPE_CHECKING:
    from freehold.config import Settings
    from freehold.store import Events

__all__ = ["Recorded", "has_record", "recorded_terms"]

_MOST_ANCESTORS = 256
_MOST_NAME = 200
_ABOUT_WEIGHTS = ("obtained", "imported", "quantized", "tuned", "merged", "exported")


def has_record(settings: Settings) -> bool:
    """Whether anything was ever recorded: looking must not make a database."""
    return settings.database is not None or (settings.home / "freehold.db").exists()


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """What the record has: the licences that were stated, and the hub's names of the weights."""

    claims: tuple[Claim, ...] = ()
    references: tuple[str, ...] = ()


def recorded_terms(path: Path, settings: Settings) -> Recorded:
    """The licences under which a file, and its ancestors, came here, and where they came from.

    Nothing for a file whose digest is not known yet, and where there is no record.
    Raises: StoreUnusable.
    """
    digest = _known_digest(path, settings) if has_record(settings) else None
    if digest is None:
        return Recorded()
    with open_record(settings) as events:
        return _terms(events, digest)


def _terms(events: Events, digest: str) -> Recorded:
    claims: dict[Claim, None] = {}
    references: dict[str, None] = {}
    seen: set[str] = set()
    waiting = [digest]
    while waiting and len(seen) < _MOST_ANCESTORS:
        one = waiting.pop()
        if one in seen:
            continue
        seen.add(one)
        for event in events.about(one):
            waiting += event.parents
            licence, source = event.body.get("licence"), event.body.get("source")
            if event.kind in _ABOUT_WEIGHTS and isinstance(licence, str):
                whose = "" if one == digest else " of what it was made from"
                claims[Claim(name=licence[:_MOST_NAME], where=f"the record{whose}")] = None
            if isinstance(source, dict) and source.get("kind") == "hub":
                references[str(source.get("reference", ""))[:_MOST_NAME]] = None
    return Recorded(claims=tuple(claims), references=tuple(references))


def _known_digest(path: Path, settings: Settings) -> str | None:
    """The digest, if all files were hashed before and look as they did then."""
    cache = HashCache(settings.home)
    hashed = []
    try:
        for name, file in files_of(path).items():
            facts = cache.get(file)
            if facts is None:
                return None
            hashed.append(HashedFile.from_facts(facts | {"name": name}))
        return digest_of_files(hashed)
    except (BadReference, OSError, KeyError, TypeError, ValueError):
        return None
