"""A model as a server of this home would serve it, by its name: without a server.

Room: server. Knows the store's models and what jobs made; must not know terminals or HTTP.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from freehold.errors import UnknownModel
from freehold.library.identity import identity_of
from freehold.library.progress import Progress, silent
from freehold.server.cards import cards_of

if TYPE_CHECKING:
    from freehold.config import Settings
    from freehold.store import Store

__all__ = ["KnownModel", "known_model", "served_names"]


@dataclass(frozen=True, kw_only=True)
class KnownModel:
    """A model by name and digest, where it lies, and the digests of what it was taught with."""

    name: str
    path: Path
    digest: str
    trained_on: tuple[str, ...] = ()


def served_names(settings: Settings, store: Store) -> dict[str, Path]:
    """What may be asked for by name, and where it lies."""
    found = {name: card.path for name, card in cards_of((), settings).items()}
    for job in store.jobs.succeeded("fine_tuning"):
        if job.state.get("adapter") and job.spec["model"] in found:
            folder = settings.home / "tuned" / job.id
            found[job.spec["fine_tuned_model"]] = folder / job.state["adapter"]
    return found


def known_model(
    name: str, *, settings: Settings, store: Store, progress: Progress = silent
) -> KnownModel:
    """The model of this name. Raises: UnknownModel."""
    names = served_names(settings, store)
    if name not in names:
        raise UnknownModel(
            f"a server of this home serves no model called {name!r}",
            value=name,
            expected=" or ".join(sorted(names)) or "a model of the store",
            hint="`freehold list` shows the store; fine-tuning jobs say what they made",
        )
    digest = identity_of(names[name], home=settings.home, progress=progress).digest
    taught = [
        str(data)
        for event in store.events.about(digest)
        if event.kind == "tuned"
        for data in event.body.get("datasets", ())
    ]
    taught += [
        str(job.spec["digests"][job.spec["training_file"]])
        for job in store.jobs.succeeded("fine_tuning")
        if job.spec["fine_tuned_model"] == name and job.state.get("adapter")
    ]
    return KnownModel(
        name=name, path=names[name], digest=digest, trained_on=tuple(dict.fromkeys(taught))
    )
