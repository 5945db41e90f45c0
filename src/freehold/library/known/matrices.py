"""The matrices of a shape: what is stored of a model, and what of it a token passes through.

Room: library. Must not know how they are stored. Norms and biases, well under a thousandth of a
model, are left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from freehold.library.known.model import Shape

__all__ = ["Matrix", "count_parameters", "is_recurrent", "is_windowed", "matrices"]


@dataclass(frozen=True)
class Matrix:
    """`copies` matrices of (rows, columns) under one role, of which a token uses `used`.

    Of a table that is looked up, not multiplied, a token uses none.
    """

    role: str
    layer: int
    rows: int
    columns: int
    copies: int = 1
    used: int = 1

    @property
    def parameters(self) -> int:
        """All elements."""
        return self.rows * self.columns * self.copies

    @property
    def active(self) -> int:
        """Elements that one token meets."""
        return self.rows * self.columns * self.used


def matrices(shape: Shape) -> Iterator[Matrix]:
    """Every matrix; a tied embedding is the head alone."""
    if not shape.tied or shape.encoder:
        yield Matrix("embed", -1, shape.vocab, shape.hidden, used=0)
    if shape.layer_embedding:
        yield Matrix("embed", -1, shape.vocab, shape.layers * shape.layer_embedding, used=0)
    for layer in range(shape.layers):
        yield from _mixer(shape, layer)
        yield from _feed(shape, layer)
        if shape.layer_embedding:
            yield Matrix("layer_embed", layer, 3 * shape.layer_embedding, shape.hidden)
    if not shape.encoder:
        yield Matrix("head", -1, shape.vocab, shape.hidden)


def count_parameters(shape: Shape) -> tuple[int, int]:
    """(all parameters, those one token passes through) of a shape's matrices."""
    found = list(matrices(shape))
    return sum(each.parameters for each in found), sum(each.active for each in found)


def is_recurrent(shape: Shape, layer: int) -> bool:
    """Whether the layer keeps a state instead of keys and values; the last layer attends."""
    return shape.recurrent is not None and _among(layer, shape.layers, shape.recurrent.layers)


def is_windowed(shape: Shape, layer: int) -> bool:
    """Whether the layer sees a window of tokens only."""
    return _among(layer, shape.layers, shape.windowed)


def _among(layer: int, layers: int, few: int) -> bool:
    """Whether a layer is one of `few`, spread evenly with the other kind last."""
    return (layer + 1) * (layers - few) // layers == layer * (layers - few) // layers


def _mixer(shape: Shape, layer: int) -> Iterator[Matrix]:
    if is_recurrent(shape, layer):
        yield from _recurrent(shape, layer)
    elif shape.latent is not None:
        yield from _latent(shape, layer)
    else:
        yield from _attention(shape, layer)


def _attention(shape: Shape, layer: int) -> Iterator[Matrix]:
    full = not is_windowed(shape, layer)
    width = (full and shape.full_head_dim) or shape.head_dim
    kv_heads = (full and shape.full_kv_heads) or shape.kv_heads
    query, key = shape.heads * width, kv_heads * width
    yield Matrix("q", layer, query * (2 if shape.gated else 1), shape.hidden)
    if layer < shape.layers - shape.kv_shared:
        yield Matrix("k", layer, key, shape.hidden)
        if not (full and shape.full_value_is_key):
            yield Matrix("v", layer, key, shape.hidden)
    yield Matrix("out", layer, shape.hidden, query)


def _latent(shape: Shape, layer: int) -> Iterator[Matrix]:
    latent = shape.latent
    assert latent is not None, "a layer without a latent row"
    query = shape.heads * (latent.nope + latent.rope)
    if latent.query_rank:
        yield Matrix("q", layer, latent.query_rank, shape.hidden)
        yield Matrix("q", layer, query, latent.query_rank)
    else:
        yield Matrix("q", layer, query, shape.hidden)
    yield Matrix("k", layer, latent.rank + latent.rope, shape.hidden)
    yield Matrix("kv", layer, shape.heads * (latent.nope + latent.value), latent.rank)
    yield Matrix("out", layer, shape.hidden, shape.heads * latent.value)


def _recurrent(shape: Shape, layer: int) -> Iterator[Matrix]:
    recurrent = shape.recurrent
    assert recurrent is not None, "a layer without a state"
    key = recurrent.key_heads * recurrent.key_dim
    value = recurrent.value_heads * recurrent.value_dim
    yield Matrix("qkv", layer, 2 * key + value, shape.hidden)
    yield Matrix("gate", layer, value, shape.hidden)
    yield Matrix("decay", layer, 2 * recurrent.value_heads, shape.hidden)
    yield Matrix("out", layer, shape.hidden, value)


def _feed(shape: Shape, layer: int) -> Iterator[Matrix]:
    experts, hidden = shape.experts, shape.hidden
    dense = experts is None or experts.beside_dense or _dense(shape, layer)
    if dense:
        wide = 2 if layer >= shape.layers - shape.wide_layers else 1
        yield Matrix("up", layer, shape.ffn * wide, hidden)
        if not shape.encoder:
            yield Matrix("up", layer, shape.ffn * wide, hidden)
        yield Matrix("down", layer, hidden, shape.ffn * wide)
    if experts is None or _dense(shape, layer):
        return
    count, used = experts.count, experts.used
    yield Matrix("router", layer, count, hidden)
    yield Matrix("expert_up", layer, experts.ffn, hidden, copies=2 * count, used=2 * used)
    yield Matrix("expert_down", layer, hidden, experts.ffn, copies=count, used=used)
    if experts.shared_ffn:
        yield Matrix("up", layer, experts.shared_ffn, hidden, copies=2, used=2)
        yield Matrix("down", layer, hidden, experts.shared_ffn)


def _dense(shape: Shape, layer: int) -> bool:
    """Whether the layer has a plain MLP where others have experts; such layers come first."""
    return shape.experts is not None and layer < shape.experts.dense_layers
