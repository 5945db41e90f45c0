"""`freehold promote`: proven, said, kept in the record, and taken back."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from freehold.cli import promoting
from freehold.library.identity import HashedFile, Identity
from freehold.library.record import Source, Terms, Weights, record_imported
from freehold.server.tuning.known import KnownModel
from freehold.store import open_store
from tests.cli.conftest import Run
from tests.evals.test_gating import measured

MODELS = {"old": "a", "new": "b", "worse": "c"}


def digest(name: str) -> str:
    return f"sha256:{MODELS[name] * 64}"


@pytest.fixture(autouse=True)
def _known(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three models that a server would serve, each measured on the same items."""

    def known(name: str, **_: object) -> KnownModel:
        return KnownModel(name=name, path=home / name, digest=digest(name))

    monkeypatch.setattr(promoting, "known_model", known)
    monkeypatch.setattr(promoting, "served_names", lambda *_: dict.fromkeys(MODELS, home))
    store = open_store(None, home)
    for name, right in (("old", [0, 1] * 10), ("new", [1] * 20), ("worse", [0] * 20)):
        file = HashedFile(name=f"{name}.gguf", size_bytes=1, sha256=MODELS[name] * 64)
        weights = Weights(
            identity=Identity(digest=digest(name), files=(file,)),
            name=name,
            location=home / name,
            terms=Terms(licence="MIT"),
        )
        record_imported(store.events, weights, source=Source(kind="file", reference="x"))
        measured(store.events, digest(name), right)
    store.close()


def test_a_better_model_takes_the_name_and_the_deed_says_so(freehold: Run) -> None:
    first = freehold("promote", "old", "--as", "desk")
    assert first.status == 0
    assert "desk now stands for old; event 7" in first.out
    assert "nothing stood there before" in first.out
    second = freehold("promote", "new", "--as", "desk")
    assert "desk now stands for new (before: old)" in second.out
    assert "t, exact: better, +0.5" in second.out
    deed = freehold("deed", "new").out
    assert "promoted" in deed
    assert "as desk, better on t (+0.5)" in deed
    assert freehold("deed", "--verify").status != 2
    listed = json.loads(freehold("promote", "--json").out)["names"]
    assert [(one["name"], one["model"], one["action"]) for one in listed] == [
        ("desk", "new", "promoted")
    ]


def test_a_model_that_is_not_better_is_refused_with_the_figures(freehold: Run) -> None:
    freehold("promote", "old", "--as", "desk")
    refused = freehold("promote", "worse", "--as", "desk")
    assert refused.status != 0
    assert "shows no gain of 'worse'" in refused.err
    assert "t: worse (-0.5" in refused.err
    assert "desk  old" in freehold("promote").out


def test_a_reason_stands_in_for_a_gain_and_is_kept(freehold: Run) -> None:
    freehold("promote", "old", "--as", "desk")
    done = freehold("promote", "worse", "--as", "desk", "--despite", "half the memory")
    assert done.status == 0
    assert "despite: half the memory" in freehold("deed", "worse").out


def test_rolling_back_is_one_command_and_on_record(freehold: Run) -> None:
    freehold("promote", "old", "--as", "desk")
    freehold("promote", "new", "--as", "desk")
    done = freehold("promote", "--rollback", "desk", "--despite", "complaints")
    assert "desk now stands for old (before: new)" in done.out
    assert "rolled back" in freehold("deed", "old").out
    again = freehold("promote", "--rollback", "desk")
    assert again.status != 0
    assert "nothing that 'desk' stood for before" in again.err


@pytest.mark.parametrize(
    "said",
    [
        ("new",),
        ("--as", "desk"),
        ("new", "--as", "desk", "--rollback", "desk"),
        ("--despite", "x"),
        ("new", "--as", "old"),
        ("new", "--as", "../x"),
    ],
)
def test_what_says_no_promotion_is_refused(freehold: Run, said: tuple[str, ...]) -> None:
    assert freehold("promote", *said).status == 2


def test_without_any_promotion_it_says_how(freehold: Run) -> None:
    assert "--as NAME" in freehold("promote").err
