"""Openness by the two published yardsticks, on models whose publication is well known."""

from __future__ import annotations

import pytest

from freehold.library.known import known_models
from freehold.library.known.model import COMPONENTS as CATALOGUE_COMPONENTS
from freehold.library.terms import COMPONENTS, Licence, licence_named, openness_of
from freehold.library.terms.openness import DATA_INFORMATION


def named(name: str) -> Licence:
    licence = licence_named(name)
    assert licence is not None
    return licence


FREE = named("apache-2.0")
BOUND = named("llama3.1")

CLASS_3 = (
    "architecture",
    "weights",
    "technical-report",
    "evaluation-results",
    "model-card",
    "data-card",
)
CLASS_2 = (*CLASS_3, "training-code", "inference-code", "evaluation-code", "evaluation-data")


def test_the_framework_has_seventeen_components_and_the_catalogue_the_same() -> None:
    assert len(COMPONENTS) == 17
    assert {*COMPONENTS, DATA_INFORMATION} == set(CATALOGUE_COMPONENTS)


def test_weights_alone_under_a_free_licence_are_open_weight() -> None:
    found = openness_of(("weights",), (FREE,))
    assert found.level == "open-weight"
    assert found.framework_class is None


def test_no_weights_is_closed_and_no_list_is_not_looked_up() -> None:
    assert openness_of(("technical-report",), (FREE,)).level == "closed"
    unlooked = openness_of(None, (FREE,))
    assert unlooked.level == "open-weight"
    assert not unlooked.known


@pytest.mark.parametrize("data", ["data-information", "datasets"])
def test_open_source_needs_data_information_all_code_and_free_weights(data: str) -> None:
    parts = ("weights", data, "preprocessing-code", "training-code", "inference-code")
    assert openness_of(parts, (FREE,)).level == "open-source"
    assert openness_of(parts, (BOUND,)).level == "open-weight"
    assert openness_of(parts, (FREE, BOUND)).level == "open-weight"
    assert openness_of(parts, ()).level == "open-weight"
    for part in parts[1:]:
        without = tuple(one for one in parts if one != part)
        assert openness_of(without, (FREE,)).level == "open-weight", part


def test_the_classes_are_reached_one_after_the_other() -> None:
    assert openness_of(CLASS_3, (FREE,)).framework_class == 3
    assert openness_of(CLASS_3, (FREE,)).missing == (
        "training-code",
        "inference-code",
        "evaluation-code",
        "evaluation-data",
        "libraries",
    )
    assert openness_of((*CLASS_2, "libraries"), (FREE,)).framework_class == 2
    assert openness_of(COMPONENTS, (FREE,)).framework_class == 1
    assert openness_of(COMPONENTS, (FREE,)).missing == ()
    # Datasets do not make up for a missing card.
    skipped = tuple(part for part in COMPONENTS if part != "data-card")
    assert openness_of(skipped, (FREE,)).framework_class is None


def test_weights_under_other_terms_reach_no_class() -> None:
    found = openness_of(COMPONENTS, (BOUND,))
    assert found.framework_class is None
    assert found.missing == ("an open licence of the weights",)


@pytest.mark.parametrize(
    ("hub", "level"),
    [
        ("HuggingFaceTB/SmolLM2-135M-Instruct", "open-source"),
        ("EleutherAI/pythia-1.4b", "open-source"),
        ("allenai/Olmo-3-7B-Instruct", "open-source"),
        ("swiss-ai/Apertus-8B-Instruct-2509", "open-source"),
        ("Qwen/Qwen3-0.6B", "open-weight"),
        ("mistralai/Mistral-7B-Instruct-v0.3", "open-weight"),
        ("deepseek-ai/DeepSeek-V3.2", "open-weight"),
        ("meta-llama/Llama-3.1-8B-Instruct", "open-weight"),
        ("openai/gpt-oss-20b", "open-weight"),
    ],
)
def test_what_is_generally_held_of_well_known_models(hub: str, level: str) -> None:
    (model,) = (one for one in known_models() if one.hub == hub)
    assert openness_of(model.published, (named(model.licence),)).level == level
