"""Attention over rows of packed examples: each segment's queries meet what they may see, no more.

Room: tune. Knows tensors and rows; must not know models. S segments of a group, n queries, c keys,
H query heads in G groups of R, A head width.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from freehold.tune.training.packing import Row, Window, seen_by

__all__ = ["Seen", "attend", "see"]


@dataclass(frozen=True)
class Seen:
    """What a row's queries see: for each group queries (S n,), keys (S c,), a mask (S, 1, n, c)."""

    groups: tuple[tuple[Tensor, Tensor, Tensor], ...]
    back: Tensor  # (T,), where each token's result is among the groups' queries


def see(row: Row, window: Window, device: torch.device) -> Seen:
    """The row's groups as tensors, for layers whose queries see `window` tokens, 0 for all."""
    groups = []
    for group in row.groups:
        mask = torch.from_numpy(seen_by(group, window)).to(device)[:, None]
        queries = torch.from_numpy(group.queries).to(device)
        keys = torch.from_numpy(group.keys).to(device)
        groups.append((queries, keys, mask))
    return Seen(tuple(groups), torch.from_numpy(row.attended).to(device))


def attend(q: Tensor, k: Tensor, v: Tensor, seen: Seen, scale: float) -> Tensor:
    """Queries (T, H, A), keys and values (T, G, A) -> (T, H A)."""
    width, kv_heads = q.shape[-1], k.shape[1]
    repeats = q.shape[1] // kv_heads
    parts = []
    for queries, keys, mask in seen.groups:
        segments, count = queries.shape
        # The R heads that read one key are R times as many queries of it: nothing is copied.
        mine = q[queries.reshape(-1)].reshape(segments, count, kv_heads, repeats, width)
        mine = mine.permute(0, 2, 3, 1, 4).reshape(segments, kv_heads, repeats * count, width)
        key, value = (
            each[keys.reshape(-1)].reshape(segments, -1, kv_heads, width).transpose(1, 2)
            for each in (k, v)
        )
        many = mask.repeat(1, 1, repeats, 1)
        out = torch.nn.functional.scaled_dot_product_attention(
            mine, key, value, attn_mask=many, scale=scale
        )
        out = out.reshape(segments, kv_heads, repeats, count, width).permute(0, 3, 1, 2, 4)
        parts.append(out.reshape(segments * count, -1))
    whole = parts[0] if len(parts) == 1 else torch.cat(parts)
    return whole[seen.back]
