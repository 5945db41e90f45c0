"""Log probabilities of tokens, from a row of logits.

Room: engine. The model's own distribution: before penalties, biases, masks and temperature.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from freehold.engine.request import TokenLogprob

__all__ = ["logprobs_of"]


def logprobs_of(
    logits: NDArray[np.float32], top: int | None
) -> Callable[[int], TokenLogprob] | None:
    """What to say of a token at this place, for logits (V,) as they are now; None where unasked.

    `top` is how many of the likeliest tokens to name beside it.
    """
    if top is None:
        return None
    values = logits.astype(np.float64)
    peak = float(values.max())
    values -= peak + float(np.log(np.exp(values - peak).sum()))
    count = min(top, values.size)
    best: tuple[tuple[int, float], ...] = ()
    if count:
        ids = np.argpartition(-values, count - 1)[:count]
        ids = ids[np.lexsort((ids, -values[ids]))]
        best = tuple((int(i), float(values[i])) for i in ids)
    return lambda token: TokenLogprob(token, float(values[token]), best)
