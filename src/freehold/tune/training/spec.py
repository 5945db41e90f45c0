"""What is trained on what, and how: plain data that goes over a process' border as JSON.

Room: tune. Must not know torch. A specification names files that whoever made it has resolved.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from freehold.errors import BadTraining

__all__ = ["ALL_TARGETS", "TrainResult", "TrainSpec", "checked", "read_spec"]

ALL_TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")

_CHOICES: Mapping[str, tuple[str, ...]] = {
    "method": ("sft", "dpo"),
    "adapter": ("lora", "qlora", "full"),
    "schedule": ("cosine", "linear", "constant"),
    "on_long": ("refuse", "split"),
    "precision": ("auto", "float32", "bfloat16"),
    "device": ("auto", "cpu", "cuda"),
}
_RANGES: Mapping[str, tuple[float, float]] = {
    "rank": (1, 1024),
    "alpha": (0, 1e6),
    "dropout": (0, 0.9),
    "warmup": (0, 1),
    "epochs": (0, 1000),
    "batch_examples": (1, 1 << 16),
    "seed": (0, (1 << 32) - 1),
    "weight_decay": (0, 10),
    "clip": (0, 1e6),
    "beta": (0, 100),
    "patience": (0, 1 << 16),
    "evaluate_every_steps": (0, 1 << 30),
}
_OPTIONAL: Mapping[str, tuple[float, float]] = {
    "lr": (0, 10),
    "max_tokens": (8, 1 << 24),
    "row_tokens": (16, 1 << 20),
    "max_steps": (1, 1 << 30),
    "checkpoint_every_steps": (1, 1 << 30),
    "memory_bytes": (1, 1 << 50),
    "threads": (1, 256),
}


@dataclass(frozen=True, kw_only=True)
class TrainSpec:
    """One training. None lets the trainer choose: the rate by method, the length by the model.

    Digests name base and data in the record; `system` leads conversations that have no system
    message, as serving does. `batch_examples` make one step; `row_tokens` bounds what goes through
    the network at once. `memory_bytes` is a budget for activations, above which they are computed
    twice. `warmup` is a share of all steps. `patience` is how many measurements of the held-out
    loss without a better one end the training, 0 for no end; without `heldout` there is none.
    Without `checkpoint_every_steps` there is one each twentieth of the steps, or each minute if
    that is sooner, as far as they take no more than a twentieth of the time.
    """

    base: str
    data: str
    heldout: str | None = None
    base_name: str = ""
    base_digest: str = ""
    dataset_digests: tuple[str, ...] = ()
    system: str | None = None
    form: str = "auto"
    mapping: Mapping[str, str] | None = None
    method: str = "sft"
    adapter: str = "lora"
    rank: int = 16
    alpha: float = 32.0
    dropout: float = 0.0
    targets: tuple[str, ...] = ALL_TARGETS
    start_from: str | None = None
    lr: float | None = None
    schedule: str = "cosine"
    warmup: float = 0.05
    weight_decay: float = 0.0
    clip: float = 1.0
    beta: float = 0.1
    epochs: int = 3
    max_steps: int | None = None
    batch_examples: int = 16
    row_tokens: int | None = None
    max_tokens: int | None = None
    on_long: str = "refuse"
    patience: int = 0
    evaluate_every_steps: int = 0
    checkpoint_every_steps: int | None = None
    seed: int = 0
    precision: str = "auto"
    device: str = "auto"
    memory_bytes: int | None = None
    threads: int | None = None

    @property
    def rate(self) -> float:
        """The highest learning rate."""
        if self.lr is not None:
            return self.lr
        usual = 2e-5 if self.adapter == "full" else 1e-3
        return usual / 20 if self.method == "dpo" else usual

    def as_json(self) -> str:
        """As `read_spec` reads it."""
        return json.dumps(asdict(self), indent=2, sort_keys=True) + "\n"


@dataclass(frozen=True, kw_only=True)
class TrainResult:
    """What a training came to. `status` is "finished", or "stopped" when it was asked to.

    Losses are means over learned tokens, in nats (of preference pairs: over pairs). `tokens` are of
    the examples seen, each counted whole; `computed_tokens` went through the network.
    """

    status: str
    adapter_dir: Path | None
    steps: int
    train_loss: float
    heldout_loss: float | None
    first_heldout_loss: float | None
    tokens: int
    computed_tokens: int
    tokens_per_s: float
    peak_bytes: int
    best_step: int | None = None
    why: str = ""


def read_spec(text: str) -> TrainSpec:
    """A specification from JSON. Raises: BadTraining for what is unknown or out of range."""
    try:
        said = json.loads(text)
    except ValueError as error:
        raise _bad("the specification", None, "an object", "no JSON") from error
    if not isinstance(said, dict):
        raise _bad("the specification", said, "an object", type(said).__name__)
    known = {each.name for each in fields(TrainSpec)}
    for name in said:
        if name not in known:
            raise _bad(str(name)[:80], said[name], "only known settings", "one that is not")
    for name in ("base", "data"):
        if not isinstance(said.get(name), str):
            raise _bad(name, said.get(name), "a path", type(said.get(name)).__name__)
    for name in ("targets", "dataset_digests"):
        if name in said:
            said[name] = tuple(said[name] or ())
    return checked(TrainSpec(**said))


def checked(spec: TrainSpec) -> TrainSpec:
    """The specification, when every setting is in its range. Raises: BadTraining."""
    values: dict[str, Any] = asdict(spec)
    for name, allowed in _CHOICES.items():
        if values[name] not in allowed:
            raise _bad(name, values[name], " or ".join(allowed), repr(values[name])[:40])
    kinds = {each.name: each.type for each in fields(TrainSpec)}
    for name, (least, most) in {**_RANGES, **_OPTIONAL}.items():
        value = values[name]
        if value is None and name in _OPTIONAL:
            continue
        whole = "float" not in str(kinds[name])
        number = isinstance(value, int if whole else int | float) and not isinstance(value, bool)
        if not number or not math.isfinite(value) or not least <= value <= most:
            kind = "a whole number" if whole else "a number"
            raise _bad(name, value, f"{kind} from {least:g} to {most:g}", repr(value)[:40])
    unknown = [name for name in spec.targets if name not in ALL_TARGETS]
    if unknown or (not spec.targets and spec.adapter != "full"):
        raise _bad("targets", unknown, "some of " + ", ".join(ALL_TARGETS), repr(unknown)[:80])
    return spec


def _bad(name: str, value: object, expected: str, found: str) -> BadTraining:
    return BadTraining(
        f"{name} cannot have this value", value=repr(value)[:80], expected=expected, found=found
    )
