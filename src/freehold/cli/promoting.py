"""Promotes a model to a name when the record shows that it may, and takes that back.

Room: cli. Joins the record's evaluations, the decision and the names; what is printed is
`promote.py`'s.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from freehold.errors import BadSetting, NotProven
from freehold.evals.gating import Evidence, evidence_for
from freehold.library.progress import Progress, silent
from freehold.library.record import record_promoted, record_rolled_back
from freehold.server.tuning.known import KnownModel, known_model, served_names
from freehold.tune.provenance import read_provenance

if TYPE_CHECKING:
    from freehold.config import Settings
    from freehold.store import Store

__all__ = ["Promoted", "promote_model", "roll_back"]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", re.ASCII)


@dataclass(frozen=True, kw_only=True)
class Promoted:
    """What a name stands for now, and stood for before."""

    alias: str
    model: str
    before: str | None
    digest: str
    event: int
    evidence: dict[str, Any]


def promote_model(
    model: str,
    alias: str,
    *,
    settings: Settings,
    store: Store,
    despite: str | None = None,
    progress: Progress = silent,
) -> Promoted:
    """Lets `alias` stand for the model from now on.

    `despite` is why it is done although the record shows no gain.
    Raises: UnknownModel, BadSetting, NotProven, ChainBroken, StoreUnusable.
    """
    _check_alias(alias, served_names(settings, store))
    candidate = known_model(model, settings=settings, store=store, progress=progress)
    held = store.promotions.current(alias)
    current = None
    if held is not None:
        current = known_model(held.model, settings=settings, store=store, progress=progress)
        if current.digest == candidate.digest:
            raise BadSetting(
                f"{alias!r} stands for this model already", value=model, found=held.model
            )
    evidence = evidence_for(
        store.events,
        candidate=candidate.digest,
        current=None if current is None else current.digest,
        trained_on=candidate.trained_on,
    )
    _check_gain(evidence, model, despite)
    decision = {
        "evidence": evidence.as_dict(),
        "training": _training(candidate),
        "despite": despite,
    }
    event = record_promoted(
        store.events,
        candidate.digest,
        name=model,
        alias=alias,
        replaces=None if current is None else current.digest,
        decision=decision,
    )
    facts = {"event": event.seq, "digest": candidate.digest, **decision}
    store.promotions.promote(owner="local", name=alias, model=model, evidence=facts)
    return Promoted(
        alias=alias,
        model=model,
        before=None if held is None else held.model,
        digest=candidate.digest,
        event=event.seq,
        evidence=evidence.as_dict(),
    )


def roll_back(alias: str, *, why: str, settings: Settings, store: Store) -> Promoted:
    """Lets `alias` stand for what it stood for before. Raises: NotFound, UnknownModel."""
    held = store.promotions.current(alias)
    decision = store.promotions.rollback(alias, owner="local", evidence={"why": why})
    assert held is not None, "what is rolled back was held"
    now = known_model(decision.model, settings=settings, store=store)
    event = record_rolled_back(
        store.events,
        now.digest,
        name=decision.model,
        alias=alias,
        replaces=str(held.evidence.get("digest") or now.digest),
        why=why,
    )
    return Promoted(
        alias=alias,
        model=decision.model,
        before=held.model,
        digest=now.digest,
        event=event.seq,
        evidence={},
    )


def _check_alias(alias: str, names: object) -> None:
    if not _NAME.fullmatch(alias) or (isinstance(names, dict) and alias in names):
        raise BadSetting(
            f"{alias!r} cannot be the name",
            value=alias,
            expected="letters, digits and . _ -, and no name that a model has",
            found="a model's own name" if _NAME.fullmatch(alias) else repr(alias),
        )


def _check_gain(evidence: Evidence, model: str, despite: str | None) -> None:
    if evidence.verdict in ("first", "better") or despite is not None:
        return
    found = "; ".join(
        f"{one.task}: {compared.verdict} ({compared.difference.value:+.3g},"
        f" 95 % {compared.difference.low:+.3g} to {compared.difference.high:+.3g})"
        for one, compared in zip(evidence.evaluations, evidence.comparisons, strict=True)
    )
    raise NotProven(
        f"the record shows no gain of {model!r}",
        value=model,
        expected="better on one task at least, and worse on none",
        found=found,
        hint='evaluate on more items, or say why all the same: --despite "REASON"',
    )


def _training(candidate: KnownModel) -> dict[str, Any]:
    """What the model learned from and how, where it was taught here."""
    said = read_provenance(candidate.path) if candidate.path.is_dir() else None
    if said is None:
        return {"datasets": list(candidate.trained_on)}
    return {
        "base": said.base,
        "base_name": said.base_name,
        "datasets": list(dict.fromkeys([*candidate.trained_on, *said.datasets])),
        "settings": dict(said.training),
    }
