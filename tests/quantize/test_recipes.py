"""Claims about the types that each recipe gives.

Oracle: the counts follow from the rules of llama.cpp's quantizer at 007dbbf3. Files that it wrote
of a model with 30 layers and width 576 have the very types of `choose` (benchmarks/quantize.py).
"""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

import pytest

from freehold.errors import BadRecipe
from freehold.quantize.recipes import (
    RECIPES,
    Facts,
    choose,
    is_quantizable,
    recipe_named,
    suit,
)
from freehold.quantize.recipes import T as Type

PARTS = {
    "attn_norm": (1,),
    "attn_q": (1, 1),
    "attn_k": (1, 1),
    "attn_v": (1, 1),
    "attn_output": (1, 1),
    "ffn_gate": (1, 1),
    "ffn_up": (1, 1),
    "ffn_down": (1, 3),
}


class Tensor(NamedTuple):
    name: str
    shape: tuple[int, ...]


def model(layers: int = 30, width: int = 512, *, tied: bool = True) -> list[Tensor]:
    tensors = [Tensor("token_embd.weight", (100, width)), Tensor("output_norm.weight", (width,))]
    if not tied:
        tensors.append(Tensor("output.weight", (100, width)))
    for layer in range(layers):
        for part, dims in PARTS.items():
            shape = (*[width] * (len(dims) - 1), width * dims[-1])
            tensors.append(Tensor(f"blk.{layer}.{part}.weight", shape))
    return tensors


def facts(**changes: int | bool) -> Facts:
    said = {"layers": 30, "heads": 9, "kv_heads": 3, "experts": 0, "calibrated": True} | changes
    return Facts(**said)  # type: ignore[arg-type]


def counts(recipe: str, tensors: list[Tensor], about: Facts | None = None) -> dict[str, int]:
    chosen = choose(recipe_named(recipe), tensors, about or facts())
    return dict(Counter(choice.type.name for choice in chosen.values()))


@pytest.mark.parametrize(
    ("recipe", "expected"),
    [
        ("Q8_0", {"Q8_0": 211}),
        ("Q6_K", {"Q6_K": 211}),
        ("Q5_K_M", {"Q6_K": 1 + 2 * 14, "Q5_K": 210 - 28}),
        ("Q4_K_M", {"Q6_K": 1 + 2 * 14, "Q4_K": 210 - 28}),
        ("Q4_K_S", {"Q6_K": 1, "Q5_K": 4 + 3, "Q4_K": 210 - 7}),
        ("Q4_0", {"Q6_K": 1, "Q4_1": 3, "Q4_0": 207}),
        ("Q3_K_M", {"Q6_K": 1, "Q5_K": 2 + 1, "Q4_K": 28 + 29 + 30, "Q3_K": 120}),
        ("Q2_K", {"Q6_K": 1, "Q3_K": 90, "Q2_K": 120}),
        ("MXFP4", {"Q8_0": 1, "MXFP4": 210}),
    ],
)
def test_each_recipe_mixes_as_its_name_says(recipe: str, expected: dict[str, int]) -> None:
    assert counts(recipe, model()) == expected


@pytest.mark.parametrize(
    ("recipe", "expected"),
    [
        ("Q4_K_M", {"Q8_0": 1 + 14, "Q5_0": 180 - 14, "Q6_K": 14, "Q4_K": 16}),
        ("Q2_K", {"Q8_0": 1, "Q4_0": 180, "Q3_K": 30}),
        ("Q3_K_M", {"Q8_0": 1, "Q5_1": 2, "Q5_0": 58, "Q4_0": 120, "Q5_K": 1, "Q4_K": 29}),
    ],
)
def test_odd_widths_get_substitutes(recipe: str, expected: dict[str, int]) -> None:
    """Width 576 is no multiple of 256, while the MLP's 1536 is."""
    tensors = [
        tensor._replace(shape=(*tensor.shape[:-1], 1536)) if "ffn_down" in tensor.name else tensor
        for tensor in model(width=576)
    ]
    assert counts(recipe, tensors) == expected


def test_a_head_of_its_own_takes_the_embeddings_place() -> None:
    chosen = choose(recipe_named("Q4_K_M"), model(tied=False), facts())
    assert chosen["output.weight"].type is Type.Q6_K
    assert chosen["token_embd.weight"].type is Type.Q4_K


def test_four_query_heads_a_key_head_are_worth_more_bits() -> None:
    chosen = choose(recipe_named("Q2_K"), model(), facts(heads=12))
    assert chosen["blk.5.attn_v.weight"].type is Type.Q4_K


def test_without_a_text_no_matrix_is_spared() -> None:
    assert counts("Q4_0", model(), facts(calibrated=False)) == {"Q6_K": 1, "Q4_0": 210}


def test_eight_experts_keep_keys_and_values() -> None:
    chosen = choose(recipe_named("Q4_K_M"), model(), facts(experts=8))
    assert chosen["blk.9.attn_k.weight"].type is Type.Q8_0
    assert chosen["blk.9.attn_v.weight"].type is Type.Q8_0
    assert chosen["blk.9.attn_output.weight"].type is Type.Q5_K


def test_of_a_mixture_only_experts_become_four_bit_floats() -> None:
    tensors = [*model(), Tensor("blk.0.ffn_up_exps.weight", (16, 64, 512))]
    chosen = choose(recipe_named("MXFP4"), tensors, facts(experts=16))
    assert chosen["blk.0.ffn_up_exps.weight"].type is Type.MXFP4
    assert chosen["blk.0.attn_q.weight"].type is Type.Q8_0


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("blk.0.attn_norm.weight", (512,)),
        ("blk.0.attn_q.bias", (512, 4)),
        ("blk.0.ffn_gate_inp.weight", (8, 512)),
        ("blk.0.ssm_conv1d.weight", (512, 4)),
        ("blk.0.ffn_gate_inp_shexp.weight", (1, 512)),
    ],
)
def test_small_and_delicate_tensors_stay(name: str, shape: tuple[int, ...]) -> None:
    assert not is_quantizable(Tensor(name, shape))


def test_rows_that_nothing_divides_stay_floats() -> None:
    assert suit(Type.Q4_K, 40) is Type.F16
    assert suit(Type.Q8_0, 40) is Type.F16


def test_unknown_names_are_refused_with_those_that_are_known() -> None:
    with pytest.raises(BadRecipe) as caught:
        recipe_named("Q4_K_L")
    assert all(name in caught.value.expected for name in RECIPES)
