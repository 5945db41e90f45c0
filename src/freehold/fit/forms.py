"""What a known model would be made of in a quantization, before any file of it is here.

Room: fit. Knows shapes and recipes; must not know this machine.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from freehold import ops
from freehold.formats.block_types import BlockType
from freehold.library.known import Matrix, Shape, is_recurrent, is_windowed, matrices
from freehold.loading.outline import Outline, Part
from freehold.models.base import KvSpec
from freehold.ops import LayerKv
from freehold.quantize.recipes import Facts, choose, recipe_named

__all__ = ["FORMS", "native_forms", "outline_in"]

# From the largest to the smallest. A mixture that was published in 4-bit floats has them as well.
FORMS = ("BF16", "Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M", "Q4_0", "Q3_K_M", "Q2_K")

_NAMES = {
    "q": "attn_q",
    "k": "attn_k",
    "v": "attn_v",
    "kv": "attn_kv_b",
    "out": "attn_output",
    "qkv": "attn_qkv",
    "gate": "attn_gate",
    "decay": "ssm_ba",
    "up": "ffn_up",
    "down": "ffn_down",
    "router": "ffn_gate_inp",
    "expert_up": "ffn_up_exps",
    "expert_down": "ffn_down_exps",
    "layer_embed": "inp_gate",
}
_UNQUANTIZED = ("router", "decay")


def native_forms(native: str | None) -> tuple[str, ...]:
    """The forms of a model whose weights were published as `native` block type, None for bf16."""
    return ("MXFP4",) if native == "mxfp4" else FORMS


@dataclass(frozen=True)
class _Named:
    """A matrix under the name that recipes know it by."""

    name: str
    matrix: Matrix

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.matrix.rows, self.matrix.columns)


@lru_cache(maxsize=256)
def outline_in(shape: Shape, form: str, context_tokens: int) -> Outline:
    """The outline of a shape in a form such as "Q4_K_M". Raises: BadRecipe."""
    named = [_Named(_name(shape, matrix), matrix) for matrix in matrices(shape)]
    types = _types(shape, form, named)
    return Outline(
        parts=tuple(_part(each, types[each.name]) for each in named),
        kv=_kv(shape),
        windows=tuple(
            shape.window if is_windowed(shape, layer) else 0 for layer in range(shape.layers)
        ),
        heads=shape.heads,
        width=shape.hidden,
        context_tokens=context_tokens,
        vectors_bytes=4 * shape.hidden * (2 * shape.layers + 1),
    )


def _name(shape: Shape, matrix: Matrix) -> str:
    if matrix.layer < 0:
        head = matrix.role == "head" and not shape.tied
        return "output.weight" if head else "token_embd.weight"
    return f"blk.{matrix.layer}.{_NAMES[matrix.role]}.weight"


def _types(shape: Shape, form: str, named: list[_Named]) -> dict[str, BlockType]:
    plain = {
        each.name: BlockType.F32 if each.matrix.role in _UNQUANTIZED else BlockType.BF16
        for each in named
    }
    if form == "BF16":
        return plain
    experts = shape.experts.count if shape.experts else 0
    facts = Facts(layers=shape.layers, heads=shape.heads, kv_heads=shape.kv_heads, experts=experts)
    chosen = choose(recipe_named(form), named, facts)
    return plain | {name: choice.type for name, choice in chosen.items()}


def _part(each: _Named, kind: BlockType) -> Part:
    matrix = each.matrix
    blocks = -(-matrix.columns // kind.block_elements)
    return Part(
        name=each.name,
        rows=matrix.rows,
        columns=matrix.columns,
        block_type=int(kind),
        n_bytes=matrix.rows * matrix.copies * blocks * kind.block_bytes,
        copies=matrix.copies,
        used=matrix.used,
    )


def _kv(shape: Shape) -> KvSpec:
    layers = tuple(_kept(shape, layer) for layer in range(shape.layers))
    return KvSpec(layers, tuple(_cells(shape)))


def _kept(shape: Shape, layer: int) -> LayerKv:
    if is_recurrent(shape, layer) or layer >= shape.layers - shape.kv_shared:
        return LayerKv(0, 0, 0)
    if shape.latent is not None:
        rank = shape.latent.rank
        return LayerKv(1, rank + shape.latent.rope, rank, latent=True)
    full = not is_windowed(shape, layer)
    width = (full and shape.full_head_dim) or shape.head_dim
    return LayerKv((full and shape.full_kv_heads) or shape.kv_heads, width, width)


def _cells(shape: Shape) -> Iterator[int]:
    """As the runtime keeps them: the convolution's last inputs, and the state."""
    recurrent = shape.recurrent
    if recurrent is None:
        return
    key = recurrent.key_heads * recurrent.key_dim
    value = recurrent.value_heads * recurrent.value_dim
    for _ in range(recurrent.layers):
        yield (recurrent.kernel - 1) * (2 * key + value)
        yield ops.delta_floats(recurrent.value_heads, recurrent.key_dim, recurrent.value_dim)
