"""An op called outside its contract says so, and touches nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pytest

from freehold import ops
from freehold.errors import ContractBroken, KernelError
from freehold.ops import KvPool, LayerKv, Rotation, Step, Tensor, Weight

EPS = 1e-5
T, D, N = 3, 32, 20


def filled(rows: int, cols: int) -> Tensor:
    out = Tensor(rows, cols)
    out.fill(np.ones((rows, cols), np.float32))
    return out


def weight(rows: int = N, cols: int = D) -> Weight:
    return Weight(0, rows, cols)


def step(
    *,
    tokens: tuple[int, ...] = (0, 1, 2),
    positions: tuple[int, ...] = (0, 1, 2),
    offsets: tuple[int, ...] = (0, 3),
    pages: tuple[tuple[int, ...], ...] = ((0,),),
    logit_rows: tuple[int, ...] = (2,),
) -> Step:
    return Step(list(tokens), list(positions), list(offsets), [list(p) for p in pages], logit_rows)


def turned(*, frequencies: int = 2, of: Step | None = None) -> Rotation:
    rotation = Rotation()
    ops.make_rotation(of or step(), np.ones(frequencies, np.float32), 1.0, rotation)
    return rotation


@dataclass
class Ops:
    """Each op with arguments that suit it; a case replaces one of them."""

    kv: KvPool = field(default_factory=lambda: KvPool([LayerKv(2, 4, 4)] * 2, 3))

    def embed(self, *, s: Step | None = None, x: Tensor | None = None) -> None:
        ops.embed(weight(), s or step(), x or filled(T, D))

    def norm_project(
        self,
        *,
        x: Tensor | None = None,
        norm: Tensor | None = None,
        count: int = T,
        weights: list[Weight] | None = None,
        biases: list[Tensor | None] | None = None,
        outs: list[Tensor] | None = None,
    ) -> None:
        ops.norm_project(
            x or filled(T, D),
            norm or filled(1, D),
            EPS,
            count,
            [weight()] if weights is None else weights,
            [None] if biases is None else biases,
            [filled(T, N)] if outs is None else outs,
        )

    def project_add(
        self,
        *,
        a: Tensor | None = None,
        bias: Tensor | None = None,
        count: int = T,
        x: Tensor | None = None,
    ) -> None:
        ops.project_add(a or filled(T, D), weight(), bias, count, x or filled(T, N))

    def gate_up(
        self,
        *,
        x: Tensor | None = None,
        norm: Tensor | None = None,
        up: Weight | None = None,
        count: int = T,
        out: Tensor | None = None,
    ) -> None:
        given = (x or filled(T, D), norm or filled(1, D), EPS, weight(), up or weight())
        ops.gate_up(*given, count, out or filled(T, N))

    def rotate_write(
        self,
        *,
        q: Tensor | None = None,
        k: Tensor | None = None,
        v: Tensor | None = None,
        rotation: Rotation | None = None,
        s: Step | None = None,
        layer: int = 0,
    ) -> None:
        qkv = (q or filled(T, 16), k or filled(T, 8), v or filled(T, 8))
        ops.rotate_write(*qkv, rotation or turned(), s or step(), self.kv, layer)

    def attend(
        self,
        *,
        q: Tensor | None = None,
        s: Step | None = None,
        layer: int = 0,
        out: Tensor | None = None,
    ) -> None:
        ops.attend(q or filled(T, 16), self.kv, layer, s or step(), 0.5, out or filled(T, 16))

    def head(
        self,
        *,
        x: Tensor | None = None,
        norm: Tensor | None = None,
        s: Step | None = None,
        logits: Tensor | None = None,
    ) -> None:
        given = (x or filled(T, D), norm or filled(1, D), EPS, weight(), s or step())
        ops.head(*given, logits or filled(1, N))


Case = Callable[[Ops], object]
CASES: dict[str, Case] = {
    "embed: token after the last": lambda o: o.embed(s=step(tokens=(0, N, 1))),
    "embed: negative token": lambda o: o.embed(s=step(tokens=(0, -1, 1))),
    "embed: too few rows": lambda o: o.embed(x=filled(T - 1, D)),
    "embed: other width": lambda o: o.embed(x=filled(T, D + 1)),
    "norm_project: other width": lambda o: o.norm_project(x=filled(T, D + 1)),
    "norm_project: norm of other width": lambda o: o.norm_project(norm=filled(1, D - 1)),
    "norm_project: norm of two rows": lambda o: o.norm_project(norm=filled(2, D)),
    "norm_project: no token": lambda o: o.norm_project(count=0),
    "norm_project: negative count": lambda o: o.norm_project(count=-1),
    "norm_project: more tokens than rows": lambda o: o.norm_project(count=T + 1),
    "norm_project: no weight": lambda o: o.norm_project(weights=[], biases=[], outs=[]),
    "norm_project: a bias short": lambda o: o.norm_project(biases=[]),
    "norm_project: an output short": lambda o: o.norm_project(outs=[]),
    "norm_project: output of other width": lambda o: o.norm_project(outs=[filled(T, N - 1)]),
    "norm_project: output too short": lambda o: o.norm_project(outs=[filled(T - 1, N)]),
    "norm_project: bias of other width": lambda o: o.norm_project(biases=[filled(1, N + 1)]),
    "norm_project: second weight of other width": lambda o: o.norm_project(
        weights=[weight(), weight(N, D + 1)], biases=[None] * 2, outs=[filled(T, N)] * 2
    ),
    "project_add: other width": lambda o: o.project_add(a=filled(T, D - 1)),
    "project_add: output of other width": lambda o: o.project_add(x=filled(T, N + 1)),
    "project_add: output too short": lambda o: o.project_add(x=filled(T - 1, N)),
    "project_add: bias of other width": lambda o: o.project_add(bias=filled(1, N - 1)),
    "project_add: more tokens than rows": lambda o: o.project_add(count=T + 1),
    "gate_up: up of other rows": lambda o: o.gate_up(up=weight(N + 1)),
    "gate_up: up of other width": lambda o: o.gate_up(up=weight(N, D + 1)),
    "gate_up: output of other width": lambda o: o.gate_up(out=filled(T, N + 1)),
    "gate_up: norm of other width": lambda o: o.gate_up(norm=filled(1, D + 1)),
    "gate_up: no token": lambda o: o.gate_up(count=0),
    "make_rotation: no frequency": lambda o: o.rotate_write(rotation=turned(frequencies=0)),
    "rotate_write: layer after the last": lambda o: o.rotate_write(layer=2),
    "rotate_write: negative layer": lambda o: o.rotate_write(layer=-1),
    "rotate_write: rotation wider than a head": lambda o: o.rotate_write(
        rotation=turned(frequencies=3)
    ),
    "rotate_write: rotation of another step": lambda o: o.rotate_write(
        rotation=turned(of=step(tokens=(0,), positions=(0,), offsets=(0, 1), logit_rows=()))
    ),
    "rotate_write: a rotation never made": lambda o: o.rotate_write(
        rotation=Rotation(), s=step(pages=((9,),))
    ),
    "rotate_write: broken head": lambda o: o.rotate_write(q=filled(T, 14)),
    "rotate_write: keys of other heads": lambda o: o.rotate_write(k=filled(T, 12)),
    "rotate_write: values of other heads": lambda o: o.rotate_write(v=filled(T, 4)),
    "rotate_write: too few rows": lambda o: o.rotate_write(v=filled(T - 1, 8)),
    "attend: layer after the last": lambda o: o.attend(layer=2),
    "attend: negative layer": lambda o: o.attend(layer=-1),
    "attend: heads that do not divide": lambda o: o.attend(q=filled(T, 12), out=filled(T, 12)),
    "attend: narrower than a head": lambda o: o.attend(q=filled(T, 2), out=filled(T, 2)),
    "attend: output of other width": lambda o: o.attend(out=filled(T, 20)),
    "attend: output too short": lambda o: o.attend(out=filled(T - 1, 16)),
    "head: row after the last": lambda o: o.head(s=step(logit_rows=(3,))),
    "head: negative row": lambda o: o.head(s=step(logit_rows=(-1,))),
    "head: no row": lambda o: o.head(s=step(logit_rows=())),
    "head: output too short": lambda o: o.head(s=step(logit_rows=(0, 1))),
    "head: output of other width": lambda o: o.head(logits=filled(1, N + 1)),
    "head: other width": lambda o: o.head(x=filled(T, D + 1)),
    "head: more tokens than rows": lambda o: o.head(x=filled(T - 1, D)),
    "weight: unknown block type": lambda o: check_weight(4, 1, 32),
    "weight: negative block type": lambda o: check_weight(-1, 1, 32),
    "weight: broken block": lambda o: check_weight(2, 1, 48),
    "weight: broken block of 256": lambda o: check_weight(12, 1, 128),
    "weight: no row": lambda o: check_weight(0, 0, 32),
    "weight: no column": lambda o: check_weight(0, 1, 0),
    "weight: negative rows": lambda o: check_weight(0, -5, 32),
    "weight: rows beyond 32 bits": lambda o: check_weight(0, 1 << 31, 32),
    "pack: too few bytes": lambda o: pack(0, N, N * D * 4 - 1),
    "pack: too many bytes": lambda o: pack(0, N, N * D * 4 + 1),
    "pack: start inside a group": lambda o: pack(1, 16, 16 * D * 4),
    "pack: start after the last": lambda o: pack(32, 4, 4 * D * 4),
    "pack: negative start": lambda o: pack(-16, 16, 16 * D * 4),
    "pack: past the end": lambda o: pack(16, 5, 5 * D * 4),
    "pack: part of a group": lambda o: pack(0, 8, 8 * D * 4),
    "pack: no row": lambda o: pack(0, 0, 0),
    "pack: in place": lambda o: kept().pack(0, N, np.zeros(N * D * 4, np.uint8)),
    "keep: not in place": lambda o: weight().keep(0, N, np.zeros(N * D * 4, np.uint8)),
    "keep: too few bytes": lambda o: keep(0, N, N * D * 4 - 1),
    "keep: too many rows": lambda o: keep(0, N, (N + 1) * D * 4),
    "keep: negative start": lambda o: keep(-1, 4, 4 * D * 4),
    "keep: past the end": lambda o: keep(N - 3, 4, 4 * D * 4),
    "keep: no row": lambda o: keep(0, 0, 0),
    "keep: a row outside": lambda o: keep(0, N, N * D * 4, [*range(N - 1), N]),
    "keep: a negative row": lambda o: keep(0, N, N * D * 4, [-1, *range(N - 1)]),
    "keep: a row short": lambda o: keep(0, N, N * D * 4, list(range(N - 1))),
    "in place: no floats": lambda o: Weight(8, N, D, in_place=True),
    "tensor: no row": lambda o: check_tensor(0, 1),
    "tensor: negative column": lambda o: check_tensor(1, -1),
    "tensor: too large": lambda o: check_tensor(1 << 40, 1 << 40),
    "fill: more rows": lambda o: Tensor(2, 3).fill(np.ones((3, 3), np.float32)),
    "fill: other width": lambda o: Tensor(2, 3).fill(np.ones((2, 4), np.float32)),
    "kv pool: no page": lambda o: check_pool(1, 1, 4, 0),
    "kv pool: no layer": lambda o: check_pool(0, 1, 4, 1),
    "kv pool: head of one": lambda o: check_pool(1, 1, 1, 1),
    "kv pool: more than memory has addresses": lambda o: check_pool(4096, 4096, 4096, 1 << 30),
    "step: offsets past the tokens": lambda o: check_step(step, (0, 4)),
    "step: offsets before the tokens' end": lambda o: check_step(step, (0, 2)),
    "step: offsets from one": lambda o: check_step(step, (1, 3)),
    "step: a position short": lambda o: turned(of=step(positions=(0, 1))),
    "step: a position more": lambda o: turned(of=step(positions=(0, 1, 2, 3))),
    "step: no offset": lambda o: check_step(step, ()),
    "dequantize: unknown block type": lambda o: dequantize(5, 18, 32),
    "dequantize: too few bytes": lambda o: dequantize(2, 17, 32),
    "dequantize: broken block": lambda o: dequantize(2, 18, 31),
    "dequantize: nothing": lambda o: dequantize(2, 0, 0),
    "dequantize: negative count": lambda o: dequantize(0, 0, -8),
    "dequantize: too many": lambda o: dequantize(0, 8, 1 << 62),
    "threads: none": lambda o: ops.set_threads(0),
    "threads: negative": lambda o: ops.set_threads(-1),
    "threads: more than 256": lambda o: ops.set_threads(257),
}
STEPPED = ("rotate_write", "attend")
BROKEN_STEPS: dict[str, dict[str, tuple[object, ...]]] = {
    "page after the last": {"pages": ((3,),)},
    "negative page": {"pages": ((-1,),)},
    "a later page after the last": {"pages": ((0, 3),)},
    "too few pages": {"positions": (62, 63, 64)},
    "no page": {"pages": ((),)},
    "negative position": {"positions": (-1, 0, 1)},
    "positions that stay": {"positions": (0, 0, 0)},
    "positions that skip": {"positions": (0, 1, 3)},
    "positions that fall": {"positions": (2, 1, 0)},
    "positions that run on over sequences": {"offsets": (0, 2, 3), "pages": ((0,), ())},
    "a position short": {"positions": (0, 1)},
    "a position more": {"positions": (0, 1, 2, 3)},
    "logit row after the last": {"logit_rows": (3,)},
}


def check_weight(kind: int, rows: int, cols: int) -> None:
    Weight(kind, rows, cols)


def check_tensor(rows: int, cols: int) -> None:
    Tensor(rows, cols)


def check_pool(layers: int, kv_heads: int, head_width: int, pages: int) -> None:
    KvPool([LayerKv(kv_heads, head_width, head_width)] * layers, pages)


def check_step(make: Callable[..., Step], offsets: tuple[int, ...]) -> None:
    make(offsets=offsets)


def pack(start: int, count: int, size: int) -> None:
    weight().pack(start, count, np.zeros(size, np.uint8))


def kept() -> Weight:
    return Weight(0, N, D, in_place=True)


def keep(start: int, count: int, size: int, rows: list[int] | None = None) -> None:
    order = None if rows is None else np.array(rows, np.int32)
    kept().keep(start, count, np.zeros(size, np.uint8), order)


def dequantize(kind: int, size: int, count: int) -> None:
    ops.dequantize(kind, np.zeros(size, np.uint8), count)


@pytest.mark.parametrize("name", CASES)
def test_a_broken_contract_is_named(name: str) -> None:
    with pytest.raises(ContractBroken) as caught:
        CASES[name](Ops())
    assert isinstance(caught.value, KernelError)
    assert caught.value.code == "kernel.contract_broken"
    assert len(caught.value.message) > 10


@pytest.mark.parametrize("op", STEPPED)
@pytest.mark.parametrize("name", BROKEN_STEPS)
def test_a_step_that_does_not_fit_the_pool_is_refused(op: str, name: str) -> None:
    given = BROKEN_STEPS[name]
    with pytest.raises(ContractBroken, match="step: "):
        run_step(op, given)


@pytest.mark.parametrize("rows", [(1, 0), (1, 1), (-1,), (0, 3)])
def test_only_ascending_logit_rows_of_the_step_can_be_taken_out(rows: tuple[int, ...]) -> None:
    with pytest.raises(ContractBroken, match="step: "):
        step(logit_rows=rows).wanted()


def test_a_step_of_wanted_tokens_keeps_their_order_and_has_no_pages() -> None:
    whole = Step([5, 6, 7, 8], [0, 1, 0, 1], [0, 2, 4], [[0], [1]], [1, 2, 3], adapters=[-1, 0])
    wanted = whole.wanted()
    assert (wanted.count, wanted.logit_rows, wanted.adapted) == (3, [0, 1, 2], True)
    with pytest.raises(ContractBroken, match="step: "):
        Ops().attend(s=wanted)
    assert step(logit_rows=()).wanted().count == 0


def run_step(op: str, given: dict[str, tuple[object, ...]]) -> None:
    broken = step(**given)  # type: ignore[arg-type]
    if op == "attend":
        Ops().attend(s=broken)
    else:
        Ops().rotate_write(s=broken, rotation=turned(of=broken))


def test_the_arguments_themselves_suit_every_op() -> None:
    """Otherwise every case above would pass for the wrong reason."""
    good = Ops()
    good.embed()
    good.norm_project()
    good.project_add()
    good.gate_up()
    good.rotate_write()
    good.attend()
    good.head()
    pack(0, N, N * D * 4)
    keep(0, N, N * D * 4, list(range(N)))
    pack(16, 4, 4 * D * 4)
    dequantize(2, 18, 32)


def test_a_refused_op_changes_nothing() -> None:
    x, out = filled(T, D), filled(T, N)
    with pytest.raises(ContractBroken):
        Ops().norm_project(x=x, outs=[out], biases=[filled(1, N + 1)])
    with pytest.raises(ContractBroken):
        Ops().embed(x=x, s=step(tokens=(0, 1, N)))
    assert (out.numpy() == 1).all()
    assert (x.numpy() == 1).all()


@pytest.mark.parametrize(
    "bad", [[1 << 31], [-(1 << 40)], [0.5], ["a"], [None]], ids=lambda bad: repr(bad[0])
)
def test_what_is_no_token_at_all_is_a_type_error(bad: list[object]) -> None:
    with pytest.raises(TypeError):
        Step(bad, [0], [0, 1], [[0]], [])  # type: ignore[arg-type]
