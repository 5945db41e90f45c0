"""The plain decoder over torch tensors, for rows of packed examples.

Room: tune. The same blocks as `models.decoder`, told apart by which slots a model has; must not
know families, files or what is learned. Dims as in `freehold.ops`: T tokens of the row.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate

import numpy as np
import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from freehold.models.blocks import rope
from freehold.models.decoder import DecoderConfig
from freehold.tune.training.attention import Seen, attend, see
from freehold.tune.training.functions import (
    LowRank,
    Matrix,
    cross_entropy,
    gated,
    normed,
    project,
    rotated,
)
from freehold.tune.training.packing import Row
from freehold.tune.training.weights import Blocks

__all__ = ["INPUTS", "Network", "Projection"]

# Matrices that read the same input, and are multiplied as one.
INPUTS: Mapping[str, tuple[str, ...]] = {
    "attn.qkv": ("attn.q", "attn.k", "attn.v"),
    "attn.out": ("attn.out",),
    "mlp.opened": ("mlp.gate", "mlp.up"),
    "mlp.down": ("mlp.down",),
}


@dataclass
class Projection:
    """A frozen or learning matrix, its bias, and what an adapter adds to it.

    With `dropout`, the adapter sees its input with some values left out.
    """

    matrix: Matrix | torch.nn.Parameter
    bias: Tensor | None = None
    low: LowRank | None = None
    dropout: float = 0.0

    def __call__(self, x: Tensor, *, adapted: bool) -> Tensor:
        """x (T, D) -> (T, N)."""
        if isinstance(self.matrix, torch.nn.Parameter):
            bias = None if self.bias is None else self.bias.to(x.dtype)
            return torch.nn.functional.linear(x, self.matrix.to(x.dtype), bias)
        low = self.low if adapted else None
        if low is None or not self.dropout or not torch.is_grad_enabled():
            return project(x, self.matrix, self.bias, low)
        out = project(x, self.matrix, self.bias, None)
        dropped = torch.nn.functional.dropout(x, self.dropout)
        inner = dropped @ low.lower.to(x.dtype).t()
        added = [
            (rows, inner[:, below] @ low.upper[above].to(x.dtype).t() * low.scale)
            for rows, above, below in low.runs()
        ]
        whole = torch.zeros_like(out)
        for rows, some in added:
            whole = whole.index_add(1, torch.arange(rows.start, rows.stop, device=x.device), some)
        return out + whole


@dataclass
class Network:
    """A decoder's parts by canonical name: projections of each layer, and small vectors.

    `checkpointing` makes the layers' activations anew in the backward pass instead of keeping them.
    """

    config: DecoderConfig
    gate: str
    embed: Tensor | Blocks
    head: Matrix | torch.nn.Parameter
    vectors: Mapping[str, Tensor]
    projections: Mapping[str, Projection]
    dtype: torch.dtype
    checkpointing: bool = False
    adapted: bool = True
    _angles: dict[tuple[int, int], tuple[Tensor, Tensor]] = field(default_factory=dict)

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return self.vectors["final_norm"].device

    def surprises(self, row: Row) -> Tensor:
        """-log p of each target (R,), in float32."""
        device = self.device
        places = torch.tensor([target.place for target in row.targets], device=device)
        tokens = torch.tensor([target.token for target in row.targets], device=device)
        wanted, back = torch.unique(places, return_inverse=True)
        hidden = self.hidden(row, wanted)  # (unique places, D)
        if isinstance(self.head, torch.nn.Parameter):
            logits = torch.nn.functional.linear(hidden, self.head.to(hidden.dtype)).float()
            if self.config.final_cap:
                logits = torch.tanh(logits / self.config.final_cap) * self.config.final_cap
            return torch.nn.functional.cross_entropy(logits[back], tokens, reduction="none")
        return cross_entropy(hidden[back], self.head, tokens, cap=self.config.final_cap)

    def logits(self, row: Row) -> Tensor:
        """(T, V) float32, of every token; for tests and small rows."""
        hidden = self.hidden(row, None)
        head = self.head if isinstance(self.head, torch.nn.Parameter) else self.head.floats()
        logits = (hidden @ head.to(hidden.dtype).t()).float()
        cap = self.config.final_cap
        return torch.tanh(logits / cap) * cap if cap else logits

    def hidden(self, row: Row, wanted: Tensor | None) -> Tensor:
        """What the head sees of the wanted places (R, D), of all without."""
        c, device = self.config, self.device
        ids = torch.from_numpy(row.ids).to(device)
        x = self._embedded(ids)  # (T, D)
        if c.embed_factor != 1.0:
            x = x * c.embed_factor
        positions = torch.from_numpy(row.positions).to(device)
        turns = [self._turns(positions, near) for near in range(2 if c.near_rope else 1)]
        seen = {window: see(row, window, device) for window in set(c.windows) or {0}}
        late = None if c.late is None else self._late(positions)
        for index in range(c.layers):
            last = wanted if index == c.layers - 1 else None
            turn = None
            if index not in c.unrotated:
                turn = turns[int(c.near_rope is not None and c.window(index) > 0)]
            step: Callable[..., Tensor] = self._layer
            if self.checkpointing and torch.is_grad_enabled():
                x = _again(step, x, index, turn, seen[c.window(index)], late, last)
            else:
                x = step(x, index, turn, seen[c.window(index)], late, last)
        return normed(x, self.vectors["final_norm"], c.eps)

    def _embedded(self, ids: Tensor) -> Tensor:
        if isinstance(self.embed, Blocks):
            return self.embed.rows(ids.cpu().numpy())
        return torch.nn.functional.embedding(ids, self.embed).to(self.dtype)

    def _layer(
        self,
        x: Tensor,
        index: int,
        turn: tuple[Tensor, Tensor] | None,
        seen: Seen,
        late: Tensor | None,
        wanted: Tensor | None,
    ) -> Tensor:
        """One layer (T, D) -> (T, D), or of the wanted places only."""
        c, at = self.config, f"layers.{index}."
        inner = self._norm(x, at + "attn_norm")
        q, k, v = self._heads(self._project(inner, at + "attn.qkv"), at)
        if turn is not None:
            q, k = rotated(q, *turn), rotated(k, *turn)
        if late is not None:
            q = q * late.to(q.dtype)
        scale = c.head_width**-0.5 if c.scale is None else c.scale
        attended = attend(q, k, v, seen, scale)  # (T, H A)
        if wanted is not None:
            attended, x = attended[wanted], x[wanted]
        added = self._project(attended, at + "attn.out")
        x = x + self._norm(added, at + "attn_post_norm")
        opened = self._project(self._norm(x, at + "mlp_norm"), at + "mlp.opened")
        added = self._project(gated(opened, self.gate), at + "mlp.down")
        return x + self._norm(added, at + "mlp_post_norm")

    def _project(self, x: Tensor, name: str) -> Tensor:
        return self.projections[name](x, adapted=self.adapted)

    def _norm(self, x: Tensor, name: str) -> Tensor:
        weight = self.vectors.get(name)
        return x if weight is None else normed(x, weight, self.config.eps)

    def _heads(self, projected: Tensor, at: str) -> Sequence[Tensor]:
        """Queries (T, H, A), keys and values (T, G, A), normed where the model norms them."""
        c = self.config
        counts = (c.heads, c.kv_heads, c.kv_heads)
        ends = list(accumulate(count * c.head_width for count in counts))
        parts = []
        for name, count, start, end in zip("qkv", counts, [0, *ends], ends, strict=False):
            part = projected[:, start:end]
            weight = self.vectors.get(f"{at}attn.{name}_norm")
            if weight is not None and len(weight) != c.head_width:
                part = normed(part, weight, c.eps)
            part = part.reshape(-1, count, c.head_width)
            if weight is not None and len(weight) == c.head_width:
                part = normed(part, weight, c.eps)
            parts.append(part)
        return parts

    def _turns(self, positions: Tensor, near: int) -> tuple[Tensor, Tensor]:
        """cos and sin of the row's places, (T, 1, A_rotated / 2)."""
        c = self.config
        base, scaling = c.near_rope if near and c.near_rope else (c.rope_base, c.rope_scaling)
        divisors = self.vectors.get("rope_divisors")
        own = None if divisors is None or near else divisors.cpu().numpy().astype(np.float32)
        made = rope(c.rotated_width or c.head_width, base, scaling, own)
        frequencies = torch.from_numpy(made.frequencies).to(positions.device)
        angles = positions[:, None, None].float() * frequencies
        cos, sin = angles.cos() * made.scale, angles.sin() * made.scale
        return cos.to(self.dtype), sin.to(self.dtype)

    def _late(self, positions: Tensor) -> Tensor:
        """What queries beyond the trained context are multiplied by, (T, 1, 1)."""
        late = self.config.late
        assert late is not None, "asked for where there is one"
        beyond = torch.div(positions + late.ahead, late.trained_tokens, rounding_mode="floor")
        return (1 + late.factor * torch.log1p(beyond.float()))[:, None, None]


def _again(step: Callable[..., Tensor], x: Tensor, *rest: object) -> Tensor:
    out: Tensor = checkpoint(step, x, *rest, use_reentrant=False, preserve_rng_state=True)
    return out
