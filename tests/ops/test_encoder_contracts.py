"""An encoder's op called outside its contract says so."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from freehold import ops
from freehold.errors import ContractBroken
from freehold.ops import Packed, Tensor, Weight

D = 32


def weight(rows: int = 20, cols: int = D) -> Weight:
    return Weight(ops.FIXED16, rows, cols)


def packed(count: int = 3) -> Packed:
    return Packed(list(range(count)), [0, count])


def norm(width: int = D) -> tuple[Tensor, Tensor, float]:
    return Tensor(1, width), Tensor(1, width), 1e-12


CASES: dict[str, Callable[[], object]] = {
    "packed without tokens": lambda: Packed([], [0]),
    "packed with an empty text": lambda: Packed([1, 2], [0, 2, 2]),
    "packed offsets short of the tokens": lambda: Packed([1, 2], [0, 1]),
    "packed offsets from the middle": lambda: Packed([1, 2], [1, 2]),
    "packed types of another number": lambda: Packed([1, 2], [0, 2], [0]),
    "packed position below zero": lambda: Packed([1], [0, 1], [], -1),
    "embed a token outside": lambda: ops.embed_packed(
        Tensor(2, D), Tensor(9, D), None, *norm(), packed(), Tensor(3, D)
    ),
    "embed a negative token": lambda: ops.embed_packed(
        Tensor(9, D), Tensor(9, D), None, *norm(), Packed([-1], [0, 1]), Tensor(3, D)
    ),
    "embed past the positions": lambda: ops.embed_packed(
        Tensor(9, D), Tensor(2, D), None, *norm(), packed(), Tensor(3, D)
    ),
    "embed past the positions by the first": lambda: ops.embed_packed(
        Tensor(9, D), Tensor(4, D), None, *norm(), Packed([1, 1], [0, 2], [], 3), Tensor(3, D)
    ),
    "embed a type outside": lambda: ops.embed_packed(
        Tensor(9, D), Tensor(9, D), Tensor(2, D), *norm(), Packed([1], [0, 1], [2]), Tensor(3, D)
    ),
    "embed types without a table": lambda: ops.embed_packed(
        Tensor(9, D), Tensor(9, D), None, *norm(), Packed([1], [0, 1], [0]), Tensor(3, D)
    ),
    "embed into few rows": lambda: ops.embed_packed(
        Tensor(9, D), Tensor(9, D), None, *norm(), packed(), Tensor(2, D)
    ),
    "embed with a narrow norm": lambda: ops.embed_packed(
        Tensor(9, D), Tensor(9, D), None, *norm(D - 1), packed(), Tensor(3, D)
    ),
    "project into a narrow output": lambda: ops.project(
        Tensor(3, D), 3, [weight()], [None], 0, [Tensor(3, 19)]
    ),
    "project more than there is": lambda: ops.project(
        Tensor(3, D), 4, [weight()], [None], 0, [Tensor(4, 20)]
    ),
    "project a wide bias": lambda: ops.project(
        Tensor(3, D), 3, [weight()], [Tensor(1, 21)], 0, [Tensor(3, 20)]
    ),
    "project without a bias slot": lambda: ops.project(
        Tensor(3, D), 3, [weight()], [], 0, [Tensor(3, 20)]
    ),
    "project with an unknown activation": lambda: ops.project(
        Tensor(3, D), 3, [weight()], [None], len(ops.ACTIVATIONS), [Tensor(3, 20)]
    ),
    "project_add_norm into another width": lambda: ops.project_add_norm(
        Tensor(3, D), weight(), None, *norm(), 3, Tensor(3, D)
    ),
    "project_add_norm with a narrow norm": lambda: ops.project_add_norm(
        Tensor(3, D), weight(), None, *norm(), 3, Tensor(3, 20)
    ),
    "attend with heads that do not divide": lambda: ops.attend_packed(
        Tensor(3, D), Tensor(3, D), Tensor(3, D), packed(), 5, 1.0, Tensor(3, D)
    ),
    "attend with narrow keys": lambda: ops.attend_packed(
        Tensor(3, D), Tensor(3, 16), Tensor(3, D), packed(), 4, 1.0, Tensor(3, D)
    ),
    "attend with few rows": lambda: ops.attend_packed(
        Tensor(2, D), Tensor(2, D), Tensor(2, D), packed(), 4, 1.0, Tensor(3, D)
    ),
    "pool into few rows": lambda: ops.pool(
        Tensor(3, D), Packed([0, 0, 0], [0, 1, 3]), 0, False, Tensor(1, D)
    ),
    "pool an unknown kind": lambda: ops.pool(
        Tensor(3, D), packed(), len(ops.POOLINGS), False, Tensor(1, D)
    ),
    "a Fixed16 weight of odd columns": lambda: weight(16, 33),
    "a Fixed16 weight from too few bytes": lambda: weight().pack(
        0, 20, np.zeros(20 * D * 4 - 1, np.uint8)
    ),
    "dequantize what no file holds": lambda: ops.dequantize(
        ops.FIXED16, np.zeros(128, np.uint8), 32
    ),
    "dequantize blocks that need their row's factor": lambda: ops.dequantize(
        ops.NVFP4, np.zeros(18, np.uint8), 32
    ),
    "pack rows without their factors": lambda: Weight(ops.INT4_X32, 16, 32).pack(
        0, 16, np.zeros(16 * 19, np.uint8)
    ),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_broken_contract_is_named(case: Callable[[], object]) -> None:
    with pytest.raises(ContractBroken) as caught:
        case()
    assert len(str(caught.value)) > 10
