"""Known models in a quantization, against files of that form and what is known of their caches."""

from __future__ import annotations

import pytest

from freehold.errors import BadRecipe
from freehold.fit.forms import FORMS, native_forms, outline_in
from freehold.fit.predict import memory_needs
from freehold.library.known import Shape, known_model, known_models
from freehold.loading.outline import Outline


def shape_of(ref: str) -> Shape:
    model = known_model(ref)
    assert model is not None
    assert model.shape is not None
    return model.shape


def outline(ref: str, form: str = "Q4_K_M") -> Outline:
    return outline_in(shape_of(ref), form, 8192)


@pytest.mark.parametrize(
    ("ref", "form", "size_bytes"),
    [
        # Files that llama.cpp's quantizer wrote, less their metadata: within a hundredth.
        ("HuggingFaceTB/SmolLM2-135M-Instruct", "Q4_K_M", 105_454_144 - 1_700_000),
        ("HuggingFaceTB/SmolLM2-135M-Instruct", "Q8_0", 144_811_072 - 1_700_000),
        ("HuggingFaceTB/SmolLM2-135M-Instruct", "Q4_0", 91_726_912 - 1_700_000),
        ("meta-llama/Llama-3.2-1B-Instruct", "Q4_K_M", 802_709_216),
        ("Qwen/Qwen3-30B-A3B", "Q4_K_M", 18_554_135_040),
    ],
)
def test_size_is_that_of_a_file_of_the_form(ref: str, form: str, size_bytes: int) -> None:
    assert outline(ref, form).weights_bytes == pytest.approx(size_bytes, rel=0.01)


@pytest.mark.parametrize(
    ("ref", "kib_per_token"),
    [
        ("HuggingFaceTB/SmolLM2-135M-Instruct", 22.5),
        ("Qwen/Qwen3-0.6B", 112),
        ("meta-llama/Llama-3.1-8B-Instruct", 128),
        ("Qwen/Qwen3-30B-A3B", 96),
        ("deepseek-ai/DeepSeek-V2-Lite-Chat", 30.4),
    ],
)
def test_cache_of_a_token_is_what_its_attention_keeps(ref: str, kib_per_token: float) -> None:
    needs = memory_needs(outline(ref), context=6400)
    assert needs.kv / 6400 / 1024 == pytest.approx(kib_per_token, rel=0.01)


def test_eight_bits_halve_the_cache() -> None:
    whole, half = (
        memory_needs(outline("Qwen/Qwen3-4B"), context=6400, kv_bits=bits).kv for bits in (16, 8)
    )
    assert 0.5 < half / whole < 0.55


def test_recurrent_layers_keep_states_and_no_pages() -> None:
    needs = memory_needs(outline("Qwen/Qwen3.5-4B"), context=6400)
    attends = memory_needs(outline("Qwen/Qwen3-4B"), context=6400)
    assert needs.kv < attends.kv / 3
    assert needs.states > 2 * 24 * 32 * 128 * 128 * 4
    assert attends.states == 0


def test_every_form_is_smaller_than_the_one_before() -> None:
    sizes = [outline("meta-llama/Llama-3.1-8B-Instruct", form).weights_bytes for form in FORMS]
    assert sizes == sorted(sizes, reverse=True)
    assert len(set(sizes)) == len(FORMS)


def test_a_model_published_in_four_bits_has_that_form_alone() -> None:
    assert native_forms("mxfp4") == ("MXFP4",)
    assert outline("openai/gpt-oss-20b", "MXFP4").weights_bytes == pytest.approx(12.1e9, rel=0.02)


def test_every_known_shape_has_an_outline() -> None:
    for model in known_models():
        if model.shape is not None:
            form = "Q4_K_M" if model.native is None else native_forms(model.native)[0]
            assert outline_in(model.shape, form, model.context).weights_bytes > 0


def test_an_unknown_form_is_refused() -> None:
    with pytest.raises(BadRecipe):
        outline("Qwen/Qwen3-4B", "Q9_Z")
