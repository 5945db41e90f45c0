"""Attention whose keys and values are one latent row a token, and decoders built on it.

Room: models. Must not know any family by name. The matrices that would unpack a row to keys and
values of every head are applied to the queries and to what was attended instead, so that pages
hold the row alone. Source: arXiv 2405.04434 section 2.1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from freehold import ops
from freehold.models.base import KvSpec, Parameter, Slot, matrix, row
from freehold.models.blocks import Workspace
from freehold.models.decoder import (
    Decoder,
    DecoderConfig,
    Feed,
    Mixer,
    mlp,
    mlp_slots,
    moe,
    moe_slots,
)
from freehold.ops import KvPool, LayerKv, Step, Tensor, Weight

__all__ = ["LatentAttention", "LatentConfig", "LatentDecoder"]


@dataclass(frozen=True, kw_only=True)
class LatentConfig(DecoderConfig):
    """A decoder's shapes with those of latent attention; `head_width` is the rotated part alone."""

    rank: int  # R, of a latent
    query_rank: int  # of the queries' own latent, 0 without one
    plain_width: int  # B, what a head does not rotate
    value_width: int  # A_v
    scale: float  # of scores
    latent_eps: float = 1e-6  # of the norms of latents
    interleaved: bool = True  # the checkpoint's rotated pairs lie side by side

    @property
    def query_width(self) -> int:
        """A head's query before it meets the latent space."""
        return self.plain_width + self.head_width

    @property
    def row_width(self) -> int:
        """What pages keep of a token: a latent and a rotated part."""
        return self.rank + self.head_width


@dataclass(frozen=True)
class LatentAttention:
    """x += out(unpack(attend(pack(q), row))), every head over the same rows."""

    layer: int
    config: LatentConfig
    norm: Tensor  # (1, D)
    q_a: Weight | None  # (query rank, D)
    q_a_norm: Tensor | None
    q: Weight  # (H (B + A), D or query rank)
    kv_a: Weight  # (R + A, D)
    kv_a_norm: Tensor  # (1, R)
    k_b: Weight  # (H R, B)
    v_b: Weight  # (H A_v, R)
    out: Weight  # (D, H A_v)

    def __call__(self, x: Tensor, step: Step, kv: KvPool, work: Workspace) -> None:
        """Mutates: x (T, D) and the step's pages of `kv`."""
        c, count = self.config, step.count
        q, token, queries, latents = work["q"], work["token"], work["queries"], work["latents"]
        self._project(x, count, work)  # q (T, H (B + A)), token (T, R + A)
        ops.norm_first(token, self.kv_a_norm, c.latent_eps, count)
        ops.project_heads(q, self.k_b, c.heads, count, queries)  # (T, H (R + A))
        ops.rotate_write(
            queries, token, None, work.rotations[0], step, kv, self.layer, first=c.rank
        )
        if c.late is not None:
            ops.scale_late(queries, step, c.late.factor, c.late.trained_tokens, c.late.ahead)
        ops.attend(queries, kv, self.layer, step, c.scale, latents)  # (T, H R)
        ops.project_heads(latents, self.v_b, c.heads, count, work["attended"])  # (T, H A_v)
        ops.project_add(work["attended"], self.out, None, count, x)  # (T, D)

    def _project(self, x: Tensor, count: int, work: Workspace) -> None:
        c, q, token = self.config, work["q"], work["token"]
        if self.q_a is None:
            both = (self.q, self.kv_a)
            ops.norm_project(x, self.norm, c.eps, count, both, (None, None), (q, token))
            return
        low, both = work["q_low"], (self.q_a, self.kv_a)  # low (T, query rank)
        ops.norm_project(x, self.norm, c.eps, count, both, (None, None), (low, token))
        ops.norm_project(low, self.q_a_norm, c.latent_eps, count, (self.q,), (None,), (q,))


class LatentDecoder(Decoder):
    """A decoder of latent attention; each layer a gated MLP or a mixture of experts."""

    config: LatentConfig

    def mixer_widths(self) -> dict[str, int]:
        """The columns of the buffers that attention works in."""
        c = self.config
        return {
            "q_low": max(c.query_rank, 1),
            "q": c.heads * c.query_width,
            "token": c.row_width,
            "queries": c.heads * c.row_width,
            "latents": c.heads * c.rank,
            "attended": c.heads * c.value_width,
        }

    @classmethod
    def layer_slots(cls, config: DecoderConfig, index: int) -> dict[str, Slot]:
        """The tensors of one layer."""
        assert isinstance(config, LatentConfig), "loading gave another family's configuration"
        feed = mlp_slots if config.sparse(index) is None else moe_slots
        return _attention_slots(config, index) | feed(config, index)

    def layer(self, parameters: Mapping[str, Parameter], index: int) -> tuple[Mixer, Feed]:
        """The blocks of one layer."""
        feed = mlp if self.config.sparse(index) is None else moe
        return _attention(self.config, parameters, index), feed(self.config, parameters, index)

    @classmethod
    def keeps(cls, config: DecoderConfig) -> KvSpec:
        """One row a token and layer."""
        assert isinstance(config, LatentConfig), "loading gave another family's configuration"
        return KvSpec((LayerKv(1, config.row_width, config.rank, latent=True),) * config.layers)


def _attention_slots(config: LatentConfig, index: int) -> dict[str, Slot]:
    c, at = config, f"layers.{index}."
    slots = {
        at + "attn_norm": Slot((c.width,), matrix=False),
        at + "attn.q": Slot((c.heads * c.query_width, c.query_rank or c.width)),
        at + "attn.kv_a": Slot((c.row_width, c.width)),
        at + "attn.kv_a_norm": Slot((c.rank,), matrix=False),
        at + "attn.k_b": Slot((c.heads * c.rank, c.plain_width)),
        at + "attn.v_b": Slot((c.heads * c.value_width, c.rank)),
        at + "attn.out": Slot((c.width, c.heads * c.value_width)),
    }
    if c.query_rank:
        slots[at + "attn.q_a"] = Slot((c.query_rank, c.width))
        slots[at + "attn.q_a_norm"] = Slot((c.query_rank,), matrix=False)
    return slots


def _attention(
    config: LatentConfig, parameters: Mapping[str, Parameter], index: int
) -> LatentAttention:
    at = f"layers.{index}."
    q_a, q_a_norm = parameters.get(at + "attn.q_a"), parameters.get(at + "attn.q_a_norm")
    return LatentAttention(
        layer=index,
        config=config,
        norm=row(parameters[at + "attn_norm"]),
        q_a=None if q_a is None else matrix(q_a),
        q_a_norm=None if q_a_norm is None else row(q_a_norm),
        q=matrix(parameters[at + "attn.q"]),
        kv_a=matrix(parameters[at + "attn.kv_a"]),
        kv_a_norm=row(parameters[at + "attn.kv_a_norm"]),
        k_b=matrix(parameters[at + "attn.k_b"]),
        v_b=matrix(parameters[at + "attn.v_b"]),
        out=matrix(parameters[at + "attn.out"]),
    )
