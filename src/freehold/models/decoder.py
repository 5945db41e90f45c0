"""What decoders share: their dims, their slots, and the way from tokens to logits.

Room: models. Must not know any family by name. `Decoder` is the plain one: pre-norm, grouped-query
attention, gated MLP; a family's class says where its layers differ.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Protocol, TypeVar

from freehold import ops
from freehold.models.adapting import Adapter, LowRank, adapter_targets, pack_adapter
from freehold.models.base import KvSpec, Parameter, Slot, matrix, row, row_or_none
from freehold.models.blocks import (
    Attention,
    Late,
    Mlp,
    Moe,
    Rope,
    RopeScaling,
    SharedExpert,
    Workspace,
    rope,
)
from freehold.ops import SCORINGS, KvPool, RouterRule, Step, Tensor

__all__ = [
    "Decoder",
    "DecoderConfig",
    "Feed",
    "Mixer",
    "MoeConfig",
    "attention",
    "attention_slots",
    "gated_slots",
    "mlp",
    "mlp_slots",
    "moe",
    "moe_slots",
    "widen",
]


@dataclass(frozen=True, kw_only=True)
class MoeConfig:
    """Shapes and rule of a mixture of experts; `dense_layers` have a plain MLP instead."""

    experts: int  # X
    chosen: int
    expert_width: int  # F of one expert
    scoring: str = "softmax"
    renormalise: bool = False
    epsilon: float = 0.0
    scale: float = 1.0
    groups: int = 1
    groups_kept: int = 1
    group_top: int = 1
    selection_bias: bool = False
    shared_width: int = 0  # F of the shared expert, 0 without one
    shared_opening: bool = False
    dense_layers: frozenset[int] = frozenset()

    def rule(self) -> RouterRule:
        """The rule in the core's words."""
        return RouterRule(
            chosen=self.chosen,
            scoring=SCORINGS.index(self.scoring),
            renormalise=self.renormalise,
            epsilon=self.epsilon,
            scale=self.scale,
            groups=self.groups,
            groups_kept=self.groups_kept,
            group_top=self.group_top,
        )


@dataclass(frozen=True, kw_only=True)
class DecoderConfig:
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
    rotated_width: int = 0  # of a head's columns, from the first; 0 for all
    unrotated: frozenset[int] = frozenset()  # layers that know no positions
    late: Late | None = None
    windows: tuple[int, ...] = ()  # per layer the tokens a query sees, 0 for all; or empty
    near_rope: tuple[float, RopeScaling] | None = None  # of layers with a window, if another
    scale: float | None = None  # of attention's scores; None is head_width^-0.5
    embed_factor: float = 1.0
    final_cap: float = 0.0  # of the logits, 0 for none
    moe: MoeConfig | None = None

    def window(self, layer: int) -> int:
        """How many tokens a query of the layer sees; 0 is no bound."""
        return self.windows[layer] if self.windows else 0

    def sparse(self, layer: int) -> MoeConfig | None:
        """The layer's mixture of experts; None where it has a plain MLP."""
        return None if self.moe is None or layer in self.moe.dense_layers else self.moe


Kind = TypeVar("Kind", bound=DecoderConfig)


def widen(kind: type[Kind], config: DecoderConfig, changes: Mapping[str, object]) -> Kind:
    """The configuration as a family's own kind, which has more to say."""
    said: dict[str, Any] = {each.name: getattr(config, each.name) for each in fields(config)}
    return kind(**(said | dict(changes)))


class Mixer(Protocol):
    """The half of a layer where tokens meet."""

    def __call__(self, x: Tensor, step: Step, kv: KvPool, work: Workspace) -> None:
        """Mutates: x (T, D) and the step's pages of `kv`."""


class Feed(Protocol):
    """The half of a layer that takes each token alone."""

    def __call__(self, x: Tensor, step: Step, work: Workspace) -> None:
        """Mutates: x (T, D)."""


class Decoder:
    """An embedding, layers, and a head, over packed weights given by canonical name.

    Families override `layer_slots` and `layer`. `ropes` are the rotations that layers choose from
    by index.
    """

    def __init__(self, config: DecoderConfig, parameters: Mapping[str, Parameter]) -> None:
        self.config = config
        self._embed = matrix(parameters["embed"])  # (V, D)
        self._head = matrix(parameters.get("head", self._embed))  # (V, D), tied when absent
        self._final_norm = row(parameters["final_norm"])  # (1, D)
        divisors = parameters.get("rope_divisors")
        rotated = config.rotated_width or config.head_width
        own = None if divisors is None else row(divisors).numpy()[0].copy()
        self.ropes: Sequence[Rope] = (rope(rotated, config.rope_base, config.rope_scaling, own),)
        if config.near_rope is not None:
            self.ropes = (*self.ropes, rope(rotated, *config.near_rope))
        widths = {"x": config.width, "hidden": config.mlp_width}
        if any(name.endswith("post_norm") for name in parameters):
            widths["y"] = config.width
        if config.moe is not None and config.moe.shared_width:
            widths |= {"shared": config.moe.shared_width, "opening": 1}
        self.work = Workspace(widths | self.mixer_widths())
        self._logits = Tensor(1, config.vocabulary)
        self._seen = Tensor(1, config.width)
        self.layers = [self.layer(parameters, i) for i in range(config.layers)]
        self.feeds_alone = True  # a token's feed looks at nothing but its own row of x

    def mixer_widths(self) -> dict[str, int]:
        """The columns of the buffers that mixers work in."""
        c = self.config
        query, key = c.heads * c.head_width, c.kv_heads * c.head_width
        return {"q": query, "k": key, "v": key, "attended": query}

    @classmethod
    def slots(cls, config: DecoderConfig) -> Mapping[str, Slot]:
        """Every tensor the family takes, by canonical name."""
        slots = {
            "embed": Slot((config.vocabulary, config.width)),
            "head": Slot((config.vocabulary, config.width), optional=True),
            "final_norm": Slot((config.width,), matrix=False),
        }
        for i in range(config.layers):
            slots |= cls.layer_slots(config, i)
        return slots

    @classmethod
    def layer_slots(cls, config: DecoderConfig, index: int) -> dict[str, Slot]:
        """The tensors of one layer."""
        feed = mlp_slots if config.sparse(index) is None else moe_slots
        return attention_slots(config, index) | feed(config, index)

    def layer(self, parameters: Mapping[str, Parameter], index: int) -> tuple[Mixer, Feed]:
        """The blocks of one layer."""
        return attention(self.config, parameters, index), self.feed(parameters, index)

    def feed(self, parameters: Mapping[str, Parameter], index: int) -> Feed:
        """The MLP of one layer, or its mixture of experts."""
        feed = mlp if self.config.sparse(index) is None else moe
        return feed(self.config, parameters, index)

    @property
    def vocabulary(self) -> int:
        """V, the number of rows of the head."""
        return self.config.vocabulary

    @property
    def context_tokens(self) -> int:
        """How many tokens the model was trained to see."""
        return self.config.context_tokens

    def prepare(self, x: Tensor, step: Step) -> None:
        """What a family computes of a step's embeddings (T, D) for all layers. Mutates: work."""

    @classmethod
    def keeps(cls, config: DecoderConfig) -> KvSpec:
        """Keys and values of every layer, as a configuration says."""
        return KvSpec.alike(config.layers, config.kv_heads, config.head_width)

    def kv_spec(self) -> KvSpec:
        """What the engine must keep for each token."""
        return self.keeps(self.config)

    def adapter_targets(self) -> tuple[str, ...]:
        """The canonical names of the matrices that adapters may add to."""
        return adapter_targets(self.layers)

    def adapt(self, parts: Mapping[str, LowRank], bits: int) -> Adapter:
        """Packs what an adapter adds, by canonical name; attach it to use it."""
        return pack_adapter(self.layers, parts, bits)

    def forward(self, step: Step, kv: KvPool, *, whole: bool = False) -> Tensor:
        """Logits (S, V) of the step's logit rows; valid until the next call. Mutates: kv."""
        x, step = self._body(step, kv, whole=whole or not self.feeds_alone)  # (T or S, D)
        rows = len(step.logit_rows)
        if rows == 0:
            return self._logits
        if rows > self._logits.rows:
            self._logits = Tensor(rows, self.config.vocabulary)
        ops.head(x, self._final_norm, self.config.eps, self._head, step, self._logits)  # (S, V)
        if self.config.final_cap:
            ops.softcap(self._logits, self.config.final_cap, rows)
        return self._logits

    def hidden(self, step: Step, kv: KvPool) -> Tensor:
        """What the head would see of every token (T, D); valid until the next call.

        Mutates: kv, by the step's keys and values.
        """
        x, _ = self._body(step, kv, whole=True)  # (T, D)
        if self._seen.rows < step.count:
            self._seen = Tensor(step.count, self.config.width)
        self._seen.numpy()[: step.count] = 0
        ops.add_normed(x, self._final_norm, self.config.eps, step.count, self._seen)
        return self._seen

    def _body(self, step: Step, kv: KvPool, *, whole: bool) -> tuple[Tensor, Step]:
        """The layers' sum for each token of the step, or of what is left of it. Mutates: kv.

        The last feed is for the tokens whose logits are wanted, unless it is to be `whole`.
        """
        work = self.work
        work.reserve(step.count)
        x = work["x"]  # (T, D)
        work.rotate(step, self.ropes)
        ops.embed(self._embed, step, x)  # (T, D)
        if self.config.embed_factor != 1.0:
            ops.scale(x, self.config.embed_factor, step.count)
        self.prepare(x, step)
        for index, (mixer, feed) in enumerate(self.layers):
            mixer(x, step, kv, work)
            if index == len(self.layers) - 1 and not whole:
                step = _wanted(x, step)
            if step.count:
                feed(x, step, work)
        return x, step


def _wanted(x: Tensor, step: Step) -> Step:
    """The step of the tokens whose logits are wanted. Mutates: x, where their rows come first."""
    rows = step.logit_rows
    if len(rows) == step.count:
        return step
    x.numpy()[: len(rows)] = x.numpy()[rows]
    return step.wanted()


def attention_slots(config: DecoderConfig, index: int) -> dict[str, Slot]:
    """The norm and the four matrices of a layer's attention."""
    c, at = config, f"layers.{index}."
    query, key = c.heads * c.head_width, c.kv_heads * c.head_width
    return {
        at + "attn_norm": Slot((c.width,), matrix=False),
        at + "attn.q": Slot((query, c.width)),
        at + "attn.k": Slot((key, c.width)),
        at + "attn.v": Slot((key, c.width)),
        at + "attn.out": Slot((c.width, query)),
    }


def mlp_slots(config: DecoderConfig, index: int) -> dict[str, Slot]:
    """The norm and the three matrices of a layer's gated MLP."""
    at = f"layers.{index}."
    norm = {at + "mlp_norm": Slot((config.width,), matrix=False)}
    return norm | gated_slots(config.width, config.mlp_width, 1, at + "mlp.")


def moe_slots(config: DecoderConfig, index: int) -> dict[str, Slot]:
    """The norm, the router, the experts' stacked matrices and the shared expert's of a layer."""
    moe, at, width = config.sparse(index), f"layers.{index}.", config.width
    assert moe is not None, "a plain layer has no experts"
    slots = {
        at + "mlp_norm": Slot((width,), matrix=False),
        at + "moe.router": Slot((moe.experts, width)),
    }
    slots |= gated_slots(width, moe.expert_width, moe.experts, at + "moe.")
    if moe.selection_bias:
        slots[at + "moe.bias"] = Slot((moe.experts,), matrix=False)
    if moe.shared_width:
        slots |= gated_slots(width, moe.shared_width, 1, at + "shared.")
    if moe.shared_opening:
        slots[at + "shared.opening"] = Slot((1, width))
    return slots


def gated_slots(width: int, hidden: int, count: int, at: str) -> dict[str, Slot]:
    """The three matrices of gated MLPs, stacked."""
    opened = Slot((count * hidden, width))
    return {at + "gate": opened, at + "up": opened, at + "down": Slot((count * width, hidden))}


def attention(config: DecoderConfig, parameters: Mapping[str, Parameter], index: int) -> Attention:
    """A layer's attention; biases, norms and a gate are taken where there are any."""
    at = f"layers.{index}."
    near = config.near_rope is not None and config.window(index) > 0

    def optional(name: str) -> Tensor | None:
        return row_or_none(parameters, f"{at}attn.{name}")

    return Attention(
        layer=index,
        norm=row_or_none(parameters, at + "attn_norm"),
        eps=config.eps,
        q=matrix(parameters[at + "attn.q"]),
        k=matrix(parameters[at + "attn.k"]),
        v=matrix(parameters[at + "attn.v"]),
        out=matrix(parameters[at + "attn.out"]),
        biases=(optional("q_bias"), optional("k_bias"), optional("v_bias"), optional("out_bias")),
        scale=config.head_width**-0.5 if config.scale is None else config.scale,
        q_norm=optional("q_norm"),
        k_norm=optional("k_norm"),
        gate=None if at + "attn.gate" not in parameters else matrix(parameters[at + "attn.gate"]),
        window=config.window(index),
        rope=None if index in config.unrotated else int(near),
        late=config.late,
        post_norm=row_or_none(parameters, at + "attn_post_norm"),
    )


def mlp(config: DecoderConfig, parameters: Mapping[str, Parameter], index: int) -> Mlp:
    """A layer's gated MLP."""
    at = f"layers.{index}."
    return Mlp(
        norm=row_or_none(parameters, at + "mlp_norm"),
        eps=config.eps,
        gate=matrix(parameters[at + "mlp.gate"]),
        up=matrix(parameters[at + "mlp.up"]),
        down=matrix(parameters[at + "mlp.down"]),
        post_norm=row_or_none(parameters, at + "mlp_post_norm"),
    )


def moe(config: DecoderConfig, parameters: Mapping[str, Parameter], index: int) -> Moe:
    """A layer's mixture of experts."""
    rule, at = config.sparse(index), f"layers.{index}."
    assert rule is not None, "a plain layer has no experts"
    return Moe(
        norm=row(parameters[at + "mlp_norm"]),
        eps=config.eps,
        router=matrix(parameters[at + "moe.router"]),
        rule=rule.rule(),
        gate=matrix(parameters[at + "moe.gate"]),
        up=matrix(parameters[at + "moe.up"]),
        down=matrix(parameters[at + "moe.down"]),
        bias=row_or_none(parameters, at + "moe.bias"),
        shared=_shared(parameters, at + "shared."),
    )


def _shared(parameters: Mapping[str, Parameter], at: str) -> SharedExpert | None:
    if at + "gate" not in parameters:
        return None
    opening = parameters.get(at + "opening")
    return SharedExpert(
        gate=matrix(parameters[at + "gate"]),
        up=matrix(parameters[at + "up"]),
        down=matrix(parameters[at + "down"]),
        opening=None if opening is None else matrix(opening),
    )
