"""Evaluations, data sets and promotions: kept by owner, and every decision kept."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from freehold.errors import BadRequest, NotFound
from freehold.store import Dataset, Store, open_store

DATA = Dataset(
    owner="ann",
    name="tickets",
    digest="sha256:" + "a" * 64,
    rows=10,
    tokens=None,
    form="chat",
    licence="CC-BY-4.0",
    basis="own",
    consent=None,
    provenance="exported from the desk",
    created_at=5.0,
    facts={"split": {"held_out": 2}},
)


@pytest.fixture
def store(home: Path) -> Iterator[Store]:
    opened = open_store(None, home)
    yield opened
    opened.close()


def test_an_evaluation_is_its_owners(store: Store) -> None:
    made = store.evals.create(owner="ann", name="smoke", spec={"a": [1]})
    assert store.evals.get(made.id, owner="ann") == made
    assert store.evals.get(made.id, owner="bob") is None
    assert store.evals.list(owner="bob") == []
    assert store.evals.update(made.id, owner="bob", name="x", spec={}) is None
    assert not store.evals.delete(made.id, owner="bob")
    changed = store.evals.update(made.id, owner="ann", name="better", spec={})
    assert changed is not None
    assert (changed.name, changed.spec, changed.created_at) == ("better", {}, made.created_at)
    assert store.evals.list(owner="ann") == [changed]
    assert store.evals.delete(made.id, owner="ann")
    assert store.evals.get(made.id, owner="ann") is None


def test_an_item_kept_twice_is_one_item(store: Store) -> None:
    run = store.jobs.create(owner="ann", kind="eval_run", spec={}, parent="eval_1")
    for number, right in ((1, True), (0, False), (1, False)):
        store.evals.put_item(run.id, number, {"right": right})
    assert store.evals.items(run.id, owner="ann") == ((0, {"right": False}), (1, {"right": False}))
    assert store.evals.items(run.id, owner="ann", after=0, limit=5) == ((1, {"right": False}),)
    assert store.evals.items(run.id, owner="bob") == ()
    assert store.jobs.list(owner="ann", kind="eval_run", parent="eval_1") == [run]
    assert store.jobs.list(owner="ann", kind="eval_run", parent="eval_2") == []


def test_a_data_set_is_its_owners_and_its_name_is_taken_once(store: Store) -> None:
    store.datasets.put(DATA)
    assert store.datasets.get("tickets", owner="ann") == DATA
    assert store.datasets.get("tickets", owner="bob") is None
    with pytest.raises(BadRequest, match="called 'tickets' already"):
        store.datasets.put(replace(DATA, rows=11))
    store.datasets.put(replace(DATA, owner="bob"))
    assert store.datasets.list(owner="ann") == [DATA]
    assert store.datasets.find(DATA.digest, owner="ann") == [DATA]
    assert store.datasets.delete("tickets", owner="ann")
    assert store.datasets.list(owner="ann") == []
    assert len(store.datasets.list(owner="bob")) == 1


def test_nothing_is_recorded_without_a_basis(store: Store) -> None:
    with pytest.raises(BadRequest, match="why this data"):
        store.datasets.put(replace(DATA, basis=""))
    assert store.datasets.list(owner="ann") == []


def test_withdrawing_holds_for_the_bytes_and_keeps_its_first_time(store: Store) -> None:
    store.datasets.put(DATA)
    store.datasets.put(replace(DATA, name="other", owner="bob"))
    assert not store.datasets.is_withdrawn(DATA.digest)
    first = store.datasets.withdraw("tickets", owner="ann")
    assert first is not None
    assert first.withdrawn_at is not None
    assert store.datasets.withdraw("tickets", owner="ann") == first
    assert store.datasets.is_withdrawn(DATA.digest)
    assert store.datasets.withdraw("tickets", owner="bob") is None


def test_a_name_stands_for_the_last_promotion_and_rolls_back_one_by_one(store: Store) -> None:
    kept = store.promotions
    assert kept.current("desk") is None
    for model in ("base", "base:ft-1", "base:ft-2"):
        kept.promote(owner="ann", name="desk", model=model, evidence={"run": model})
    held = kept.current("desk")
    assert held is not None
    assert (held.model, held.evidence, held.seq) == ("base:ft-2", {"run": "base:ft-2"}, 3)
    assert kept.rollback("desk", owner="bob").model == "base:ft-1"
    assert kept.rollback("desk", owner="bob").model == "base"
    with pytest.raises(NotFound, match="before"):
        kept.rollback("desk", owner="bob")
    assert [(each.action, each.model) for each in kept.history("desk")] == [
        ("promoted", "base"),
        ("promoted", "base:ft-1"),
        ("promoted", "base:ft-2"),
        ("rolled_back", "base:ft-1"),
        ("rolled_back", "base"),
    ]
    kept.promote(owner="ann", name="desk", model="base:ft-3", evidence={})
    kept.promote(owner="ann", name="other", model="base", evidence={})
    assert {name: each.model for name, each in kept.all_current().items()} == {
        "desk": "base:ft-3",
        "other": "base",
    }
    assert kept.rollback("desk", owner="ann").model == "base"


def test_a_name_that_was_never_given_has_nothing_to_go_back_to(store: Store) -> None:
    with pytest.raises(NotFound):
        store.promotions.rollback("desk", owner="ann")
