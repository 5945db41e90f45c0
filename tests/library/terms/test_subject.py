"""A model's terms come from all that speaks of them: metadata, card, file, parents, the record."""

from __future__ import annotations

from pathlib import Path

import pytest

from freehold.config import resolve_settings
from freehold.errors import UnknownModel
from freehold.library.identity import Identity, identity_of
from freehold.library.record import open_record
from freehold.library.terms import Subject, licence_text, subject_of
from freehold.library.terms.licences import licence_named
from freehold.library.terms.texts import MAX_TEXT_BYTES
from tests.library.terms.files import directory, gguf
from tests.library.terms.test_texts import as_published


def subject(ref: str | Path, declared: str | None = None) -> Subject:
    return subject_of(ref, settings=resolve_settings(), declared=declared)


def ids(ref: str | Path, declared: str | None = None) -> set[str]:
    return {licence.id for licence in subject(ref, declared).licences}


def text_of(name: str) -> str:
    licence = licence_named(name)
    assert licence is not None
    return licence_text(licence) or as_published(licence)


@pytest.mark.parametrize(
    ("licence", "words", "expected"),
    [
        ("apache-2.0", {}, {"apache-2.0"}),
        ("Apache-2.0", {}, {"apache-2.0"}),
        ("llama3.1", {}, {"llama3.1"}),
        ("other", {"general.license.name": "qwen-research"}, {"qwen-research"}),
        ("other", {}, set()),
        (None, {}, set()),
    ],
)
def test_a_file_names_its_licence(
    tmp_path: Path, licence: str | None, words: dict[str, str], expected: set[str]
) -> None:
    assert ids(gguf(tmp_path, licence, words=words)) == expected


def test_a_name_that_is_not_known_is_kept_as_such(tmp_path: Path) -> None:
    found = subject(gguf(tmp_path, "someones-own-1.0"))
    assert found.licences == ()
    assert found.unread == ("someones-own-1.0",)


@pytest.mark.parametrize(
    ("card", "expected"),
    [
        ("license: mit", {"mit"}),
        ("license: 'gemma'", {"gemma"}),
        ("license: other\nlicense_name: mrl\nlicense_link: LICENSE", {"mrl"}),
        ("license:\n- apache-2.0", {"apache-2.0"}),
        ("language:\n- en\nextra: >-\n  license: gemma\n  more\nlicense: mit", {"mit"}),
        ("tags:\n- license:gemma", set()),
        ("", set()),
    ],
)
def test_a_card_names_the_licence_of_a_directory(
    tmp_path: Path, card: str, expected: set[str]
) -> None:
    assert ids(directory(tmp_path, card=card)) == expected


def test_a_licence_file_is_read_and_recognised(tmp_path: Path) -> None:
    found = subject(directory(tmp_path, licence=text_of("gemma")))
    assert [licence.id for licence in found.licences] == ["gemma"]
    assert found.evidence.text_where == "LICENSE"


def test_a_label_that_several_use_is_explained_by_the_licence_file(tmp_path: Path) -> None:
    card = "license: other\nlicense_name: modified-mit"
    assert subject(directory(tmp_path / "a", card=card)).unread == ("modified-mit",)
    for name in ("kimi-k2", "mistral-modified-mit"):
        found = subject(directory(tmp_path / name, card=card, licence=text_of(name)))
        assert [licence.id for licence in found.licences] == [name]
        assert found.unread == ()


def test_where_card_and_file_disagree_both_hold(tmp_path: Path) -> None:
    folder = directory(tmp_path, card="license: apache-2.0", licence=text_of("llama3.1"))
    assert ids(folder) == {"apache-2.0", "llama3.1"}


def test_the_file_for_the_weights_comes_before_the_one_for_the_code(tmp_path: Path) -> None:
    folder = directory(tmp_path, licence=text_of("mit"))
    (folder / "LICENSE-MODEL").write_text(text_of("deepseek"))
    assert ids(folder) == {"deepseek"}


def test_a_licence_beside_a_file_in_somebodys_folder_is_not_the_models(tmp_path: Path) -> None:
    (tmp_path / "LICENSE").write_text(text_of("mit"))
    assert ids(gguf(tmp_path)) == set()


def test_a_licence_beside_a_file_in_the_store_is_the_models(home: Path) -> None:
    folder = home / "models" / "mine"
    file = gguf(folder)
    (folder / "LICENSE").write_text(text_of("mit"))
    assert ids(file) == {"mit"}


def test_a_licence_file_that_no_licence_could_be_is_not_read(tmp_path: Path) -> None:
    folder = directory(tmp_path)
    (folder / "LICENSE").write_bytes(b"x" * (MAX_TEXT_BYTES + 1))
    assert subject(folder).evidence.text is None


def test_a_fine_tune_is_under_its_parents_terms_too(tmp_path: Path) -> None:
    parents = ("meta-llama/Llama-3.1-8B-Instruct", "somebody/unheard-of")
    assert ids(gguf(tmp_path, "mit", parents=parents)) == {"mit", "llama3.1"}
    folder = directory(
        tmp_path / "dir", card="license: mit\nbase_model: [google/gemma-2-2b-it, Qwen/Qwen3-0.6B]"
    )
    assert ids(folder) == {"mit", "gemma", "apache-2.0"}


def test_the_record_knows_the_terms_of_what_a_file_was_made_from(tmp_path: Path) -> None:
    settings = resolve_settings()
    source = gguf(tmp_path, name="source.gguf", words={"general.name": "source"})
    middle = gguf(tmp_path, name="middle.gguf", words={"general.name": "middle"})
    last = gguf(tmp_path, name="last.gguf", words={"general.name": "last"})
    known: list[Identity] = [identity_of(path) for path in (source, middle, last)]
    assert ids(last) == set()
    with open_record(settings) as events:
        events.append(kind="obtained", subject=known[0].digest, body={"licence": "llama3.2"})
        for child, parent in ((1, 0), (2, 1)):
            events.append(
                kind="quantized",
                subject=known[child].digest,
                body={"licence": None},
                parents=[known[parent].digest],
            )
    assert ids(last) == {"llama3.2"}
    assert [claim.where for claim in subject(last).claims] == [
        "the record of what it was made from"
    ]


def test_the_record_knows_which_repository_a_file_is_from(tmp_path: Path) -> None:
    file = gguf(tmp_path)
    with open_record(resolve_settings()) as events:
        source = {"kind": "hub", "reference": "moonshotai/Kimi-K3:Q4_K_M"}
        body = {"licence": "other", "source": source}
        events.append(kind="obtained", subject=identity_of(file).digest, body=body)
    assert ids(file) == {"kimi-k3"}
    assert "moonshotai/Kimi-K3:Q4_K_M" in subject(file).names


def test_a_file_that_was_never_hashed_is_not_hashed_for_this(tmp_path: Path) -> None:
    settings = resolve_settings()
    file = gguf(tmp_path)
    with open_record(settings) as events:
        events.append(kind="obtained", subject="sha256:" + "0" * 64, body={"licence": "mit"})
    assert ids(file) == set()
    assert not (settings.home / "hashes").exists()


def test_the_catalogue_speaks_for_short_names_and_hub_references() -> None:
    assert ids("starter") == {"apache-2.0"}
    assert ids("meta-llama/Llama-3.2-1B-Instruct") == {"llama3.2"}
    assert ids("meta-llama/Llama-3.2-1B-Instruct:Q4_K_M") == {"llama3.2"}


def test_a_model_whose_terms_nobody_confirmed_is_known_and_its_terms_are_not() -> None:
    found = subject("mistralai/Mistral-Large-4-1T-A52B")
    assert found.licences == ()
    assert found.unread == ()


def test_a_hub_reference_out_of_the_catalogue_is_what_its_source_declares() -> None:
    with pytest.raises(UnknownModel):
        subject("somebody/something")
    assert ids("somebody/something", declared="mrl") == {"mrl"}
    assert ids("somebody/something", declared="unknown") == set()


def test_a_declared_licence_adds_to_the_catalogues() -> None:
    assert ids("Qwen/Qwen3-0.6B", declared="mrl") == {"apache-2.0", "mrl"}


@pytest.mark.parametrize("raw", [b"", b"---", b"---\nlicense: mit", b"\xff\xfe---\n", b"---\n" * 9])
def test_a_broken_card_names_nothing(tmp_path: Path, raw: bytes) -> None:
    folder = directory(tmp_path)
    (folder / "README.md").write_bytes(raw)
    assert ids(folder) == set()
