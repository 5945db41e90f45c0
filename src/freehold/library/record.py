"""What is written into the record: one function for each kind of event.

Room: library. Knows what an event of each kind says; must not know hashes of events or terminals.

    weights = Weights(identity=identity_of(path), name="starter", location=path, terms=...)
    with open_record(settings) as events:
        record_obtained(events, weights, source=...)
"""

from __future__ import annotations

import getpass
import hashlib
import os
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from freehold import __version__
from freehold.library.identity import Identity

if TYPE_CHECKING:
    from freehold.config import Settings
    from freehold.store import Event, Events
    from freehold.store.datasets import Dataset

__all__ = [
    "Calibration",
    "MeasuredLoss",
    "Source",
    "Terms",
    "Weights",
    "has_files",
    "is_end",
    "note_removal",
    "open_record",
    "record_acceptance",
    "record_dataset_admitted",
    "record_dataset_withdrawn",
    "record_evaluated",
    "record_exported",
    "record_imported",
    "record_merged",
    "record_obtained",
    "record_promoted",
    "record_quantized",
    "record_removed",
    "record_rolled_back",
    "record_served",
    "record_tuned",
    "weights_at",
    "whoever_asks",
]


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where weights came from: a wheel "name==1.2", "org/name" of a hub, a path, a bundle.

    `revision` is the hub's commit; `signed_by` the fingerprint of the key that a bundle verified
    with.
    """

    kind: Literal["package", "hub", "file", "bundle"]
    reference: str
    revision: str | None = None
    signed_by: str | None = None


@dataclass(frozen=True, kw_only=True)
class Terms:
    """Under which licence weights are had: its id, and the sha256 of the text that came along."""

    licence: str | None
    text_sha256: str | None = None


@dataclass(frozen=True, kw_only=True)
class Weights:
    """A model as an event speaks of it: by its digest, a name people know, its place and terms."""

    identity: Identity
    name: str
    location: Path
    terms: Terms

    def facts(self) -> dict[str, Any]:
        """As an event keeps it."""
        return {
            "name": self.name,
            "location": str(self.location.absolute()),
            "files": [file.facts() for file in self.identity.files],
            **_brief(self.terms),
        }


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """The text whose activations gave the importance."""

    name: str
    sha256: str
    tokens: int


@dataclass(frozen=True, kw_only=True)
class MeasuredLoss:
    """What a quantization lost against its source on a held-out text. Units: KL in nats."""

    mean_kl: float
    p99_kl: float
    agreement: float
    """The share of tokens for which both would take the same next one."""
    perplexity: float
    source_perplexity: float
    text: str
    text_sha256: str
    tokens: int


@contextmanager
def open_record(settings: Settings) -> Iterator[Events]:
    """The record of the settings' database. Raises: StoreUnusable."""
    # A command that records nothing shall not pay for the database.
    from freehold.store import open_store  # noqa: PLC0415

    store = open_store(settings.database, settings.home)
    try:
        yield store.events
    finally:
        store.close()


def whoever_asks() -> str:
    """Who runs this process, as "user@machine"."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = "somebody"  # a container's user without a name
    return f"{user}@{socket.gethostname()}"


def record_obtained(events: Events, weights: Weights, *, source: Source) -> Event:
    """Weights were fetched, verified and published. Raises: StoreUnusable."""
    body = weights.facts() | {"source": _brief(source)}
    return _append(events, "obtained", weights.identity.digest, body)


def record_imported(events: Events, weights: Weights, *, source: Source) -> Event:
    """Weights that were on this machine already, or came in a bundle, were taken in."""
    body = weights.facts() | {"source": _brief(source)}
    return _append(events, "imported", weights.identity.digest, body)


def record_acceptance(
    events: Events,
    *,
    licence: str,
    text: str,
    by: str,
    models: Sequence[str] = (),
    uses: Sequence[str] = (),
) -> Event:
    """Somebody accepted a licence's text, before or after having weights under it.

    The event is about the text, by its sha256 (`events.about("sha256:" + ...)` finds it), and keeps
    it whole. `models` are the references it was asked for; none means whatever is under this text.
    """
    digest = hashlib.sha256(text.encode()).hexdigest()
    body = {
        "licence": licence,
        "text": text,
        "text_sha256": digest,
        "models": list(models),
        "uses": list(uses),
        "by": by,
    }
    return _append(events, "licence_accepted", f"sha256:{digest}", body)


def record_quantized(
    events: Events,
    weights: Weights,
    *,
    parent: Identity,
    recipe: Mapping[str, Any],
    loss: MeasuredLoss,
    calibration: Calibration | None,
) -> Event:
    """Weights were written in other types, from `parent`, with this measured loss.

    `recipe` says how, as plain JSON: its "type" is the name people know, as Q4_K_M.
    """
    body = weights.facts() | {
        "recipe": dict(recipe),
        "loss": asdict(loss),
        "calibration": None if calibration is None else asdict(calibration),
        "parent_files": [
            {"name": file.name, "size_bytes": file.size_bytes, "sha256": file.sha256}
            for file in parent.files
        ],
    }
    return _append(events, "quantized", weights.identity.digest, body, [parent.digest])


def record_evaluated(
    events: Events, digest: str, *, name: str, dataset: str, run: Mapping[str, Any]
) -> Event:
    """A model was measured on a data set; both by digest. `run` is what was asked and found."""
    return _append(events, "evaluated", digest, {"name": name, "run": dict(run)}, [dataset])


def record_merged(
    events: Events, weights: Weights, *, parents: Sequence[Identity], made: Mapping[str, Any]
) -> Event:
    """A base and an adapter became one model. `made` says how, as plain JSON: form, type, drift."""
    body = weights.facts() | dict(made)
    return _append(
        events, "merged", weights.identity.digest, body, [parent.digest for parent in parents]
    )


def record_exported(
    events: Events, weights: Weights, *, parents: Sequence[Identity], made: Mapping[str, Any]
) -> Event:
    """An adapter was written in another form, for the same base. `made` as of `record_merged`."""
    body = weights.facts() | dict(made)
    return _append(
        events, "exported", weights.identity.digest, body, [parent.digest for parent in parents]
    )


def record_promoted(
    events: Events,
    digest: str,
    *,
    name: str,
    alias: str,
    replaces: str | None,
    decision: Mapping[str, Any],
) -> Event:
    """From now on a server's `alias` stands for this model; `replaces` by digest, None at first.

    `decision` is plain JSON: the data that it learned from, the evaluations, and why it was taken.
    """
    body = {"name": name, "alias": alias, "decision": dict(decision)}
    return _append(events, "promoted", digest, body, [] if replaces is None else [replaces])


def record_rolled_back(
    events: Events, digest: str, *, name: str, alias: str, replaces: str, why: str
) -> Event:
    """A server's `alias` stands again for this model, which it stood for before `replaces`."""
    body = {"name": name, "alias": alias, "why": why}
    return _append(events, "rolled_back", digest, body, [replaces])


def record_dataset_admitted(
    events: Events, dataset: Dataset, *, parents: Sequence[str] = ()
) -> Event:
    """A data set was taken in, with why it may be trained on; `parents`: what it was made from."""
    body = {
        "name": dataset.name,
        "owner": dataset.owner,
        "rows": dataset.rows,
        "licence": dataset.licence,
        "basis": dataset.basis,
        "consent": dataset.consent,
        "provenance": dataset.provenance,
        "bytes": dataset.facts.get("bytes"),
    }
    return _append(events, "dataset_admitted", dataset.digest, body, parents)


def record_dataset_withdrawn(
    events: Events, dataset: Dataset, *, reason: str, taught: Sequence[str]
) -> Event:
    """What allowed training on a data set is gone; `taught` are digests of what had learned it."""
    body = {"name": dataset.name, "owner": dataset.owner, "reason": reason, "taught": list(taught)}
    return _append(events, "consent_withdrawn", dataset.digest, body)


def record_tuned(
    events: Events,
    weights: Weights,
    *,
    base: str,
    datasets: Sequence[str],
    training: Mapping[str, Any],
) -> Event:
    """An adapter, or whole weights, learned from data sets on a base; both by digest.

    `training` is plain JSON: the settings, and what it came to.
    """
    body = weights.facts() | {"base": base, "datasets": list(datasets), "training": dict(training)}
    return _append(events, "tuned", weights.identity.digest, body, [base, *datasets])


def record_served(
    events: Events, identity: Identity, *, name: str, location: Path, server: Mapping[str, Any]
) -> Event:
    """A server loaded the weights: once for each start of the server and model.

    Of weights that nobody recorded before, the event keeps the files too.
    """
    body: dict[str, Any] = {"name": name, "location": str(location.absolute())}
    body["server"] = dict(server)
    if not any(has_files(event) for event in events.about(identity.digest)):
        body["files"] = [file.facts() for file in identity.files]
    return _append(events, "served", identity.digest, body)


def record_removed(events: Events, digest: str, *, name: str, location: Path) -> Event:
    """The weights were deleted from this machine."""
    return _append(events, "removed", digest, {"name": name, "location": str(location.absolute())})


def note_removal(settings: Settings, *, name: str, location: Path) -> None:
    """Record that weights were deleted, if the record has any at this place. Raises: StoreUnusable.

    What was there is known from the record: deleted bytes cannot be hashed.
    """
    with open_record(settings) as events:
        digest = weights_at(events.all(), location)
        if digest is not None:
            record_removed(events, digest, name=name, location=location)


def weights_at(known: Sequence[Event], path: Path) -> str | None:
    """The digest of the weights that the record last put at this path, and did not remove."""
    place = os.path.abspath(path)  # noqa: PTH100 - Path.absolute() leaves ".." in
    places = {place, os.path.realpath(path)}
    for event in reversed(known):
        if event.body.get("location") in places and (has_files(event) or is_end(event)):
            return None if is_end(event) else event.subject
    return None


def has_files(event: Event) -> bool:
    """Whether the event says where weights came from, file by file."""
    return "files" in event.body


def is_end(event: Event) -> bool:
    """Whether the event says that the weights are gone from their place."""
    return event.kind == "removed"


def _brief(part: Source | Terms) -> dict[str, Any]:
    return {key: value for key, value in asdict(part).items() if value is not None}


def _append(
    events: Events, kind: str, subject: str, body: dict[str, Any], parents: Sequence[str] = ()
) -> Event:
    said = {"by": whoever_asks(), "with": f"freehold {__version__}"} | body
    return events.append(kind=kind, subject=subject, body=said, parents=parents)
