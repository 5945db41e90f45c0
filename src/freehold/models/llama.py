"""Llama 1 to 3.2, SmolLM2 and what shares their architecture.

Room: models. The whole network: pre-norm RMSNorm, grouped-query attention with half-split rotary
positions, SwiGLU, head tied or not. Must not know a file, a request or a lock.
Source: arXiv 2302.13971, 2407.21783.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from freehold import ops
from freehold.models.base import KvSpec, Parameter, Slot
from freehold.models.blocks import Attention, Mlp, RopeScaling, Workspace, rope
from freehold.ops import KvPool, Step, Tensor, Weight

__all__ = ["Llama", "LlamaConfig"]


@dataclass(frozen=True)
class LlamaConfig:
    """Shapes and constants; the dims are those of `freehold.ops`."""

    vocabulary: int  # V
    context_tokens: int
    layers: int  # L
    width: int  # D
    heads: int  # H
    kv_heads: int  # G
    head_width: int  # A
    mlp_width: int  # F
    eps: float
    rope_base: float
    rope_scaling: RopeScaling = field(default_factory=RopeScaling)


class Llama:
    """The network over packed weights, given by canonical name."""

    def __init__(self, config: LlamaConfig, parameters: Mapping[str, Parameter]) -> None:
        self.config = config
        self._embed = _matrix(parameters["embed"])  # (V, D)
        self._head = _matrix(parameters.get("head", self._embed))  # (V, D), tied when absent
        self._final_norm = _row(parameters["final_norm"])  # (1, D)
        self._rope = rope(
            config.head_width, config.rope_base, config.rope_scaling, _divisors(parameters)
        )
        self._layers = [_layer(config, parameters, i) for i in range(config.layers)]
        query, key = config.heads * config.head_width, config.kv_heads * config.head_width
        self._work = Workspace(
            {
                "x": config.width,
                "q": query,
                "k": key,
                "v": key,
                "attended": query,
                "hidden": config.mlp_width,
            }
        )
        self._logits = Tensor(1, config.vocabulary)

    @classmethod
    def slots(cls, config: LlamaConfig) -> Mapping[str, Slot]:
        """Every tensor the family takes, by canonical name."""
        c = config
        query, key = c.heads * c.head_width, c.kv_heads * c.head_width
        slots = {
            "embed": Slot((c.vocabulary, c.width)),
            "head": Slot((c.vocabulary, c.width), optional=True),
            "final_norm": Slot((c.width,), matrix=False),
            "rope_divisors": Slot((c.head_width // 2,), matrix=False, optional=True),
        }
        for i in range(c.layers):
            slots |= {
                f"layers.{i}.attn_norm": Slot((c.width,), matrix=False),
                f"layers.{i}.attn.q": Slot((query, c.width)),
                f"layers.{i}.attn.k": Slot((key, c.width)),
                f"layers.{i}.attn.v": Slot((key, c.width)),
                f"layers.{i}.attn.out": Slot((c.width, query)),
                f"layers.{i}.attn.q_bias": Slot((query,), matrix=False, optional=True),
                f"layers.{i}.attn.k_bias": Slot((key,), matrix=False, optional=True),
                f"layers.{i}.attn.v_bias": Slot((key,), matrix=False, optional=True),
                f"layers.{i}.attn.out_bias": Slot((c.width,), matrix=False, optional=True),
                f"layers.{i}.mlp_norm": Slot((c.width,), matrix=False),
                f"layers.{i}.mlp.gate": Slot((c.mlp_width, c.width)),
                f"layers.{i}.mlp.up": Slot((c.mlp_width, c.width)),
                f"layers.{i}.mlp.down": Slot((c.width, c.mlp_width)),
            }
        return slots

    @property
    def vocabulary(self) -> int:
        """V, the number of rows of the head."""
        return self.config.vocabulary

    @property
    def context_tokens(self) -> int:
        """How many tokens the model was trained to see."""
        return self.config.context_tokens

    def kv_spec(self) -> KvSpec:
        """Keys and values of every layer."""
        return KvSpec.alike(self.config.layers, self.config.kv_heads, self.config.head_width)

    def forward(self, step: Step, kv: KvPool) -> Tensor:
        """Logits (S, V) of the step's logit rows; valid until the next call.

        Mutates: kv, by the step's keys and values.
        """
        work = self._work
        work.reserve(step.count)
        x = work["x"]  # (T, D)
        ops.make_rotation(step, self._rope.frequencies, self._rope.scale, work.rotation)
        ops.embed(self._embed, step, x)  # (T, D)
        for attention, mlp in self._layers:
            attention(x, step, kv, work)
            mlp(x, step, work)
        rows = len(step.logit_rows)
        if rows == 0:
            return self._logits
        if rows > self._logits.rows:
            self._logits = Tensor(rows, self.config.vocabulary)
        ops.head(x, self._final_norm, self.config.eps, self._head, step, self._logits)  # (S, V)
        return self._logits


def _layer(
    config: LlamaConfig, parameters: Mapping[str, Parameter], index: int
) -> tuple[Attention, Mlp]:
    at = f"layers.{index}."

    def bias(name: str) -> Tensor | None:
        found = parameters.get(f"{at}attn.{name}_bias")
        return None if found is None else _row(found)

    attention = Attention(
        layer=index,
        norm=_row(parameters[at + "attn_norm"]),
        eps=config.eps,
        q=_matrix(parameters[at + "attn.q"]),
        k=_matrix(parameters[at + "attn.k"]),
        v=_matrix(parameters[at + "attn.v"]),
        out=_matrix(parameters[at + "attn.out"]),
        biases=(bias("q"), bias("k"), bias("v"), bias("out")),
        scale=config.head_width**-0.5,
    )
    mlp = Mlp(
        norm=_row(parameters[at + "mlp_norm"]),
        eps=config.eps,
        gate=_matrix(parameters[at + "mlp.gate"]),
        up=_matrix(parameters[at + "mlp.up"]),
        down=_matrix(parameters[at + "mlp.down"]),
    )
    return attention, mlp


def _divisors(parameters: Mapping[str, Parameter]) -> NDArray[np.float32] | None:
    found = parameters.get("rope_divisors")
    return None if found is None else _row(found).numpy()[0].copy()


def _matrix(parameter: Parameter) -> Weight:
    assert isinstance(parameter, Weight), "loading put a row where a matrix belongs"
    return parameter


def _row(parameter: Parameter) -> Tensor:
    assert isinstance(parameter, Tensor), "loading put a matrix where a row belongs"
    return parameter
