"""How fast this machine's kernels are: each is run for a moment, on matrices of its own making.

Room: engine. Knows ops and block types; must not know models. A rate is that of the quickest
quarter of its runs, and the better of two rounds, so that what else the machine does counts little.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from freehold import ops
from freehold.formats.block_types import BlockType
from freehold.ops import KvPool, LayerKv, StatePool, Step, Tensor, Weight

__all__ = ["MEASURED_TYPES", "AttendRates", "Rates", "TypeRates", "measure_rates"]

MEASURED_TYPES = tuple(BlockType)

_STREAM_BYTES = 80 << 20  # more than the last cache of most machines holds
_WIDE, _NARROW, _TOKENS = 2048, 512, 128
_ROWS = 1024
_MOMENT_S, _FEWEST_RUNS = 0.05, 4
_PATTERN = 0x3B  # as any type's scale it is a plain number, neither huge nor denormal
_DEPTH, _LAYERS, _HEADS, _SHARED = 2048, 8, 16, 4
_KEY_WIDTHS = (64, 128, 256)
_LATENT, _LATENT_VALUE = 576, 512
_STATE_HEADS, _STATE_WIDTH = 32, 128


@dataclass(frozen=True, kw_only=True)
class TypeRates:
    """Products with matrices of one block type; elements of a matrix meet tokens.

    `stream` elements a second for one token, read from memory; `one` the same from a cache;
    `many` elements times tokens a second for many tokens; `narrow` that with few columns.
    """

    stream: float
    one: float
    many: float
    narrow: float


@dataclass(frozen=True, kw_only=True)
class AttendRates:
    """Multiply-adds a second of attention with keys of one width: one query, and a whole prompt."""

    one: float
    many: float


@dataclass(frozen=True, kw_only=True)
class Rates:
    """The machine's rates, by block type's name and by key width ("latent" for latent rows).

    `isas` has the int8 products a second of each instruction set; `op_s` is what a call costs
    beside its work; `state_one` and `state_many` are cells of recurrent states a second.
    """

    isa: str
    threads: int
    bandwidth_bytes_per_s: float
    isas: dict[str, float]
    types: dict[str, TypeRates]
    attend: dict[str, AttendRates]
    op_s: float
    state_one: float
    state_many: float


def measure_rates(progress: Callable[[int, int], None] | None = None) -> Rates:
    """Measures everything, in some fifteen seconds. `progress` is told steps done and in all."""
    steps = 2 * len(MEASURED_TYPES) + 3
    tell = progress or _nothing
    bandwidth = float(ops.measure_bandwidth_bytes_per_s())
    tell(1, steps)
    types: dict[str, TypeRates] = {}
    for index, kind in enumerate(2 * MEASURED_TYPES):
        found = _type_rates(kind)
        types[kind.name] = _better(types.get(kind.name, found), found)
        tell(index + 2, steps)
    attend = {str(width): _attend_rates(LayerKv(_SHARED, width, width)) for width in _KEY_WIDTHS}
    attend["latent"] = _attend_rates(LayerKv(1, _LATENT, _LATENT_VALUE, latent=True))
    tell(steps - 1, steps)
    rates = Rates(
        isa=ops.isa_name(),
        threads=ops.threads(),
        bandwidth_bytes_per_s=bandwidth,
        isas=dict(_isa_rates()),
        types=types,
        attend=attend,
        op_s=_op_s(types["Q8_0"].one),
        state_one=_state_rate(1),
        state_many=_state_rate(_TOKENS),
    )
    tell(steps, steps)
    return rates


def _better(one: TypeRates, other: TypeRates) -> TypeRates:
    return TypeRates(
        stream=max(one.stream, other.stream),
        one=max(one.one, other.one),
        many=max(one.many, other.many),
        narrow=max(one.narrow, other.narrow),
    )


def _nothing(done: int, total: int) -> None:
    del done, total


def _seconds(run: Callable[[], None]) -> float:
    """What one run takes, after one that warms up."""
    run()
    taken: list[float] = []
    end = time.perf_counter() + _MOMENT_S
    while time.perf_counter() < end or len(taken) < _FEWEST_RUNS:
        start = time.perf_counter()
        run()
        taken.append(time.perf_counter() - start)
    return sorted(taken)[len(taken) // 4]


def _weight(kind: BlockType, rows: int, columns: int) -> Weight:
    weight = Weight(int(kind), rows, columns)
    row_bytes = columns // kind.block_elements * kind.block_bytes
    some = min(rows, max(ops.GROUP_ROWS, (1 << 22) // row_bytes // 16 * 16))
    raw = np.full(some * row_bytes, _PATTERN, np.uint8)
    for start in range(0, rows, some):
        count = min(some, rows - start)
        weight.pack(start, count, raw[: count * row_bytes])
    return weight


def _filled(rows: int, columns: int) -> Tensor:
    tensor = Tensor(rows, columns)
    tensor.fill(_noise(rows, columns))
    return tensor


def _noise(rows: int, columns: int) -> NDArray[np.float32]:
    return np.random.default_rng(0).standard_normal((rows, columns), np.float32)


def _product_s(weights: Sequence[Weight], tokens: int) -> float:
    """Seconds of a norm and a product with each matrix, one after another as in a model."""
    rows, columns = weights[0].rows, weights[0].cols
    x, out, norm = _filled(tokens, columns), Tensor(tokens, rows), Tensor(1, columns)
    norm.fill(np.ones((1, columns), np.float32))

    def run() -> None:
        for weight in weights:
            ops.norm_project(x, norm, 1e-5, tokens, (weight,), (None,), (out,))

    return _seconds(run)


def _type_rates(kind: BlockType) -> TypeRates:
    row_bytes = _WIDE // kind.block_elements * kind.block_bytes
    rows = _STREAM_BYTES // row_bytes // ops.GROUP_ROWS * ops.GROUP_ROWS
    wide = [_weight(kind, _ROWS, _WIDE) for _ in range(-(-rows // _ROWS))]
    narrow = [_weight(kind, _NARROW, _NARROW)]
    return TypeRates(
        stream=len(wide) * _ROWS * _WIDE / _product_s(wide, 1),
        one=_ROWS * _WIDE / _product_s(wide[:1], 1),
        many=_TOKENS * _ROWS * _WIDE / _product_s(wide[:1], _TOKENS),
        narrow=_TOKENS * _NARROW * _NARROW / _product_s(narrow, _TOKENS),
    )


def _isa_rates() -> Iterator[tuple[str, float]]:
    """Of every instruction set the processor has; the one in use is put back."""
    used = ops.isa_name()
    weight = _weight(BlockType.Q8_0, _NARROW, _WIDE)
    try:
        for name in ops.available_isas():
            ops.force_isa(name)
            yield name, _TOKENS * _NARROW * _WIDE / _product_s([weight], _TOKENS)
    finally:
        ops.force_isa(used)


def _op_s(one: float) -> float:
    """What a call costs beside its work: a small one, less what its elements take."""
    took = _product_s([_weight(BlockType.Q8_0, _NARROW // 2, _NARROW)], 1)
    return max(took - _NARROW // 2 * _NARROW / one, 0.0)


def _attend_rates(layer: LayerKv) -> AttendRates:
    """Over several layers' pages, so that one query reads them from memory."""
    pages = list(range(-(-(_DEPTH + 1) // ops.PAGE_TOKENS)))
    kv = KvPool((layer,) * _LAYERS, len(pages), 16)
    for index in range(_LAYERS):
        _write(kv, layer, index, _step(0, _DEPTH, pages))
    one, many = _step(_DEPTH, 1, pages), _step(0, 4 * _TOKENS, pages)
    a_pair = layer.key_width + layer.value_width
    pairs = {1: _DEPTH + 1, 4 * _TOKENS: 2 * _TOKENS * (4 * _TOKENS + 1)}
    seconds = {}
    for step, layers in ((one, _LAYERS), (many, 1)):
        q = _filled(step.count, _HEADS * layer.key_width)
        out = Tensor(step.count, _HEADS * layer.value_width)

        def attend(step: Step = step, q: Tensor = q, out: Tensor = out, n: int = layers) -> None:
            for index in range(n):
                ops.attend(q, kv, index, step, layer.key_width**-0.5, out)

        seconds[step.count] = _seconds(attend) / layers
    rates = {count: pairs[count] * _HEADS * a_pair / took for count, took in seconds.items()}
    return AttendRates(one=rates[1], many=rates[4 * _TOKENS])


def _step(start: int, count: int, pages: list[int]) -> Step:
    positions = list(range(start, start + count))
    return Step([0] * count, positions, [0, count], [pages], [count - 1])


def _write(kv: KvPool, layer: LayerKv, index: int, step: Step) -> None:
    q = _filled(step.count, layer.heads * layer.key_width)
    keys = _filled(step.count, layer.heads * layer.key_width)
    values = None if layer.latent else _filled(step.count, layer.heads * layer.value_width)
    ops.rotate_write(q, keys, values, None, step, kv, index)


def _state_rate(tokens: int) -> float:
    """Cells of a state that take in one token, a second."""
    heads, width = _STATE_HEADS, _STATE_WIDTH
    kv = KvPool((LayerKv(0, 0, 0),), 4, 16)
    cells = ops.delta_floats(heads, width, width)
    kv.states = StatePool((cells,), 1)
    step = Step([0] * tokens, list(range(tokens)), [0, tokens], [[0, 1]], [tokens - 1], slots=[0])
    qkv = _filled(tokens, 2 * (heads // 2) * width + heads * width)
    a, b = _filled(tokens, heads), _filled(tokens, heads)
    decay, bias = _filled(1, heads), _filled(1, heads)
    decay.fill(np.full((1, heads), -1.0, np.float32))
    out = Tensor(tokens, heads * width)
    took = _seconds(
        lambda: ops.delta_rule(qkv, a, b, decay, bias, heads // 2, False, step, kv, 0, out)
    )
    return tokens * cells / took
