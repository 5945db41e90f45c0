"""What a matrix's inputs look like together, and the factors by which errors are passed on.

Room: quantize. Arrays only. Source: QuIP (arXiv 2307.13304), LDLQ: the damped second moments
in Cholesky form say what GPTQ (arXiv 2210.17323) takes from the inverse.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from freehold import ops

__all__ = ["Moments", "feedback_factors", "moments_of"]

_DAMPING = 0.05  # of the mean of the diagonal
_LEAST_DOUBT, _MOST_DOUBT = 0.55, 0.7  # the share of the products that is left out
_BASE_DOUBT = 0.1  # of it, what is left out however many tokens there were
# Errors stay within runs of at most so many columns: time grows with a run's square and cube, and a
# model of 4864 hidden columns lost 1.3 % more in one type and 2.8 % less in another with two runs,
# but 4 % more than that in Q4_K_M with three.
_RUN_COLUMNS = 2560
_FINE_RUN_COLUMNS = 1536  # where errors are so small that it matters little what follows them
_BLOCK_COLUMNS = 256  # of the longest blocks, which no run may cut

Floats = NDArray[np.float32]

_TRIES = 6


@dataclass(frozen=True)
class Moments:
    """Means over tokens: of each input's square (C,), and of products within runs of columns.

    A run's products are (R, R), and only their lower triangle counts; there are none if they were
    not asked for. `tokens` is how many there were.
    """

    squares: Floats
    products: Sequence[Floats]
    tokens: int


def moments_of(inputs: Floats, *, products: bool, fine: bool = False) -> Moments:
    """The moments of inputs (T, C), for matrices whose types are all `fine` or not.

    Squares are exact. Products are of whole numbers, off by about a thousandth of what two columns
    could have in common; 4096 tokens leave a sixty-fourth of it unknown, and the factor leaves out
    more than half of it.
    """
    if not products:
        count = max(len(inputs), 1)
        squares = np.einsum("tc,tc->c", inputs, inputs) / np.float32(count)
        return Moments(squares, (), len(inputs))
    runs = _runs(inputs.shape[1], _FINE_RUN_COLUMNS if fine else _RUN_COLUMNS)
    found = [ops.mean_products(inputs[:, start:end]) for start, end in runs]
    squares = np.concatenate([both.diagonal() for both in found])
    return Moments(squares, found, len(inputs))


def _runs(columns: int, most: int) -> list[tuple[int, int]]:
    """Where each run starts and ends: as many columns in each as whole blocks allow."""
    count = -(-columns // most)
    edges = [columns * run // count // _BLOCK_COLUMNS * _BLOCK_COLUMNS for run in range(count)]
    return list(pairwise([*edges, columns]))


def feedback_factors(moments: Moments) -> list[Floats]:
    """For each run L (R, R), lower triangular, with L^T L its damped products.

    What columns have in common is known the less, the fewer tokens there were, and other texts
    share only part of it: that share of the products is left out. (Fitted to 4096 tokens of manuals
    with a quarter left out, a model of 576 columns kept half of llama.cpp's loss on other manuals,
    but 0.90 of it on a novel; with half left out, half and 0.78. One of 896 kept 0.68 and 0.76 on
    that novel.) Where rounding leaves them not positive, damping grows tenfold until they are.
    Raises: ValueError without products.
    """
    if not moments.products:
        raise ValueError("the products of inputs were not taken")
    mean = float(moments.squares.mean()) or 1.0
    return [_factor(products, moments.tokens, mean) for products in moments.products]


def _factor(products: Floats, tokens: int, mean: float) -> Floats:
    damping, doubt = _DAMPING, _BASE_DOUBT + len(products) / max(tokens, 1)
    doubt = min(_MOST_DOUBT, max(_LEAST_DOUBT, doubt))
    for _ in range(_TRIES):
        factor = ops.feedback_factor(products, 1 - doubt, damping * mean, coded=True)
        if factor is not None:
            return factor
        damping *= 10
    raise np.linalg.LinAlgError("the moments are not finite")
