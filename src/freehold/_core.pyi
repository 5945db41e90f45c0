# The compiled core as type checkers see it; core/include/freehold/ops.h says what each op does.
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

PAGE_TOKENS: int
GROUP_ROWS: int
FIXED16: int
INT4_X32: int
INT4_X64: int
INT4_X128: int
INT8_X32: int
INT8_X128: int
FP8_X32: int
FP8_X128: int
NVFP4: int
MXFP4_PAIRS: int

class Tensor:
    def __init__(self, rows: int, cols: int) -> None: ...
    @property
    def rows(self) -> int: ...
    @property
    def cols(self) -> int: ...
    def fill(self, values: NDArray[np.float32]) -> None: ...
    def numpy(self) -> NDArray[np.float32]: ...

class Weight:
    def __init__(self, block_type: int, rows: int, cols: int, in_place: bool = False) -> None: ...
    @property
    def rows(self) -> int: ...
    @property
    def cols(self) -> int: ...
    @property
    def type(self) -> int: ...
    @property
    def bytes(self) -> int: ...
    def pack(self, start: int, count: int, raw: NDArray[np.uint8]) -> None: ...
    def keep(
        self,
        start: int,
        count: int,
        raw: NDArray[np.uint8],
        order: NDArray[np.int32] | None = None,
    ) -> None: ...
    def unpack(self) -> NDArray[np.float32]: ...

class StatePool:
    def __init__(self, cells: Sequence[int], slots: int) -> None: ...
    @property
    def slots(self) -> int: ...
    @property
    def slot_bytes(self) -> int: ...
    def copy(self, source: int, target: int) -> None: ...

class KvPool:
    states: StatePool | None
    def __init__(
        self, layers: Sequence[tuple[int, int, int, bool]], pages: int, bits: int = 16
    ) -> None: ...
    @property
    def bits(self) -> int: ...
    @property
    def pages(self) -> int: ...
    @property
    def page_bytes(self) -> int: ...
    def copy(self, source: int, target: int) -> None: ...

class Step:
    def __init__(
        self,
        tokens: Sequence[int],
        positions: Sequence[int],
        offsets: Sequence[int],
        pages: Sequence[Sequence[int]],
        logit_rows: Sequence[int],
        slots: Sequence[int] = ...,
        adapters: Sequence[int] = ...,
    ) -> None: ...
    @property
    def adapted(self) -> bool: ...
    @property
    def count(self) -> int: ...
    @property
    def logit_rows(self) -> list[int]: ...
    def wanted(self) -> Step: ...

class Rotation:
    def __init__(self) -> None: ...

class Gating:
    def __init__(self, kind: int = 0, slope: float = 1.0, limit: float = 0.0) -> None: ...

class Packed:
    def __init__(
        self,
        tokens: Sequence[int],
        offsets: Sequence[int],
        types: Sequence[int] = ...,
        first_position: int = 0,
    ) -> None: ...
    @property
    def count(self) -> int: ...
    @property
    def texts(self) -> int: ...

def embed(weight: Weight, step: Step, x: Tensor) -> None: ...
def norm_project(
    x: Tensor,
    norm: Tensor | None,
    eps: float,
    count: int,
    weights: Sequence[Weight],
    biases: Sequence[Tensor | None],
    outs: Sequence[Tensor],
    step: Step | None = None,
    deltas: Deltas | None = None,
) -> None: ...
def project_add(
    a: Tensor,
    weight: Weight,
    bias: Tensor | None,
    count: int,
    x: Tensor,
    step: Step | None = None,
    deltas: Deltas | None = None,
) -> None: ...
def gate_up(
    x: Tensor,
    norm: Tensor | None,
    eps: float,
    gate: Weight,
    up: Weight,
    count: int,
    out: Tensor,
    gating: Gating = ...,
    step: Step | None = None,
    deltas: Deltas | None = None,
) -> None: ...
def add_normed(y: Tensor, norm: Tensor, eps: float, count: int, x: Tensor) -> None: ...
def scale(x: Tensor, factor: float, count: int) -> None: ...
def multiply_part(by: Tensor, first: int, count: int, x: Tensor) -> None: ...
def softcap(x: Tensor, cap: float, count: int) -> None: ...
def make_rotation(
    step: Step, frequencies: NDArray[np.float32], scale: float, out: Rotation
) -> None: ...
def rotate_write(
    q: Tensor,
    k: Tensor | None,
    v: Tensor | None,
    rotation: Rotation | None,
    step: Step,
    kv: KvPool,
    layer: int,
    first: int = 0,
) -> None: ...
def attend(
    q: Tensor,
    kv: KvPool,
    layer: int,
    step: Step,
    scale: float,
    out: Tensor,
    window: int = 0,
    chunk: int = 0,
    sinks: Tensor | None = None,
    softcap: float = 0.0,
) -> None: ...
def project_heads(x: Tensor, weight: Weight, heads: int, count: int, out: Tensor) -> None: ...
def norm_first(x: Tensor, norm: Tensor, eps: float, count: int) -> None: ...
def norm_heads(
    parts: Sequence[Tensor], weights: Sequence[Tensor], eps: float, count: int
) -> None: ...
def scale_late(q: Tensor, step: Step, beta: float, trained_tokens: int, ahead: int = 0) -> None: ...
def head(
    x: Tensor, norm: Tensor, eps: float, weight: Weight, step: Step, logits: Tensor
) -> None: ...
def convolve(x: Tensor, weight: Tensor, step: Step, kv: KvPool, cell: int) -> None: ...
def delta_floats(value_heads: int, key_width: int, value_width: int) -> int: ...
def delta_rule(
    qkv: Tensor,
    a: Tensor,
    b: Tensor,
    decay: Tensor,
    dt_bias: Tensor,
    key_heads: int,
    tiled: bool,
    step: Step,
    kv: KvPool,
    cell: int,
    out: Tensor,
) -> None: ...
def norm_gate(a: Tensor, norm: Tensor, eps: float, gate: Tensor, count: int) -> None: ...
def open_values(gates: Tensor, count: int, a: Tensor) -> None: ...
def embed_packed(
    words: Tensor,
    positions: Tensor,
    types: Tensor | None,
    norm: Tensor,
    norm_bias: Tensor,
    eps: float,
    packed: Packed,
    x: Tensor,
) -> None: ...
def project(
    x: Tensor,
    count: int,
    weights: Sequence[Weight],
    biases: Sequence[Tensor | None],
    activation: int,
    outs: Sequence[Tensor],
) -> None: ...
def project_add_norm(
    a: Tensor,
    weight: Weight,
    bias: Tensor | None,
    norm: Tensor,
    norm_bias: Tensor,
    eps: float,
    count: int,
    x: Tensor,
) -> None: ...
def attend_packed(
    q: Tensor, k: Tensor, v: Tensor, packed: Packed, heads: int, scale: float, out: Tensor
) -> None: ...
def pool(x: Tensor, packed: Packed, kind: int, normalise: bool, out: Tensor) -> None: ...

class RouterRule:
    def __init__(
        self,
        *,
        chosen: int,
        scoring: int = 0,
        renormalise: bool = False,
        epsilon: float = 0.0,
        scale: float = 1.0,
        groups: int = 1,
        groups_kept: int = 1,
        group_top: int = 1,
    ) -> None: ...

class Routing:
    def __init__(self) -> None: ...
    @property
    def count(self) -> int: ...
    @property
    def chosen(self) -> int: ...
    @property
    def ids(self) -> list[int]: ...
    @property
    def weights(self) -> list[float]: ...

def route(
    x: Tensor,
    norm: Tensor,
    eps: float,
    weight: Weight,
    bias: Tensor | None,
    rule: RouterRule,
    count: int,
    out: Routing,
    *,
    offsets: Tensor | None = None,
    factors: Tensor | None = None,
) -> None: ...
def mix_experts(
    norm: Tensor,
    eps: float,
    gate: Weight,
    up: Weight,
    down: Weight,
    routing: Routing,
    x: Tensor,
    out: Tensor | None = None,
    *,
    gating: Gating = ...,
    gate_bias: Tensor | None = None,
    up_bias: Tensor | None = None,
    down_bias: Tensor | None = None,
    weigh_inputs: bool = False,
) -> None: ...

class Thin:
    def __init__(self, values: NDArray[np.float32], bits: int) -> None: ...
    @property
    def rows(self) -> int: ...
    @property
    def cols(self) -> int: ...
    @property
    def bits(self) -> int: ...
    @property
    def bytes(self) -> int: ...

class Deltas:
    def __init__(self) -> None: ...
    def put(
        self,
        index: int,
        down: Thin,
        ups: Sequence[Thin | None],
        scales: Sequence[float],
        following: Thin | None = None,
    ) -> None: ...
    def drop(self, index: int) -> None: ...

def gate_rows(up: Tensor, count: int, gate: Tensor, gating: Gating = ...) -> None: ...
def open_rows(gates: Tensor, count: int, a: Tensor) -> None: ...
def sample(
    logits: NDArray[np.float32],
    temperature: Sequence[float],
    top_k: Sequence[int],
    top_p: Sequence[float],
    min_p: Sequence[float],
    uniform: Sequence[float],
) -> list[int]: ...
def diverge(
    source: NDArray[np.float32], model: NDArray[np.float32]
) -> list[tuple[float, float, float]]: ...
def mask_logits(logits: NDArray[np.float32], allowed: NDArray[np.uint32]) -> None: ...
def dequantize(block_type: int, raw: NDArray[np.uint8], count: int) -> NDArray[np.float32]: ...
def quantize_rows(
    weights: NDArray[np.float32],
    type_name: str,
    importance: NDArray[np.float32] | None = None,
    *,
    threads: int | None = None,
) -> NDArray[np.uint8]: ...
def quantize_rows_with_feedback(
    weights: NDArray[np.float32],
    type_name: str,
    factors: Sequence[NDArray[np.float32]],
    importance: NDArray[np.float32] | None = None,
    *,
    threads: int | None = None,
) -> NDArray[np.uint8]: ...
def keep_spare_memory(keep: bool) -> None: ...
def mean_products(x: NDArray[np.float32]) -> NDArray[np.float32]: ...
def feedback_factor(
    matrix: NDArray[np.float32], keep: float = 1.0, add: float = 0.0, coded: bool = False
) -> NDArray[np.float32] | None: ...
def can_quantize_to(type_name: str) -> bool: ...
def measure_bandwidth() -> float: ...
def supports_type(block_type: int) -> bool: ...
def isa_name() -> str: ...
def isa_available(name: str) -> bool: ...
def force_isa(name: str) -> None: ...
def threads() -> int: ...
def set_threads(count: int) -> None: ...
def usable_cores() -> int: ...
