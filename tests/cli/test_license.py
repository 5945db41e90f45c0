"""`freehold license` and `freehold config profile`: what people see and what is kept."""

from __future__ import annotations

import json
from pathlib import Path

from freehold.library.terms import NO_ADVICE
from tests.cli.conftest import Run
from tests.library.terms.files import gguf

LLAMA = "meta-llama/Llama-3.2-1B-Instruct"


def test_the_page_of_a_model_quotes_clauses_and_gives_no_advice(freehold: Run) -> None:
    ran = freehold("license", "starter")
    assert ran.status == 0
    assert "Apache License 2.0 (Apache-2.0)" in ran.out
    assert "verdict   allow\n" in ran.out
    assert "| Subject to the terms and conditions of this License" in ran.out
    assert "open source AI by OSAID 1.0" in ran.out
    assert ran.out.rstrip().endswith(NO_ADVICE)


def test_show_is_the_same(freehold: Run) -> None:
    assert freehold("license", "show", LLAMA).out == freehold("license", LLAMA).out


def test_the_page_says_which_answers_are_missing(freehold: Run) -> None:
    out = freehold("license", LLAMA).out
    assert "verdict   allow after acceptance" in out
    assert "not answered: monthly_users: how many people" in out
    assert "may ban   Llama 3.2 Community License Agreement, section 2" in out


def test_a_summary_is_called_one(freehold: Run) -> None:
    out = freehold("license", "moonshotai/Kimi-K3").out
    assert "(a summary: the licence's own words were not read)" in out


def test_json_has_every_reason_with_its_quote(freehold: Run) -> None:
    record = json.loads(freehold("license", LLAMA, "--json").out)
    assert record["verdict"] == "accept"
    assert record["open_questions"] == ["monthly_users"]
    assert all(reason["quote"] for reason in record["reasons"])
    assert record["openness"]["level"] == "open-weight"
    assert len(record["licences"][0]["sha256"]) == 64


def test_the_text_is_printed_whole(freehold: Run) -> None:
    ran = freehold("license", "starter", "--text")
    assert "END OF TERMS AND CONDITIONS" in ran.out
    assert "this program's copy" in ran.err


def test_a_person_answers_accepts_and_is_named(freehold: Run) -> None:
    assert freehold("license", "accept", LLAMA).status == 1
    assert freehold("config", "profile", "--individual", "--set", "regions=CH").status == 0
    ran = freehold("license", "accept", LLAMA, "--as", "Ada")
    assert ran.status == 0
    assert "accepted: llama3.2 by Ada" in ran.err
    assert "accepted by Ada on " in freehold("license", LLAMA).out
    kept = json.loads(freehold("license", "accept", LLAMA, "--json").out)["accepted"]
    assert [one["by"] for one in kept] == ["Ada"]


def test_the_profile_shows_answers_and_questions(freehold: Run) -> None:
    assert freehold("config", "profile").out.count("not answered") == 7
    ran = freehold(
        "config", "profile", "--set", "commercial=yes", "--set", "monthly_users=200M", "--json"
    )
    assert json.loads(ran.out)["answers"] == {"commercial": True, "monthly_users": 200_000_000}
    ran = freehold("config", "profile", "--unset", "commercial")
    assert "200,000,000" in ran.out
    assert ran.out.count("not answered") == 6


def test_a_wrong_answer_is_refused_and_nothing_is_kept(freehold: Run) -> None:
    for words in (("--set", "colour=red"), ("--set", "commercial"), ("--unset", "colour")):
        assert freehold("config", "profile", "--set", "regions=DE", *words).status == 2
    assert freehold("config", "profile").out.count("not answered") == 7


def test_a_policy_on_the_command_line_holds(freehold: Run, tmp_path: Path) -> None:
    policy = tmp_path / "rules.toml"
    policy.write_text('deny_licences = ["apache-2.0"]')
    out = freehold("license", "starter", "--policy", str(policy)).out
    assert "verdict   deny" in out
    assert f"a rule of this place, {policy}" in out
    for words in (("pull", "starter"), ("run", "starter", "Hello")):
        ran = freehold(*words, "--policy", str(policy))
        assert ran.status == 1
        assert "error[library.licence_denied]" in ran.err


def test_control_characters_of_a_file_do_not_reach_the_terminal(
    freehold: Run, tmp_path: Path
) -> None:
    file = gguf(tmp_path, "evil\x1b[2Jlicence")
    ran = freehold("license", str(file))
    assert ran.status == 0
    assert "\x1b" not in ran.out


def test_a_model_that_nobody_knows_is_an_error(freehold: Run) -> None:
    ran = freehold("license", "nobody/nothing")
    assert ran.status == 2
    assert "error[request.unknown_model]" in ran.err
