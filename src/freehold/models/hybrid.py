"""Decoders of which some layers keep a state instead of keys and values: the gated delta net.

Room: models. Must not know any family by name. The other layers attend as usual, with a gate on
what they find.
Source: arXiv 2412.06464.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from freehold import ops
from freehold.models.base import KvSpec, Parameter, Slot, matrix, row
from freehold.models.blocks import Workspace
from freehold.models.decoder import (
    Decoder,
    DecoderConfig,
    Feed,
    Mixer,
    attention_slots,
)
from freehold.ops import KvPool, LayerKv, Step, Tensor, Weight

__all__ = ["DeltaConfig", "DeltaNet", "HybridConfig", "HybridDecoder"]


@dataclass(frozen=True, kw_only=True)
class DeltaConfig:
    """Shapes of the layers with a state. `tiled` heads of values take turns on the key heads, as
    h % Hk; the others share one in runs.
    """

    layers: frozenset[int]
    key_heads: int  # Hk
    value_heads: int  # Hv
    key_width: int  # K
    value_width: int  # V
    taps: int  # J
    tiled: bool = False

    @property
    def columns(self) -> int:
        """C, all queries, keys and values of a token."""
        return 2 * self.key_heads * self.key_width + self.values

    @property
    def values(self) -> int:
        """All values of a token."""
        return self.value_heads * self.value_width

    @property
    def cells(self) -> tuple[int, int]:
        """What a layer keeps: the last inputs of its convolution, and its state."""
        state = ops.delta_floats(self.value_heads, self.key_width, self.value_width)
        return (self.taps - 1) * self.columns, state


@dataclass(frozen=True, kw_only=True)
class HybridConfig(DecoderConfig):
    """A decoder's shapes with those of its layers that keep a state."""

    delta: DeltaConfig


@dataclass(frozen=True)
class DeltaNet:
    """A layer with a state; x += out(norm(rule(convolve(qkv))) * silu(z))."""

    cell: int  # the convolution's; the state's follows
    config: DeltaConfig
    norm: Tensor  # (1, D)
    eps: float
    qkv: Weight  # (C, D)
    z: Weight  # (Hv V, D)
    a: Weight  # (Hv, D)
    b: Weight  # (Hv, D)
    taps: Tensor  # (J, C)
    decay: Tensor  # (1, Hv)
    dt_bias: Tensor  # (1, Hv)
    out_norm: Tensor  # (1, V)
    out: Weight  # (D, Hv V)

    def __call__(self, x: Tensor, step: Step, kv: KvPool, work: Workspace) -> None:
        """Mutates: x (T, D) and the states of `kv`."""
        count, config = step.count, self.config
        qkv, z, a, b, found = (work[name] for name in ("qkv", "z", "a", "b", "found"))
        weights = (self.qkv, self.z, self.a, self.b)
        ops.norm_project(
            x, self.norm, self.eps, count, weights, (None,) * 4, (qkv, z, a, b)
        )  # qkv (T, C), z (T, Hv V), a and b (T, Hv)
        ops.convolve(qkv, self.taps, step, kv, self.cell)
        ops.delta_rule(
            qkv,
            a,
            b,
            self.decay,
            self.dt_bias,
            config.key_heads,
            config.tiled,
            step,
            kv,
            self.cell + 1,
            found,
        )  # (T, Hv V)
        ops.norm_gate(found, self.out_norm, self.eps, z, count)
        ops.project_add(found, self.out, None, count, x)  # (T, D)


class HybridDecoder(Decoder):
    """The plain decoder with states in some layers, and gated attention in the others."""

    config: HybridConfig

    def __init__(self, config: HybridConfig, parameters: Mapping[str, Parameter]) -> None:
        super().__init__(config, parameters)
        delta = config.delta
        heads = {"a": delta.value_heads, "b": delta.value_heads}
        values = {"z": delta.values, "found": delta.values}
        gate = {"gate": config.heads * config.head_width}
        self.work.widths |= {"qkv": delta.columns} | values | heads | gate

    @classmethod
    def layer_slots(cls, config: DecoderConfig, index: int) -> dict[str, Slot]:
        """The tensors of one layer."""
        assert isinstance(config, HybridConfig), "the configuration is another family's"
        slots, own = super().layer_slots(config, index), attention_slots(config, index)
        at = f"layers.{index}."
        if index not in config.delta.layers:
            norm = Slot((config.head_width,), matrix=False)
            norms = {at + "attn.q_norm": norm, at + "attn.k_norm": norm}
            return slots | norms | {at + "attn.gate": own[at + "attn.q"]}
        feed = {name: slot for name, slot in slots.items() if name not in own}
        return feed | {at + "attn_norm": own[at + "attn_norm"]} | _delta_slots(config, at)

    def layer(self, parameters: Mapping[str, Parameter], index: int) -> tuple[Mixer, Feed]:
        """The blocks of one layer."""
        if index in self.config.delta.layers:
            return _delta_net(self.config, parameters, index), self.feed(parameters, index)
        return super().layer(parameters, index)

    def adapter_targets(self) -> tuple[str, ...]:
        """None: an adapter's queries come with gates, and its delta nets have no place yet."""
        return ()

    @classmethod
    def keeps(cls, config: DecoderConfig) -> KvSpec:
        """Keys and values of the layers that attend, the states of the others."""
        assert isinstance(config, HybridConfig), "the configuration is another family's"
        delta = config.delta
        attends = LayerKv(config.kv_heads, config.head_width, config.head_width)
        layers = tuple(
            LayerKv(0, 0, 0) if i in delta.layers else attends for i in range(config.layers)
        )
        return KvSpec(layers, delta.cells * len(delta.layers))


def _delta_slots(config: HybridConfig, at: str) -> dict[str, Slot]:
    c, at = config.delta, at + "delta."
    heads = Slot((c.value_heads,), matrix=False)
    gates = Slot((c.value_heads, config.width))
    return {
        at + "qkv": Slot((c.columns, config.width)),
        at + "z": Slot((c.values, config.width)),
        at + "a": gates,
        at + "b": gates,
        at + "taps": Slot((c.columns, c.taps), matrix=False),
        at + "decay": heads,  # of which formats keep one:
        at + "decay_log": heads,  # ln(-decay)
        at + "dt_bias": heads,
        at + "norm": Slot((c.value_width,), matrix=False),
        at + "out": Slot((config.width, c.values)),
    }


def _delta_net(config: HybridConfig, parameters: Mapping[str, Parameter], index: int) -> DeltaNet:
    at = f"layers.{index}.delta."
    ordinal = sum(layer < index for layer in config.delta.layers)
    logs = parameters.get(at + "decay_log")
    decay = row(parameters[at + "decay"]) if logs is None else _made(-np.exp(row(logs).numpy()))
    return DeltaNet(
        cell=len(config.delta.cells) * ordinal,
        config=config.delta,
        norm=row(parameters[f"layers.{index}.attn_norm"]),
        eps=config.eps,
        qkv=matrix(parameters[at + "qkv"]),
        z=matrix(parameters[at + "z"]),
        a=matrix(parameters[at + "a"]),
        b=matrix(parameters[at + "b"]),
        taps=_made(row(parameters[at + "taps"]).numpy().T),
        decay=decay,
        dt_bias=row(parameters[at + "dt_bias"]),
        out_norm=row(parameters[at + "norm"]),
        out=matrix(parameters[at + "out"]),
    )


def _made(values: np.ndarray[tuple[int, ...], np.dtype[np.float32]]) -> Tensor:
    """A tensor of the values (rows, cols)."""
    tensor = Tensor(*values.shape)
    tensor.fill(np.ascontiguousarray(values, np.float32))
    return tensor
