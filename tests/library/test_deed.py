"""A deed tells a model's whole story, and its proof names the place of every alteration."""

from __future__ import annotations

import dataclasses
import os
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from freehold.errors import BadReference, ChainBroken, DigestMismatch, UnknownModel
from freehold.library.deed import Deed, all_deeds, find_deed
from freehold.library.deed_verify import Check, check_chain, check_deeds
from freehold.library.identity import Identity, identity_of
from freehold.library.record import (
    Source,
    Terms,
    Weights,
    note_removal,
    open_record,
    record_obtained,
    record_quantized,
)
from freehold.store import FILE_NAME
from tests.formats import safetensors_build
from tests.library import owned
from tests.library.owned import LICENCE_TEXT, LOSS, TENSOR_BYTES, House

house = pytest.fixture(owned.house)


def identify(path: Path) -> Identity:
    return identity_of(path)


def deed_named(house: House, ref: str) -> Deed:
    with open_record(house.settings) as events:
        return find_deed(ref, events, settings=house.settings, identify=identify)[0]


def proof(house: House, ref: str = "toy-small") -> list[Check]:
    with open_record(house.settings) as events:
        chain = check_chain(events)
        deed, _ = find_deed(ref, events, settings=house.settings, identify=identify)
        return [chain, *check_deeds([deed], lambda phase, done, total: None)]


def failures(house: House, ref: str = "toy-small") -> list[Check]:
    return [check for check in proof(house, ref) if check.error is not None]


def test_tells_what_it_is_whence_and_what_was_done(house: House) -> None:
    deed = deed_named(house, "toy-small")
    assert (deed.name, deed.licence, deed.location) == ("toy-small", "toy-licence", house.small)
    assert [event.kind for event in deed.events] == ["quantized", *["served"] * 5]
    assert [event.body["by"] for event in deed.acceptances] == ["ann@house"]
    (parent,) = deed.parents
    assert (parent.name, parent.licence) == ("org/toy", "toy-licence")
    assert [event.kind for event in parent.events] == ["obtained"]
    assert [one.name for one in deed.lineage()] == ["toy-small", "org/toy"]


def test_is_found_by_path_name_and_digest(house: House) -> None:
    digest = identity_of(house.small).digest
    refs = ("toy-small", str(house.small), digest, digest[7:], digest[7:20])
    assert {deed_named(house, ref).digest for ref in refs} == {digest}


def test_all_deeds_are_those_of_weights_each_once(house: House) -> None:
    with open_record(house.settings) as events:
        deeds, head = all_deeds(events)
    assert [deed.name for deed in deeds] == ["org/toy", "toy-small"]
    assert head.seq == 8


def test_a_derivative_inherits_its_parents_terms(house: House, tmp_path: Path) -> None:
    merged = tmp_path / "merged.gguf"
    merged.write_bytes(b"merged")
    with open_record(house.settings) as events:
        record_quantized(
            events,
            Weights(
                identity=identity_of(merged),
                name="merged",
                location=merged,
                terms=Terms(licence=None),
            ),
            parent=identity_of(house.small),
            recipe={"type": "Q2_K"},
            loss=LOSS,
            calibration=None,
        )
    deed = deed_named(house, "merged")
    assert (deed.licence, deed.licences) == (None, ("toy-licence",))
    assert [one.name for one in deed.lineage()] == ["merged", "toy-small", "org/toy"]


def test_a_copy_elsewhere_is_found_by_its_bytes(house: House, tmp_path: Path) -> None:
    copy = Path(shutil.copy(house.small, tmp_path / "copy.gguf"))
    assert deed_named(house, str(copy)).name == "toy-small"


def test_an_altered_file_is_still_looked_up_by_its_place(house: House) -> None:
    house.damage(house.small, 5000)
    assert deed_named(house, str(house.small)).name == "toy-small"


def test_unknown_weights_have_no_deed(house: House, tmp_path: Path) -> None:
    (tmp_path / "other.gguf").write_bytes(b"others")
    with pytest.raises(UnknownModel, match="knows nothing of these weights"):
        deed_named(house, str(tmp_path / "other.gguf"))
    with pytest.raises(UnknownModel):
        deed_named(house, "nonesuch")


def test_digits_that_fit_several_models_are_refused(house: House, tmp_path: Path) -> None:
    digests = set()
    with open_record(house.settings) as events:
        for number in ("a", "b"):
            identity = Identity(digest="sha256:" + "1" * 20 + number * 44, files=())
            weights = Weights(
                identity=identity, name="x", location=tmp_path, terms=Terms(licence=None)
            )
            record_obtained(events, weights, source=Source(kind="file", reference="x"))
            digests.add(identity.digest)
    with pytest.raises(BadReference, match="several models"):
        deed_named(house, "1" * 20)


def test_an_intact_house_verifies(house: House) -> None:
    findings = {check.what: check.finding for check in proof(house)}
    assert failures(house) == []
    assert "8 events" in findings["record"]
    assert "sha256 as recorded" in findings["small.gguf"]
    assert "sha256 as recorded" in findings["source.gguf"]
    assert "ann@house" in findings["acceptance of toy-licence"]


@pytest.mark.parametrize(
    ("place", "where"),
    [
        (0, "the header"),
        (-1, "tensor e.weight"),
        (-TENSOR_BYTES * 3 + 70_000, "tensor c.weight"),
    ],
)
def test_one_byte_of_a_weight_file_is_found_and_its_tensor_named(
    house: House, place: int, where: str
) -> None:
    place %= house.small.stat().st_size
    house.damage(house.small, place)
    (failed,) = failures(house)
    assert isinstance(failed.error, DigestMismatch)
    assert failed.what == "small.gguf"
    start = place // 65_536 * 65_536
    assert f"altered in bytes {start:,} to" in failed.error.message
    if place:  # with its first byte the header is unreadable, and the range alone is told
        assert where in failed.error.message


def test_a_byte_of_the_parents_file_is_found_too(house: House) -> None:
    house.damage(house.source, 300_000)
    (failed,) = failures(house)
    assert failed.what == "source.gguf"


def test_a_tensor_of_safetensors_is_named(house: House, tmp_path: Path) -> None:
    table = {
        "a": safetensors_build.entry("U8", [100_000], 0, 100_000),
        "b": safetensors_build.entry("U8", [200_000], 100_000, 300_000),
    }
    model = tmp_path / "hub"
    model.mkdir()
    (model / "config.json").write_text("{}")
    path = safetensors_build.write(model, safetensors_build.content(table, bytes(300_000)))
    with open_record(house.settings) as events:
        weights = Weights(
            identity=identity_of(model), name="hub", location=model, terms=Terms(licence=None)
        )
        record_obtained(events, weights, source=Source(kind="file", reference=str(model)))
    house.damage(path, 250_000)
    (failed,) = failures(house, "hub")
    assert failed.what == "hub/model.safetensors"
    assert "(tensor b)" in failed.finding
    house.damage(path, 250_000)
    (model / "tokenizer.json").write_text("{}")
    (failed,) = failures(house, str(model))
    assert "was not there when the model was recorded" in str(failed.error)


def test_a_shorter_or_longer_file_says_so(house: House) -> None:
    whole = house.small.read_bytes()
    house.small.write_bytes(whole[:-100])
    (failed,) = failures(house)
    assert f"{len(whole) - 100:,} bytes where {len(whole):,} were recorded" in failed.finding
    house.small.write_bytes(whole + b"x")
    (failed,) = failures(house)
    assert f"{len(whole) + 1:,} bytes where" in failed.finding


def test_a_missing_file_is_named(house: House) -> None:
    house.small.unlink()
    (failed,) = failures(house)
    assert failed.error is not None
    assert failed.error.message == f"{house.small} is missing"


def test_a_missing_file_of_a_directory_is_not_taken_for_its_namesake(
    house: House, tmp_path: Path
) -> None:
    model = tmp_path / "hub"
    (model / "1_Pooling").mkdir(parents=True)
    (model / "config.json").write_text("{}")
    (model / "1_Pooling" / "config.json").write_text("[]")
    (model / "model.safetensors").write_bytes(b"weights")
    with open_record(house.settings) as events:
        weights = Weights(
            identity=identity_of(model), name="hub", location=model, terms=Terms(licence=None)
        )
        record_obtained(events, weights, source=Source(kind="file", reference=str(model)))
    (model / "1_Pooling" / "config.json").unlink()
    (failed,) = failures(house, "hub")
    assert (failed.what, failed.finding) == ("hub/1_Pooling/config.json", "missing")


def test_a_forged_name_leads_nowhere_else(house: House, tmp_path: Path) -> None:
    model = tmp_path / "hub"
    model.mkdir()
    (model / "config.json").write_text("{}")
    (model / "model.safetensors").write_bytes(b"weights")
    identity = identity_of(model)
    outside = dataclasses.replace(identity.files[0], name="../../../../../../etc/hostname")
    with open_record(house.settings) as events:
        weights = Weights(
            identity=Identity(digest=identity.digest, files=(outside, identity.files[1])),
            name="hub",
            location=model,
            terms=Terms(licence=None),
        )
        record_obtained(events, weights, source=Source(kind="file", reference=str(model)))
    (failed, *_) = failures(house, "hub")
    assert failed.error is not None
    assert failed.error.value == str(model / "etc" / "hostname")


def test_a_change_that_sets_the_times_back_is_found(house: House) -> None:
    status = house.small.stat()
    house.damage(house.small, 90_000)
    os.utime(house.small, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert [check.what for check in failures(house)] == ["small.gguf"]


def test_a_removed_model_keeps_its_deed(house: House) -> None:
    house.small.unlink()
    note_removal(house.settings, name="toy-small", location=house.small)
    deed = deed_named(house, "toy-small")
    assert deed.location is None
    assert deed.events[-1].kind == "removed"
    assert failures(house) == []


def tamper(house: House, statement: str) -> None:
    with closing(sqlite3.connect(house.settings.home / FILE_NAME)) as raw, raw:
        for (name,) in raw.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'"):
            raw.execute(f"DROP TRIGGER {name}")
        raw.execute(statement)


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("UPDATE events SET body = replace(body, 'ann@', 'bob@') WHERE seq = 2", "event 2"),
        ("UPDATE events SET body = replace(body, 'may not', 'may nxt') WHERE seq = 2", "event 2"),
        ("UPDATE events SET body = replace(body, '0.0123', '0.0023') WHERE seq = 3", "event 3"),
        ("DELETE FROM events WHERE seq = 4", "event 4"),
        ("DELETE FROM events WHERE seq = 8", "event 8"),
        ("UPDATE events SET body = '{' WHERE seq = 1", "event 1"),
    ],
)
def test_an_altered_record_is_found_and_the_event_named(
    house: House, statement: str, message: str
) -> None:
    tamper(house, statement)
    with open_record(house.settings) as events:
        failed = check_chain(events)
    assert isinstance(failed.error, ChainBroken)
    assert message in failed.error.message


def test_an_altered_acceptance_names_who_and_when(house: House) -> None:
    tamper(house, "UPDATE events SET body = replace(body, 'may not', 'may nxt') WHERE seq = 2")
    chain, acceptance = (check.error for check in failures(house))
    at = deed_named(house, "toy-small").acceptances[0].at
    assert f"licence_accepted by ann@house, {at}" in str(chain)
    assert f"is not the one that ann@house accepted at {at}" in str(acceptance)


def test_an_event_that_never_fitted_its_digest_is_found(house: House, tmp_path: Path) -> None:
    right = identity_of(house.small)
    wrong = Identity(digest="sha256:" + "9" * 64, files=right.files)
    with open_record(house.settings) as events:
        weights = Weights(
            identity=wrong, name="wrong", location=house.small, terms=Terms(licence=None)
        )
        record_obtained(events, weights, source=Source(kind="file", reference="x"))
    (failed,) = failures(house, "9" * 64)
    assert "event 9 contradicts itself" in str(failed.error)


def test_another_text_of_the_same_licence_is_no_acceptance(house: House) -> None:
    with open_record(house.settings) as events:
        weights = Weights(
            identity=Identity(digest="sha256:" + "8" * 64, files=()),
            name="strict",
            location=house.source,
            terms=Terms(licence="toy-licence", text_sha256="7" * 64),
        )
        record_obtained(events, weights, source=Source(kind="file", reference="x"))
    assert deed_named(house, "strict").acceptances == ()
    assert LICENCE_TEXT in deed_named(house, "org/toy").acceptances[0].body["text"]
