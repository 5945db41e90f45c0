"""BERT, RoBERTa and what shares their architecture: encoders whose every token sees the whole text.

Room: models. The whole network: learned positions, post-norm, bidirectional attention, a plain MLP.
Must not know a file, a request or a lock.
Source: arXiv 1810.04805, 1907.11692.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, chain

from freehold import ops
from freehold.models.base import Parameter, Slot
from freehold.models.blocks import Workspace
from freehold.ops import Packed, Tensor, Weight

__all__ = ["Bert", "BertConfig"]


@dataclass(frozen=True)
class BertConfig:
    """Shapes and constants; the dims are those of `freehold.ops`.

    `positions` are rows of the table, of which a text takes those from `first_position` on.
    """

    vocabulary: int  # V
    positions: int
    types: int
    layers: int  # L
    width: int  # D
    heads: int  # H
    mlp_width: int  # F
    eps: float
    activation: str = "gelu"
    first_position: int = 0


@dataclass(frozen=True)
class _Affine:
    """A matrix and its bias."""

    weight: Weight  # (N, K)
    bias: Tensor  # (1, N)


@dataclass(frozen=True)
class _Norm:
    """A layer norm's weight and bias, (1, D) each."""

    weight: Tensor
    bias: Tensor


@dataclass(frozen=True)
class _Layer:
    q: _Affine
    k: _Affine
    v: _Affine
    out: _Affine
    attn_norm: _Norm
    up: _Affine
    down: _Affine
    mlp_norm: _Norm

    def __call__(self, config: BertConfig, packed: Packed, work: Workspace) -> None:
        """Mutates: the work buffers; x (T, D) among them holds the result."""
        count, eps = packed.count, config.eps
        x, q, k, v = work["x"], work["q"], work["k"], work["v"]
        attended, hidden = work["attended"], work["hidden"]
        three = (self.q, self.k, self.v)
        _project(x, count, three, "none", (q, k, v))  # (T, H A) each
        ops.attend_packed(q, k, v, packed, config.heads, _scale(config), attended)  # (T, H A)
        norm, out = self.attn_norm, self.out
        ops.project_add_norm(
            attended, out.weight, out.bias, norm.weight, norm.bias, eps, count, x
        )  # (T, D)
        _project(x, count, (self.up,), config.activation, (hidden,))  # (T, F)
        norm, down = self.mlp_norm, self.down
        ops.project_add_norm(hidden, down.weight, down.bias, norm.weight, norm.bias, eps, count, x)


class Bert:
    """The network over packed weights, given by canonical name."""

    def __init__(self, config: BertConfig, parameters: Mapping[str, Parameter]) -> None:
        self.config = config
        self._words = _tensor(parameters["embed"])  # (V, D)
        self._positions = _tensor(parameters["positions"])  # (positions, D)
        self._types = _tensor(parameters["types"])  # (types, D)
        self._norm = _norm(parameters, "embed_norm")
        self._layers = [_layer(parameters, f"layers.{i}.") for i in range(config.layers)]
        narrow = dict.fromkeys(("x", "q", "k", "v", "attended"), config.width)
        self._work = Workspace(narrow | {"hidden": config.mlp_width})

    @classmethod
    def slots(cls, config: BertConfig) -> Mapping[str, Slot]:
        """Every tensor the family takes, by canonical name."""
        width, mlp = config.width, config.mlp_width
        slots = {
            "embed": Slot((config.vocabulary, width), matrix=False),
            "positions": Slot((config.positions, width), matrix=False),
            "types": Slot((config.types, width), matrix=False),
        }
        norms = ["embed_norm"]
        for i in range(config.layers):
            at = f"layers.{i}."
            norms += [at + "attn_norm", at + "mlp_norm"]
            matrices = dict.fromkeys(("attn.q", "attn.k", "attn.v", "attn.out"), (width, width))
            matrices |= {"mlp.up": (mlp, width), "mlp.down": (width, mlp)}
            for name, shape in matrices.items():
                slots[at + name] = Slot(shape)
                slots[f"{at}{name}_bias"] = Slot(shape[:1], matrix=False)
        for name in norms:
            slots |= {name: Slot((width,), matrix=False), f"{name}_bias": Slot((width,), False)}
        return slots

    @property
    def width(self) -> int:
        """D, the length of a vector."""
        return self.config.width

    @property
    def vocabulary(self) -> int:
        """V, how many tokens there are."""
        return self.config.vocabulary

    @property
    def context_tokens(self) -> int:
        """How many tokens a text may have."""
        return self.config.positions - self.config.first_position

    def pack(self, texts: Sequence[Sequence[int]]) -> Packed:
        """Texts of token ids, one after another."""
        offsets = [0, *accumulate(map(len, texts))]
        tokens = list(chain.from_iterable(texts))
        return Packed(tokens, offsets, first_position=self.config.first_position)

    def forward(self, packed: Packed) -> Tensor:
        """A vector for each token, (T, D); valid until the next call."""
        self._work.reserve(packed.count)
        x, norm = self._work["x"], self._norm
        tables = (self._words, self._positions, self._types)
        ops.embed_packed(*tables, norm.weight, norm.bias, self.config.eps, packed, x)  # (T, D)
        for layer in self._layers:
            layer(self.config, packed, self._work)
        return x


def _scale(config: BertConfig) -> float:
    return float((config.width // config.heads) ** -0.5)


def _project(
    x: Tensor, count: int, parts: Sequence[_Affine], activation: str, outs: Sequence[Tensor]
) -> None:
    weights, biases = [part.weight for part in parts], [part.bias for part in parts]
    ops.project(x, count, weights, biases, ops.ACTIVATIONS.index(activation), outs)


def _layer(parameters: Mapping[str, Parameter], at: str) -> _Layer:
    def affine(name: str) -> _Affine:
        weight = parameters[at + name]
        assert isinstance(weight, Weight), "loading put a row where a matrix belongs"
        return _Affine(weight, _tensor(parameters[f"{at}{name}_bias"]))

    return _Layer(
        q=affine("attn.q"),
        k=affine("attn.k"),
        v=affine("attn.v"),
        out=affine("attn.out"),
        attn_norm=_norm(parameters, at + "attn_norm"),
        up=affine("mlp.up"),
        down=affine("mlp.down"),
        mlp_norm=_norm(parameters, at + "mlp_norm"),
    )


def _norm(parameters: Mapping[str, Parameter], name: str) -> _Norm:
    return _Norm(_tensor(parameters[name]), _tensor(parameters[name + "_bias"]))


def _tensor(parameter: Parameter) -> Tensor:
    assert isinstance(parameter, Tensor), "loading put a matrix where a row belongs"
    return parameter
