"""Which models are offered, in which form and order."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from freehold.config import Settings, resolve_settings
from freehold.errors import UnknownModel
from freehold.fit import Fit, Question, fit_of_file, fits_of_model, list_fits, subject_of
from freehold.library.known import KnownModel, known_model
from tests.fit.rates import made_rates
from tests.loading.small_directory import write_directory, write_weights

GB = 10**9
QUESTION = Question(rates=made_rates(), memory_bytes=16 * GB, free_bytes=12 * GB)


@pytest.fixture
def settings(home: Path) -> Settings:
    return resolve_settings({"home": home})


def known(ref: str) -> KnownModel:
    model = known_model(ref)
    assert model is not None
    return model


def by_ref(rows: list[Fit]) -> dict[str, Fit]:
    return {row.ref: row for row in rows}


def test_what_fits_and_runs_comes_first_and_the_largest_first(settings: Settings) -> None:
    rows = list_fits(QUESTION, settings=settings)
    ranks = [(not row.carried, ("yes", "tight", "no").index(row.fits)) for row in rows]
    assert ranks == sorted(ranks)
    quick = [row for row in rows if row.fits == "yes" and row.times and row.times.token_s < 0.2]
    assert quick == rows[: len(quick)]
    sizes = [row.parameters for row in quick]
    assert sizes == sorted(sizes, reverse=True)


def test_fits_is_about_the_machine_and_tight_about_now(settings: Settings) -> None:
    rows = list_fits(QUESTION, settings=settings)
    for row in rows:
        if row.needs is not None:
            expected = "yes" if row.needs.total <= 12 * GB else "tight"
            assert row.fits == (expected if row.needs.total <= 16 * GB else "no")
    assert {row.fits for row in rows} == {"yes", "tight", "no"}


def test_a_smaller_form_is_taken_where_the_usual_one_does_not_fit(settings: Settings) -> None:
    rows = by_ref(list_fits(replace(QUESTION, free_bytes=16 * GB), settings=settings))
    assert rows["Qwen/Qwen3-8B"].form == "Q4_K_M"
    assert rows["openai/gpt-oss-20b"].form == "MXFP4"
    assert rows["Qwen/Qwen3-30B-A3B"].form == "Q2_K"
    assert rows["Qwen/Qwen3-30B-A3B"].fits == "yes"


def test_a_task_and_a_context_leave_out_the_others(settings: Settings) -> None:
    embedders = list_fits(QUESTION, settings=settings, task="embedding")
    assert embedders
    assert all(row.model and "embedding" in row.model.tasks for row in embedders)
    long = list_fits(replace(QUESTION, context=200_000), settings=settings)
    assert long
    assert all(row.model and row.model.context >= 200_000 for row in long)
    assert all(row.context == 200_000 for row in long)


def test_commercial_leaves_out_what_its_terms_forbid_or_nobody_knows(settings: Settings) -> None:
    everyone = by_ref(list_fits(QUESTION, settings=settings))
    business = by_ref(list_fits(replace(QUESTION, commercial=True), settings=settings))
    left_out = everyone.keys() - business.keys()
    assert "mistralai/Ministral-8B-Instruct-2410" in left_out
    assert "Qwen/Qwen2.5-3B-Instruct" in left_out
    assert "CohereLabs/c4ai-command-r7b-12-2024" in left_out
    assert "meta-models/Muse-Spark-Open-816B-A42B" in left_out
    assert {"Qwen/Qwen3-4B", "meta-llama/Llama-3.1-8B-Instruct"} <= business.keys()


def test_what_the_runtime_does_not_carry_has_no_speed(settings: Settings) -> None:
    (row,) = fits_of_model(known("google/gemma-2-2b-it"), QUESTION, settings=settings, form="q8_0")
    assert (row.carried, row.times, row.fits) == (False, None, "yes")


def test_a_model_without_a_shape_has_a_size_and_nothing_else(settings: Settings) -> None:
    row = next(
        row
        for row in fits_of_model(known("Qwen/Qwen3.8-27B"), QUESTION, settings=settings)
        if row.form == "Q4_K_M"
    )
    assert row.weights_bytes == pytest.approx(16.5e9, rel=0.05)
    assert (row.needs, row.times, row.outline, row.fits) == (None, None, None, "no")


def test_longest_context_is_what_fits_beside_the_weights(settings: Settings) -> None:
    (row,) = fits_of_model(known("Qwen/Qwen3-8B"), QUESTION, settings=settings, form="Q4_K_M")
    assert row.needs is not None
    longer = replace(QUESTION, context=row.longest_context)
    (again,) = fits_of_model(known("Qwen/Qwen3-8B"), longer, settings=settings, form="Q4_K_M")
    assert again.fits != "no"
    assert row.longest_context == known("Qwen/Qwen3-8B").context


def test_an_unknown_form_is_refused(settings: Settings) -> None:
    with pytest.raises(UnknownModel):
        fits_of_model(known("Qwen/Qwen3-8B"), QUESTION, settings=settings, form="Q9")


def test_a_reference_is_a_file_here_or_a_known_model_and_its_form(
    tmp_path: Path, settings: Settings
) -> None:
    folder = write_directory(tmp_path / "small")
    assert subject_of(str(folder), settings=settings) == folder
    assert subject_of("Qwen/Qwen3-4B:Q8_0", settings=settings) == (known("Qwen/Qwen3-4B"), "Q8_0")
    assert subject_of("starter", settings=settings) == (known("starter"), None)
    with pytest.raises(UnknownModel):
        subject_of("nobody/nothing", settings=settings)


def test_a_directory_is_judged_by_its_own_tensors(tmp_path: Path, settings: Settings) -> None:
    folder = write_directory(tmp_path / "small")
    write_weights(folder)
    row = fit_of_file(folder, str(folder), QUESTION, settings=settings)
    assert (row.form, row.fits, row.sparse) == ("F32", "yes", False)
    assert row.parameters == row.active == 300 * 64 + 4 * 64 * 64 + 3 * 128 * 64
    assert row.verdict.unknown
    assert row.times is not None
