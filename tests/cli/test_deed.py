"""The deed as people read it, prove it and hand it on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Run
from tests.library import owned
from tests.library.owned import House

house = pytest.fixture(owned.house)


def test_reads_well(freehold: Run, house: House) -> None:
    out = freehold("deed", "toy-small").out
    for words in (
        "Deed of toy-small",
        "licence   toy-licence",
        "by ann@house",
        "mean KL 0.0123 nats, 99th percentile 0.21",
        "same next token 95.7 %",
        "perplexity 13.4 where the source has 13.1",
        "5 times, last",
        "3 more times",
        "Made from",
        "org/toy at abc123",
        "Not verified",
        "Head: 8:",
    ):
        assert words in out


def test_an_intact_house_is_proven(freehold: Run, house: House) -> None:
    ran = freehold("deed", "toy-small", "--verify")
    assert ran.status == 0
    assert "\nVerified\n" in ran.out
    assert "hashing" in ran.err


def test_without_a_name_every_model_on_record_is_listed_and_proven(
    freehold: Run, house: House
) -> None:
    out = freehold("deed").out
    assert [line.split()[0] for line in out.splitlines()[1:3]] == ["org/toy", "toy-small"]
    told = json.loads(freehold("deed", "--json").out)
    assert [model["name"] for model in told["models"]] == ["org/toy", "toy-small"]
    assert freehold("deed", "--verify").status == 0
    house.damage(house.source, 400_000)
    ran = freehold("deed", "--verify")
    assert (ran.status, "  NO  source.gguf" in ran.out) == (1, True)
    assert freehold("deed", "--export", "json").status == 2


def test_an_empty_record_says_how_to_begin(freehold: Run) -> None:
    ran = freehold("deed", "--verify")
    assert ran.status == 0
    assert "freehold pull starter" in ran.out


def test_damage_is_shown_named_and_status_1(freehold: Run, house: House) -> None:
    house.damage(house.small, 400_000)
    ran = freehold("deed", "toy-small", "--verify")
    assert ran.status == 1
    assert "NOT VERIFIED" in ran.out
    assert "  NO  small.gguf" in ran.out
    assert "error[library.digest_mismatch]" in ran.err
    assert "tensor" in ran.err


def test_json_has_every_event_and_what_was_verified(freehold: Run, house: House) -> None:
    told = json.loads(freehold("deed", "toy-small", "--json").out)
    assert "verified" not in told
    assert [event["kind"] for event in told["parents"][0]["events"]] == ["obtained"]
    assert told["record"]["head"].startswith("8:")
    told = json.loads(freehold("deed", "toy-small", "--json", "--verify").out)
    assert told["verified"] is True
    house.damage(house.small, 400_000)
    ran = freehold("deed", "toy-small", "--json", "--verify")
    told = json.loads(ran.out)
    assert (ran.status, told["verified"]) == (1, False)
    assert [check["error"] is None for check in told["checks"]].count(False) == 1


def test_a_head_kept_elsewhere_is_compared(freehold: Run, house: House) -> None:
    head = json.loads(freehold("deed", "toy-small", "--json").out)["record"]["head"]
    assert freehold("deed", "toy-small", "--verify", "--anchor", head).status == 0
    wrong = head[:-1] + ("0" if head[-1] != "0" else "1")
    ran = freehold("deed", "toy-small", "--verify", "--anchor", wrong)
    assert ran.status == 1
    assert "error[store.chain_broken]" in ran.err
    assert freehold("deed", "toy-small", "--anchor", head).status == 2
    assert "no head" in freehold("deed", "toy-small", "--verify", "--anchor", "8").err


@pytest.mark.parametrize("form", ["cyclonedx", "json"])
def test_an_export_is_json_and_not_of_damaged_weights(
    freehold: Run, house: House, form: str
) -> None:
    told = json.loads(freehold("deed", "toy-small", "--export", form).out)
    assert told.get("bomFormat", told.get("form")) in ("CycloneDX", "freehold deed 1")
    house.damage(house.small, 400_000)
    ran = freehold("deed", "toy-small", "--export", form, "--verify")
    assert (ran.status, ran.out) == (1, "")


def test_a_model_without_a_record_is_told_how_to_get_one(freehold: Run, tmp_path: Path) -> None:
    (tmp_path / "m.gguf").write_bytes(b"weights")
    ran = freehold("deed", str(tmp_path / "m.gguf"))
    assert ran.status == 2
    assert "the record knows nothing of these weights" in ran.err
    assert "freehold import" in ran.err


def test_text_of_the_record_cannot_drive_the_terminal(
    freehold: Run, house: House, tmp_path: Path
) -> None:
    from freehold.library.identity import identity_of
    from freehold.library.record import Source, Terms, Weights, open_record, record_obtained

    bad = "\x1b[2J[bold]x[/bold]"
    path = tmp_path / "odd.gguf"
    path.write_bytes(b"odd")
    with open_record(house.settings) as events:
        weights = Weights(
            identity=identity_of(path), name=bad, location=path, terms=Terms(licence=bad)
        )
        record_obtained(events, weights, source=Source(kind="file", reference=bad, revision=bad))
    out = freehold("deed", str(path), "--verify").out
    assert "\x1b" not in out
    assert "[bold]x[/bold]" in out
