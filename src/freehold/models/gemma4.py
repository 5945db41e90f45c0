"""Gemma 4, its text part.

Room: models. The whole network: embeddings times the root of their width; RMSNorm before and after
each half; grouped-query attention of unscaled scores, whose queries, keys and values are normed
head by head; most layers look back over a window, the others over everything, with wider heads of
which a part rotates and whose values may be their keys; the last layers look at what the last of
their kind before them kept. A gated MLP with GELU, or that beside a mixture of experts; then what
the token's own embedding for this layer adds. Must not know a file, a request or a lock.
Source: Gemma4TextModel of transformers 5.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from freehold import ops
from freehold.models.base import KvSpec, Parameter, Slot, matrix, row, row_or_none
from freehold.models.blocks import Rope, Workspace, add_projected, rope
from freehold.models.decoder import (
    Decoder,
    DecoderConfig,
    Feed,
    Mixer,
    gated_slots,
)
from freehold.ops import GATES, Gating, KvPool, LayerKv, RouterRule, Step, Tensor, Weight

__all__ = ["Gemma4", "Gemma4Attention", "Gemma4Config", "Gemma4Experts", "Gemma4Feed", "Own"]

GELU = Gating(GATES.index("gelu_tanh"))


@dataclass(frozen=True, kw_only=True)
class Gemma4Config(DecoderConfig):
    """The plain configuration, of layers with a window; the others have `full_...`.

    `values_are_keys` where a full layer has no values of its own; `borrowers` are how many of the
    last layers keep no keys; `own_width` is that of a token's embeddings for each layer, 0 without
    them; `rotated_pairs` of a full head rotate.
    """

    full_head_width: int
    full_kv_heads: int
    rotated_pairs: int
    values_are_keys: bool = False
    borrowers: int = 0
    wide_borrowers: bool = False
    own_width: int = 0
    own_vocabulary: int = 0

    def heads_of(self, layer: int) -> tuple[int, int]:
        """KV heads of a layer, and the width of all its heads."""
        if self.window(layer):
            return self.kv_heads, self.head_width
        return self.full_kv_heads, self.full_head_width

    def keeper(self, layer: int) -> int:
        """Whose keys and values the layer looks at."""
        first = self.layers - self.borrowers
        if layer < first:
            return layer
        full = self.window(layer) == 0
        return next(i for i in range(first - 1, -1, -1) if (self.window(i) == 0) == full)

    def inner_width(self, layer: int) -> int:
        """F of the layer's MLP."""
        wide = self.wide_borrowers and self.keeper(layer) != layer
        return self.mlp_width * (2 if wide else 1)


@dataclass(frozen=True)
class Gemma4Attention:
    """x += post_norm(out(attend(q, k, v))) with norms of all heads; a borrower has no k and v."""

    keeper: int
    norms: tuple[Tensor, Tensor]  # before and after, (1, D)
    eps: float
    q: Weight
    out: Weight
    kv: tuple[Weight, Weight] | None  # the same one twice where values are keys
    head_norms: tuple[Tensor, ...]  # of q, or of q, k and v
    window: int
    rope: int
    names: tuple[str, str, str, str]  # buffers of q, k, v and what is attended

    def __call__(self, x: Tensor, step: Step, kv: KvPool, work: Workspace) -> None:
        """Mutates: x (T, D) and the step's pages of `kv`."""
        q, k, v, attended = (work[name] for name in self.names)
        outs = (q,) if self.kv is None else (q, k, v)
        weights = (self.q,) if self.kv is None else (self.q, *self.kv)
        none = (None,) * len(outs)
        ops.norm_project(x, self.norms[0], self.eps, step.count, weights, none, outs)
        ops.norm_heads(outs, self.head_norms, self.eps, step.count)
        rotation = work.rotations[self.rope]
        if self.kv is None:
            ops.rotate_write(q, None, None, rotation, step, kv, self.keeper)
        else:
            ops.rotate_write(q, k, v, rotation, step, kv, self.keeper)
        ops.attend(q, kv, self.keeper, step, 1.0, attended, self.window)  # (T, H A)
        add_projected(attended, (self.out, None, None), (self.norms[1], self.eps), step, x, work)


@dataclass(frozen=True)
class Gemma4Experts:
    """A mixture of experts beside the MLP, with a norm before it and one after each of the two."""

    norms: tuple[Tensor, Tensor, Tensor]  # before; after the MLP; after the experts
    router: Weight  # (X, D)
    router_norm: Tensor  # (1, D)
    factors: Tensor  # (1, X)
    rule: RouterRule
    weights: tuple[Weight, Weight, Weight]  # gate, up, down

    def __call__(self, x: Tensor, y: Tensor, eps: float, step: Step, work: Workspace) -> Tensor:
        """The sum of both, (T, D), for what the MLP gave in y. Mutates: y."""
        both, count, routing = work["both"], step.count, work.routing
        ops.scale(both, 0.0, count)
        ops.add_normed(y, self.norms[1], eps, count, both)
        ops.route(
            x,
            self.router_norm,
            eps,
            self.router,
            None,
            self.rule,
            count,
            routing,
            factors=self.factors,
        )
        ops.scale(y, 0.0, count)
        ops.mix_experts(self.norms[0], eps, *self.weights, routing, x, y, gating=GELU)
        ops.add_normed(y, self.norms[2], eps, count, both)
        return both


@dataclass(frozen=True)
class Own:
    """What a token's own embedding for the layer adds; x += norm(out(gelu(gate(x)) * own))."""

    gate: Weight  # (O, D)
    out: Weight  # (D, O)
    norm: Tensor  # (1, D)
    first: int  # the layer's columns of all the token's embeddings


@dataclass(frozen=True)
class Gemma4Feed:
    """The MLP, the experts, the token's own embedding, and the factor of the whole layer."""

    norms: tuple[Tensor, Tensor]  # before and after, (1, D)
    eps: float
    gate: Weight
    up: Weight
    down: Weight
    hidden: str
    experts: Gemma4Experts | None
    own: Own | None
    factor: float

    def __call__(self, x: Tensor, step: Step, work: Workspace) -> None:
        """Mutates: x (T, D)."""
        hidden, y, count = work[self.hidden], work["y"], step.count
        ops.gate_up(x, self.norms[0], self.eps, self.gate, self.up, count, hidden, GELU)
        ops.norm_project(hidden, None, self.eps, count, (self.down,), (None,), (y,))
        both = y if self.experts is None else self.experts(x, y, self.eps, step, work)
        ops.add_normed(both, self.norms[1], self.eps, count, x)
        if self.own is not None:
            own = self.own
            opened = work["opened"]  # (T, O)
            ops.project(x, count, (own.gate,), (None,), _GELU_TANH, (opened,))
            ops.multiply_part(work["own"], own.first, count, opened)
            add_projected(opened, (own.out, None, None), (own.norm, self.eps), step, x, work)
        if self.factor != 1.0:
            ops.scale(x, self.factor, count)


_GELU_TANH = ops.ACTIVATIONS.index("gelu_tanh")


class Gemma4(Decoder):
    """A decoder whose layers keep, look at and add what their kind says."""

    config: Gemma4Config

    def __init__(self, config: Gemma4Config, parameters: Mapping[str, Parameter]) -> None:
        super().__init__(config, parameters)
        exponents = np.arange(0, 2 * config.rotated_pairs, 2, dtype=np.float32)
        exponents /= np.float32(config.full_head_width)
        turning = np.float32(1.0) / np.power(np.float32(config.rope_base), exponents)
        full = np.zeros(config.full_head_width // 2, np.float32)
        full[: config.rotated_pairs] = turning / np.float32(config.rope_scaling.factor)
        divisors = row_or_none(parameters, "full_divisors")
        if divisors is not None:
            full = (full / divisors.numpy()[0]).astype(np.float32)
        assert config.near_rope is not None, "layers with a window rotate on a base of their own"
        self.ropes = (Rope(full), rope(config.head_width, *config.near_rope))
        full_query = config.heads * config.full_head_width
        full_key = config.full_kv_heads * config.full_head_width
        self.work.widths |= {"y": config.width, "both": config.width, "wide": 2 * config.mlp_width}
        self.work.widths |= {"full q": full_query, "full k": full_key, "full v": full_key}
        self.work.widths |= {"full attended": full_query}
        self.feeds_alone = config.own_width == 0
        if config.own_width:
            all_own = config.own_width * config.layers
            self.work.widths |= {"own": all_own, "context": all_own, "opened": config.own_width}
            self._own_embed = matrix(parameters["own.embed"])  # (V, L O)
            self._own_context = matrix(parameters["own.context"])  # (L O, D)
            self._own_norm = _scaled(row(parameters["own.norm"]), 2.0**-0.5)  # (1, O)

    @classmethod
    def slots(cls, config: Gemma4Config) -> Mapping[str, Slot]:  # type: ignore[override]
        """Every tensor the family takes, by canonical name."""
        pairs = config.full_head_width // 2
        divisors = Slot((pairs,), matrix=False, optional=True)
        slots = {**super().slots(config), "full_divisors": divisors}
        if config.own_width:
            rows = config.own_width * config.layers
            slots["own.embed"] = Slot((config.own_vocabulary, rows))
            slots["own.context"] = Slot((rows, config.width))
            slots["own.norm"] = Slot((config.own_width,), matrix=False)
        return slots

    @classmethod
    def layer_slots(cls, config: Gemma4Config, index: int) -> dict[str, Slot]:  # type: ignore[override]
        """The tensors of one layer."""
        at, width = f"layers.{index}.", config.width
        kv_heads, head_width = config.heads_of(index)
        query, key = config.heads * head_width, kv_heads * head_width
        norm, head_norm = Slot((width,), matrix=False), Slot((head_width,), matrix=False)
        names = ("attn_norm", "attn_post_norm", "mlp_norm", "mlp_post_norm")
        slots = {at + name: norm for name in names}
        slots |= {at + "attn.q": Slot((query, width)), at + "attn.q_norm": head_norm}
        slots |= {at + "attn.out": Slot((width, query))}
        slots |= {at + "factor": Slot((1,), matrix=False, optional=True)}
        if config.keeper(index) == index:
            slots |= {at + "attn.k": Slot((key, width)), at + "attn.k_norm": head_norm}
            equal = config.values_are_keys and not config.window(index)
            slots[at + "attn.v"] = Slot((key, width), optional=equal)
        slots |= gated_slots(width, config.inner_width(index), 1, at + "mlp.")
        if config.own_width:
            slots[at + "own.gate"] = Slot((config.own_width, width))
            slots[at + "own.out"] = Slot((width, config.own_width))
            slots[at + "own.norm"] = norm
        moe = config.moe
        if moe is not None:
            names = ("moe.norm", "moe.mlp_post_norm", "moe.post_norm", "moe.router_norm")
            slots |= {at + name: norm for name in names}
            slots[at + "moe.factors"] = Slot((moe.experts,), matrix=False)
            slots[at + "moe.router"] = Slot((moe.experts, width))
            slots |= gated_slots(width, moe.expert_width, moe.experts, at + "moe.")
        return slots

    @classmethod
    def keeps(cls, config: Gemma4Config) -> KvSpec:  # type: ignore[override]
        """Keys and values of every layer that keeps its own."""
        kept = []
        for i in range(config.layers):
            heads, width = config.heads_of(i)
            kept.append(LayerKv(heads if config.keeper(i) == i else 0, width, width))
        return KvSpec(tuple(kept))

    def prepare(self, x: Tensor, step: Step) -> None:
        """The token's own embeddings for all layers, from its id and from x. Mutates: work."""
        config, work, count = self.config, self.work, step.count
        if config.own_width == 0:
            return
        own, context = work["own"], work["context"]  # (T, L O)
        ops.embed(self._own_embed, step, own)
        ops.scale(own, (config.own_width / 2) ** 0.5, count)
        ops.norm_project(x, None, 0.0, count, (self._own_context,), (None,), (context,))
        ops.scale(context, config.width**-0.5, count)
        ops.add_normed(context, self._own_norm, config.eps, count, own)

    def layer(self, parameters: Mapping[str, Parameter], index: int) -> tuple[Mixer, Feed]:
        """The blocks of one layer."""
        return self._mixer(parameters, index), self._feed(parameters, index)

    def _mixer(self, parameters: Mapping[str, Parameter], index: int) -> Gemma4Attention:
        config, at = self.config, f"layers.{index}."
        full, keeps = config.window(index) == 0, config.keeper(index) == index
        head_norms: tuple[Tensor, ...] = (row(parameters[at + "attn.q_norm"]),)
        kv = None
        if keeps:
            k = matrix(parameters[at + "attn.k"])
            kv = (k, matrix(parameters.get(at + "attn.v", k)))
            unit = _ones(config.heads_of(index)[1])
            head_norms = (*head_norms, row(parameters[at + "attn.k_norm"]), unit)
        prefix = "full " if full else ""
        q, k_name, v, attended = (prefix + name for name in ("q", "k", "v", "attended"))
        return Gemma4Attention(
            keeper=config.keeper(index),
            norms=_pair(parameters, at + "attn"),
            eps=config.eps,
            q=matrix(parameters[at + "attn.q"]),
            out=matrix(parameters[at + "attn.out"]),
            kv=kv,
            head_norms=head_norms,
            window=config.window(index),
            rope=0 if full else 1,
            names=(q, k_name, v, attended),
        )

    def _feed(self, parameters: Mapping[str, Parameter], index: int) -> Gemma4Feed:
        config, at = self.config, f"layers.{index}."
        own = None
        if config.own_width:
            own = Own(
                gate=matrix(parameters[at + "own.gate"]),
                out=matrix(parameters[at + "own.out"]),
                norm=row(parameters[at + "own.norm"]),
                first=index * config.own_width,
            )
        factor = row_or_none(parameters, at + "factor")
        return Gemma4Feed(
            norms=_pair(parameters, at + "mlp"),
            eps=config.eps,
            gate=matrix(parameters[at + "mlp.gate"]),
            up=matrix(parameters[at + "mlp.up"]),
            down=matrix(parameters[at + "mlp.down"]),
            hidden="wide" if config.inner_width(index) > config.mlp_width else "hidden",
            experts=None if config.moe is None else self._experts(parameters, at + "moe."),
            own=own,
            factor=1.0 if factor is None else float(factor.numpy()[0, 0]),
        )

    def _experts(self, parameters: Mapping[str, Parameter], at: str) -> Gemma4Experts:
        assert self.config.moe is not None, "a plain layer has no experts"
        names = ("norm", "mlp_post_norm", "post_norm")
        before, after_mlp, after = (row(parameters[at + name]) for name in names)
        gate, up, down = (matrix(parameters[at + name]) for name in ("gate", "up", "down"))
        return Gemma4Experts(
            norms=(before, after_mlp, after),
            router=matrix(parameters[at + "router"]),
            router_norm=_scaled(row(parameters[at + "router_norm"]), self.config.width**-0.5),
            factors=row(parameters[at + "factors"]),
            rule=self.config.moe.rule(),
            weights=(gate, up, down),
        )


def _pair(parameters: Mapping[str, Parameter], at: str) -> tuple[Tensor, Tensor]:
    return row(parameters[at + "_norm"]), row(parameters[at + "_post_norm"])


def _scaled(norm: Tensor, factor: float) -> Tensor:
    scaled = Tensor(norm.rows, norm.cols)
    scaled.fill((norm.numpy() * np.float32(factor)).astype(np.float32))
    return scaled


def _ones(width: int) -> Tensor:
    ones = Tensor(1, width)
    ones.fill(np.ones((1, width), np.float32))
    return ones
