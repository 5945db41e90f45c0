"""What passes the gate, what is said and what is refused: by terms, answers, rules, acceptance."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import pytest

from freehold.config import Settings, resolve_settings
from freehold.errors import AcceptanceNeeded, BadSetting, LicenceDenied, UnknownLicence
from freehold.library.accepting import accept_terms
from freehold.library.gate import Use, require, ruling_on
from freehold.library.record import open_record
from freehold.library.terms import INDIVIDUAL, Profile, licence_named, write_profile
from tests.library.terms.files import directory, gguf
from tests.library.terms.test_texts import as_published

LLAMA = "meta-llama/Llama-3.2-1B-Instruct"
USES: tuple[Use, ...] = ("pull", "run", "serve", "quantize", "tune")


def settings(**values: object) -> Settings:
    return resolve_settings(values)


def under_policy(tmp_path: Path, text: str) -> Settings:
    path = tmp_path / "policy.toml"
    path.write_text(text)
    return replace(settings(), policy=(path,))


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if "gate" in record.name]


@pytest.mark.parametrize("use", USES)
def test_the_starter_passes_on_a_fresh_machine_without_a_word(
    use: Use, home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert require("starter", use, settings=settings()).outcome == "allow"
    file = home / "models" / "starter" / "x.gguf"
    assert require(file, use, settings=settings()).outcome == "allow"
    assert said(caplog) == []
    assert not home.exists()


@pytest.mark.parametrize(
    ("use", "host", "passes"),
    [
        ("run", "127.0.0.1", True),
        ("serve", "127.0.0.1", True),
        ("serve", "::1", True),
        ("serve", "localhost", True),
        ("serve", "0.0.0.0", False),
        ("serve", "host.example", False),
        ("quantize", "127.0.0.1", True),
        ("pull", "127.0.0.1", False),
        ("tune", "127.0.0.1", False),
    ],
)
def test_unknown_terms_are_said_here_and_refused_for_others(
    use: Use, host: str, passes: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = gguf(tmp_path)
    if passes:
        assert require(file, use, settings=settings(host=host)).unknown
        (line,) = said(caplog)
        assert "are not known" in line
        assert "license accept" in line
        return
    with pytest.raises(UnknownLicence) as error:
        require(file, use, settings=settings(host=host))
    assert "license accept" in error.value.hint
    assert said(caplog) == []


@pytest.mark.parametrize("use", USES)
def test_terms_that_nobody_accepted(use: Use, caplog: pytest.LogCaptureFixture) -> None:
    write_profile(INDIVIDUAL)
    if use == "run":
        assert require(LLAMA, use, settings=settings()).outcome == "accept"
        assert "nobody here has accepted" in said(caplog)[0]
        return
    with pytest.raises(AcceptanceNeeded) as error:
        require(LLAMA, use, settings=settings())
    assert "you agree to be bound by this Agreement" in error.value.found


@pytest.mark.parametrize("use", USES)
def test_terms_that_forbid_the_use_are_quoted(use: Use, tmp_path: Path) -> None:
    write_profile(Profile(commercial=True))
    with pytest.raises(LicenceDenied) as error:
        require(gguf(tmp_path, "mrl"), use, settings=settings())
    assert "commercial activities or business operations" in error.value.found


def test_an_answer_is_asked_for_and_never_assumed(tmp_path: Path) -> None:
    file = gguf(tmp_path, "mrl")
    with pytest.raises(AcceptanceNeeded) as error:
        require(file, "serve", settings=settings())
    assert "are the models used for business?" in error.value.found
    assert "config profile --set commercial=" in error.value.hint
    with pytest.raises(AcceptanceNeeded):
        accept_terms(str(file), settings=settings())


def test_once_accepted_it_passes_and_says_by_whom(tmp_path: Path) -> None:
    write_profile(INDIVIDUAL)
    (accepted,) = accept_terms(LLAMA, by="Ada", settings=settings())
    assert accepted.by == "Ada"
    verdict = require(LLAMA, "pull", settings=settings())
    assert verdict.outcome == "allow"
    assert verdict.accepted == f"Ada on {accepted.at[:10]}"
    with open_record(settings()) as events:
        (event,) = events.all()
    assert event.subject == accepted.digest
    assert "Llama 3.2 Community License Agreement" in event.body["text"]
    # A second time changes nothing.
    assert accept_terms(LLAMA, by="Bob", settings=settings()) == (accepted,)


def test_an_acceptance_of_the_clauses_covers_the_same_licence_as_a_file(tmp_path: Path) -> None:
    write_profile(INDIVIDUAL)
    licence = licence_named("llama3.2")
    assert licence is not None
    whole = as_published(licence)
    accept_terms(LLAMA, by="Ada", settings=settings())
    folder = directory(tmp_path / "sound", licence=whole)
    assert require(folder, "serve", settings=settings()).accepted
    changed = directory(tmp_path / "changed", licence=whole.replace("700 million", "7 million"))
    with pytest.raises(AcceptanceNeeded):
        require(changed, "serve", settings=settings())
    verdict = ruling_on(changed, settings=settings()).verdict
    assert any("differs from it in section 2" in reason.says for reason in verdict.reasons)


def test_an_acceptance_does_not_outlive_an_answer_that_forbids(tmp_path: Path) -> None:
    file = gguf(tmp_path, "mrl")
    write_profile(INDIVIDUAL)
    accept_terms(str(file), settings=settings())
    assert require(file, "serve", settings=settings()).accepted
    write_profile(replace(INDIVIDUAL, commercial=True))
    with pytest.raises(LicenceDenied):
        require(file, "serve", settings=settings())
    with pytest.raises(LicenceDenied):
        accept_terms(str(file), settings=settings())


def test_unknown_terms_are_accepted_for_these_very_bytes(tmp_path: Path) -> None:
    others = settings(host="0.0.0.0")
    file = gguf(tmp_path)
    accept_terms(str(file), by="Ada", settings=settings())
    assert require(file, "serve", settings=others).accepted
    other = gguf(tmp_path / "other", words={"general.name": "another"})
    with pytest.raises(UnknownLicence):
        require(other, "serve", settings=others)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("qwen3-0.6b-Q4_K_M.gguf", {}),
        ("Qwen3-0.6B.IQ4_XS.gguf", {}),
        ("model.gguf", {"general.name": "Qwen3 0.6B"}),
    ],
)
def test_a_name_alone_proves_nothing_and_is_pointed_out(
    name: str, words: dict[str, str], tmp_path: Path
) -> None:
    verdict = ruling_on(gguf(tmp_path, name=name, words=words), settings=settings()).verdict
    assert verdict.unknown
    assert any(
        "its name is that of Qwen/Qwen3-0.6B, which is under apache-2.0" in reason.says
        for reason in verdict.reasons
    )


@pytest.mark.parametrize("declared", ["unknown", "llama3.1", "someones-own"])
def test_a_model_of_a_hub_is_accepted_before_it_is_here(declared: str) -> None:
    write_profile(INDIVIDUAL)
    ref = "somebody/something"
    with pytest.raises((AcceptanceNeeded, UnknownLicence)) as error:
        require(ref, "pull", settings=settings(), declared=declared)
    assert f"freehold license accept {ref} --declared {declared}" in error.value.hint
    accept_terms(ref, settings=settings(), declared=declared)
    assert require(ref, "pull", settings=settings(), declared=declared).accepted


def test_a_licence_file_that_is_none_we_know_must_be_accepted_itself(tmp_path: Path) -> None:
    folder = directory(tmp_path / "a", card="license: mit", licence="Only on Sundays.")
    with pytest.raises(AcceptanceNeeded) as error:
        require(folder, "serve", settings=settings())
    assert "none of the texts known here" in error.value.found
    accept_terms(str(folder), settings=settings())
    assert require(folder, "serve", settings=settings()).accepted
    other = directory(tmp_path / "b", card="license: mit", licence="Only on Mondays.")
    with pytest.raises(AcceptanceNeeded):
        require(other, "serve", settings=settings())


def test_what_asks_nobody_needs_no_acceptance(tmp_path: Path) -> None:
    file = gguf(tmp_path, "apache-2.0")
    assert require(file, "tune", settings=settings()).outcome == "allow"
    assert accept_terms(str(file), settings=settings()) == ()


POLICIES = [
    ('allow_licences = ["mit"]', "apache-2.0", "LicenceDenied"),
    ('allow_licences = ["mit"]', "mit", "allow"),
    ('deny_licences = ["Apache-2.0"]', "apache-2.0", "LicenceDenied"),
    ('require = "open-source-licence"', "apache-2.0", "allow"),
    ('require = "open-source-licence"', "gemma", "LicenceDenied"),
    ('require = "open-source"', "apache-2.0", "LicenceDenied"),
    ('unknown = "deny"', None, "LicenceDenied"),
    ('[[model]]\npattern = "*model.gguf"\noutcome = "deny"\nreason = "no"', "mit", "LicenceDenied"),
    (
        '[[model]]\npattern = "*/MODEL.gguf"\noutcome = "accept"\nreason = "ask"',
        "mit",
        "AcceptanceNeeded",
    ),
    ('[[model]]\npattern = "other"\noutcome = "deny"\nreason = "no"', "mit", "allow"),
    ('[[override]]\npattern = "*"\nreason = "contract 7"', "mrl", "allow"),
    ('[[override]]\npattern = "other"\nreason = "contract 7"', "mrl", "LicenceDenied"),
    (
        '[[override]]\npattern = "*"\noutcome = "accept"\nreason = "contract 7"',
        "mrl",
        "AcceptanceNeeded",
    ),
]


@pytest.mark.parametrize(("rules", "licence", "expected"), POLICIES)
def test_rules_of_an_administrator(
    rules: str, licence: str | None, expected: str, tmp_path: Path
) -> None:
    write_profile(replace(INDIVIDUAL, commercial=True))
    held = under_policy(tmp_path, rules)
    file = gguf(tmp_path, licence)
    if expected == "allow":
        assert require(file, "serve", settings=held).outcome == "allow"
        return
    with pytest.raises((LicenceDenied, AcceptanceNeeded)) as error:
        require(file, "serve", settings=held)
    assert type(error.value).__name__ == expected


def test_a_rule_holds_for_the_starter_too(tmp_path: Path) -> None:
    held = under_policy(tmp_path, 'deny_licences = ["apache-2.0"]')
    with pytest.raises(LicenceDenied) as error:
        require("starter", "run", settings=held)
    assert "a rule of this place" in error.value.message


def test_a_further_file_only_tightens(tmp_path: Path) -> None:
    first, second = tmp_path / "house.toml", tmp_path / "mine.toml"
    first.write_text('deny_licences = ["mrl"]')
    second.write_text('[[override]]\npattern = "*"\nreason = "because I want it"')
    file = gguf(tmp_path, "mrl")
    write_profile(INDIVIDUAL)
    for files in ((first, second), (first,)):
        with pytest.raises(LicenceDenied):
            require(file, "run", settings=replace(settings(), policy=files))
    # Nor does the same file lift what another says by coming first.
    with pytest.raises(LicenceDenied):
        require(file, "run", settings=replace(settings(), policy=(second, first)))


def test_an_override_is_written_down_once_for_a_model_and_use(tmp_path: Path) -> None:
    write_profile(replace(INDIVIDUAL, commercial=True))
    held = under_policy(tmp_path, '[[override]]\npattern = "*"\nreason = "contract 7"')
    file = gguf(tmp_path, "mrl")
    uses: tuple[Use, ...] = ("serve", "serve", "run")
    for use in uses:
        require(file, use, settings=held)
    with open_record(held) as events:
        found = [event for event in events.all() if event.kind == "policy_override"]
    assert [(event.body["use"], event.body["reason"]) for event in found] == [
        ("serve", "contract 7"),
        ("run", "contract 7"),
    ]


def test_only_those_whom_the_policy_names_accept(tmp_path: Path) -> None:
    write_profile(INDIVIDUAL)
    held = under_policy(tmp_path, 'accepting = ["legal@example.org"]')
    with pytest.raises(LicenceDenied):
        accept_terms(LLAMA, settings=held)
    (accepted,) = accept_terms(LLAMA, by="legal@example.org", settings=held)
    assert accepted.by == "legal@example.org"


@pytest.mark.parametrize(
    "text",
    [
        'allow_licences = ["apache-3.0"]',
        'allowed = ["mit"]',
        'require = "openness"',
        'unknown = "allow"',
        '[[override]]\npattern = "*"',
        '[[override]]\npattern = "*"\nreason = " "',
        '[[model]]\npattern = "*"\noutcome = "allow"\nreason = "x"',
        "allow_licences = [",
    ],
)
def test_a_rule_that_means_nothing_stops_everything(text: str, tmp_path: Path) -> None:
    with pytest.raises(BadSetting):
        require("starter", "run", settings=under_policy(tmp_path, text))


def test_a_policy_that_is_not_there_stops_everything(tmp_path: Path) -> None:
    with pytest.raises(BadSetting):
        require("starter", "run", settings=replace(settings(), policy=(tmp_path / "no.toml",)))


def test_what_is_said_goes_where_the_programs_warnings_go(tmp_path: Path) -> None:
    assert logging.getLogger("freehold.library.gate").getEffectiveLevel() <= logging.WARNING
