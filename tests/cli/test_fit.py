"""`freehold fit` at the command line, over rates of a machine that does not exist."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from freehold.fit import measured
from tests.cli.conftest import Run
from tests.fit.rates import made_rates

TRAFFIC = ("--cost", "--requests-per-day", "500", "--prompt-tokens", "800", "--answer-tokens")


@pytest.fixture
def fit(freehold: Run, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setattr(measured, "measure_rates", lambda progress: made_rates())
    return lambda *words: freehold("fit", *words)


def lines_of(out: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in out.splitlines()]


def test_the_list_names_models_with_speed_and_terms(fit: Run) -> None:
    ran = fit("--memory", "16GB")
    assert ran.status == 0
    (row,) = (line for line in ran.out.splitlines() if line.startswith("Qwen/Qwen3-8B "))
    assert "Q4_K_M" in row
    assert row.rstrip().endswith("apache-2.0, allowed")
    assert "more do not fit or do not run here: --all" in ran.err
    assert "Qwen/Qwen3-235B-A22B" not in ran.out


def test_all_shows_what_does_not_fit_or_run(fit: Run) -> None:
    out = fit("--memory", "16GB", "--all").out
    assert "Qwen/Qwen3-235B-A22B" in out
    assert "no; not run here" in out


def test_filters_leave_models_out(fit: Run) -> None:
    rows = lines_of(
        fit(
            "--memory", "16GB", "--task", "code", "--commercial", "--context", "100000", "--json"
        ).out
    )
    assert rows
    assert all(row["verdict"] != "deny" and row["context"] == 100_000 for row in rows)
    assert all(row["fits"] != "no" and row["runs_here"] for row in rows)
    assert "mistralai/Ministral-8B-Instruct-2410" not in [row["ref"] for row in rows]


def test_one_model_in_every_form(fit: Run) -> None:
    ran = fit("Qwen/Qwen3-30B-A3B", "--memory", "24GB")
    assert "30.5B parameters, 3.35B of them active; licence apache-2.0, allowed" in ran.out
    forms = [line.split()[0] for line in ran.out.splitlines() if line[:1] in "BQ"]
    assert forms[1:] == ["BF16", "Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M", "Q4_0", "Q3_K_M", "Q2_K"]


def test_one_form_of_a_model_as_json(fit: Run) -> None:
    (row,) = lines_of(fit("Qwen/Qwen3-4B:q8_0", "--memory", "24GB", "--json").out)
    assert row["type"] == "Q8_0"
    assert row["fits"] == "yes"
    memory = row["memory"]
    assert isinstance(memory, dict)
    assert row["memory_bytes"] == sum(memory.values())


def test_a_family_that_is_not_carried_is_said(fit: Run) -> None:
    ran = fit("google/gemma-2-2b-it", "--memory", "24GB")
    assert "This version does not run its family (gemma2)." in ran.out


def test_a_month_beside_a_service(fit: Run) -> None:
    prices = ("--watts", "60", "--price-per-kwh", "0.3", "--machine-price", "1200")
    api = ("--api-price-in", "0.5", "--api-price-out", "1.5")
    ran = fit("Qwen/Qwen3-4B", "--memory", "24GB", *TRAFFIC, "200", *prices, *api)
    assert "Qwen3 4B, Q4_K_M" in ran.out
    for words in (
        "a month",
        "busy",
        "power",
        "25.00 over 4 years",
        "here",
        "the service",
        "dearer",
    ):
        assert words in ran.out, words


def test_a_month_as_json(fit: Run) -> None:
    (month,) = lines_of(fit("Qwen/Qwen3-4B:Q8_0", "--memory", "9GB", *TRAFFIC, "200", "--json").out)
    assert (month["type"], month["api_cost"], month["machines"]) == ("Q8_0", None, 1)


@pytest.mark.parametrize(
    "words",
    [
        ("--task", "singing"),
        ("--memory", "much"),
        ("Qwen/Qwen3-4B", "--cost"),
        ("--cost", "--requests-per-day", "1", "--prompt-tokens", "1", "--answer-tokens", "1"),
        ("Qwen/Qwen3-4B", "--prompt-tokens", "800"),
        ("google/gemma-2-2b-it", *TRAFFIC, "200"),
        ("Qwen/Qwen3-4B", "--context", "0"),
    ],
)
def test_what_makes_no_sense_is_refused(fit: Run, words: tuple[str, ...]) -> None:
    assert fit(*words).status == 2


def test_a_model_nobody_knows_is_refused(fit: Run) -> None:
    ran = fit("nobody/nothing")
    assert ran.status == 2
    assert "request.unknown_model" in ran.err
    assert "`freehold fit --all` lists every known model" in ran.err
    assert "Qwen/Qwen3-30B-A3B" in fit("qwen3-30b-a3").err


@pytest.mark.weights
def test_a_file_that_is_here(fit: Run, starter_path: Path) -> None:
    (row,) = lines_of(fit(str(starter_path), "--memory", "2GB", "--json").out)
    assert row["type"] == "Q4_1, mixed"
    assert row["fits"] == "yes"
    assert row["parameters"] == pytest.approx(134.5e6, rel=0.01)


def test_a_machine_measured_while_busy_is_said(fit: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.getloadavg", lambda: (3.2, 1.0, 1.0))
    assert "Measured while other programs ran (load 3.2)" in fit("Qwen/Qwen3-4B").err
