"""What an adapter's files say besides matrices: its kind, its ranks, its scale.

Room: loading. Every key is known, ignored with a reason, or refused. Must not know any family.
Source: LoraConfig of peft 0.18; `adapter.*` of docs/gguf.md and of llama.cpp's converter.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from freehold.errors import BadConfig, ShapeMismatch, UnknownConfigKey

__all__ = ["MAX_RANK", "Scaling", "gguf_scaling", "peft_scaling"]

MAX_RANK = 1024

T = TypeVar("T")

_IGNORED = {
    "auto_mapping": "names classes of another program",
    "base_model_name_or_path": "a name; whether the model suits is seen by the shapes",
    "revision": "of that name",
    "peft_version": "who wrote the file",
    "inference_mode": "training only",
    "lora_dropout": "training only",
    "target_modules": "the matrices say where they belong",
    "exclude_modules": "the matrices say where they belong",
    "layers_to_transform": "the matrices say where they belong",
    "layers_pattern": "the matrices say where they belong",
    "loftq_config": "how training began; see init_lora_weights",
    "eva_config": "how training began",
    "corda_config": "how training began; see init_lora_weights",
    "lora_ga_config": "how training began; see init_lora_weights",
    "megatron_core": "names a module of another program",
    "qalora_group_size": "of use_qalora, which is refused",
    "runtime_config": "how to compute, not what",
    "ensure_weight_tying": "of embeddings, whose adapters are refused",
}
# Keys that may only have these values: any other changes what the matrices mean.
_NEUTRAL: Mapping[str, tuple[tuple[object, ...], str]] = {
    "peft_type": (("LORA",), "other kinds are not carried"),
    "task_type": ((None, "CAUSAL_LM"), "the base is a language model"),
    "fan_in_fan_out": ((None, False), "matrices are (out, in)"),
    "bias": ((None, "none"), "trained biases are not carried"),
    "lora_bias": ((None, False), "trained biases are not carried"),
    "use_dora": ((None, False), "DoRA is not carried"),
    "use_qalora": ((None, False), "QALoRA is not carried"),
    "use_bdlora": ((None, False), "block-diagonal matrices are not carried"),
    "modules_to_save": ((None, []), "whole trained matrices are not carried"),
    "target_parameters": ((None, []), "experts' matrices are not carried"),
    "layer_replication": ((None, []), "the model's layers are as they are"),
    "trainable_token_indices": ((None, [], {}), "trained embeddings are not carried"),
    "alora_invocation_tokens": ((None, []), "an adapter holds for the whole text"),
    "arrow_config": ((None, {}), "a request chooses one adapter"),
    "megatron_config": ((None, {}), "layouts of other programs are not carried"),
}
_INIT = (None, True, False, "gaussian", "eva", "orthogonal")  # the others change the base as well
_MODULE = re.compile(r"\^?[A-Za-z0-9_.]{1,300}\$?", re.ASCII)


@dataclass(frozen=True)
class Scaling:
    """What scales B A: alpha / r, or alpha / sqrt(r); ranks and alphas may differ by module.

    `rank` None takes the rank that the matrices have.
    """

    alpha: float | None
    rank: int | None = None
    rooted: bool = False
    ranks: Mapping[str, int] = field(default_factory=dict)
    alphas: Mapping[str, float] = field(default_factory=dict)

    def of(self, module: str, rank: int) -> float:
        """The scale of a module whose matrices have this rank. Raises: ShapeMismatch, BadConfig."""
        said = _longest_match(self.ranks, module, self.rank)
        if said is not None and said != rank:
            raise ShapeMismatch(
                f"the rank of {module} is not what the adapter's configuration says",
                family="lora",
                tensor=module,
                expected=f"rank {said}",
                found=f"rank {rank}",
            )
        if not 1 <= rank <= MAX_RANK:
            raise BadConfig(
                f"the rank of {module} is out of range",
                family="lora",
                value=rank,
                expected=f"1 to {MAX_RANK}",
                found=str(rank),
            )
        alpha = _longest_match(self.alphas, module, self.alpha)
        if alpha is None:
            return 1.0
        return alpha / (math.sqrt(rank) if self.rooted else rank)


def _longest_match(table: Mapping[str, T], module: str, default: T) -> T:
    """The entry whose key is the module's name or its last parts; the longest key wins."""
    for key in sorted(table, key=len, reverse=True):
        name = key.strip("^$")
        if module == name or (module.endswith("." + name) and not key.startswith("^")):
            return table[key]
    return default


def peft_scaling(config: Mapping[str, object]) -> Scaling:
    """Checks an adapter_config.json. Raises: BadConfig, UnknownConfigKey."""
    read = {"r", "lora_alpha", "use_rslora", "rank_pattern", "alpha_pattern", "init_lora_weights"}
    if "peft_type" not in config:
        raise _bad("peft_type", None, "'LORA'")
    for key, value in config.items():
        if key in _NEUTRAL:
            allowed, reason = _NEUTRAL[key]
            if not any(value == one and type(value) is type(one) for one in allowed):
                raise _bad(key, value, f"{allowed[-1]!r} ({reason})")
        elif key not in _IGNORED and key not in read:
            raise UnknownConfigKey(
                f"the adapter sets {key[:80]}, which is not understood",
                family="lora",
                value=repr(value)[:80],
                expected="only known keys, since an ignored one could change the answers",
                hint="this is probably a newer kind of adapter",
            )
    init = config.get("init_lora_weights")
    if init not in _INIT:
        raise _bad("init_lora_weights", init, "a way to begin that leaves the base as it was")
    rooted = config.get("use_rslora", False)
    if not isinstance(rooted, bool):
        raise _bad("use_rslora", rooted, "true or false")
    return Scaling(
        alpha=_number(config.get("lora_alpha"), "lora_alpha"),
        rank=_rank(config.get("r"), "r"),
        rooted=rooted,
        ranks=_pattern(config, "rank_pattern", _rank),
        alphas=_pattern(config, "alpha_pattern", _number),
    )


def gguf_scaling(metadata: Mapping[str, object]) -> Scaling:
    """Checks what a GGUF file says of itself. Raises: BadConfig, UnknownConfigKey."""
    for key, expected in (("general.type", "adapter"), ("adapter.type", "lora")):
        if metadata.get(key) != expected:
            raise _bad(key, metadata.get(key), repr(expected))
    known = {"adapter.type", "adapter.lora.alpha", "adapter.lora.task_name"}
    for key in metadata:
        if key.startswith("adapter.") and key not in known:
            raise UnknownConfigKey(
                f"the adapter sets {key[:80]}, which is not understood",
                family="lora",
                value=repr(metadata[key])[:80],
                expected=" or ".join(sorted(known)),
            )
    alpha = metadata.get("adapter.lora.alpha")
    # Without alpha, or with 0, such files mean B A as it is.
    return Scaling(None if alpha in (None, 0, 0.0) else _number(alpha, "adapter.lora.alpha"))


def _pattern(
    config: Mapping[str, object], key: str, read: Callable[[object, str], T]
) -> dict[str, T]:
    table = config.get(key) or {}
    if not isinstance(table, dict) or len(table) > 1 << 14:
        raise _bad(key, table, "an object of names")
    for name in table:
        if not _MODULE.fullmatch(name):
            raise _bad(key, name, "names of modules; of patterns, only ^ and $ are understood")
    return {name: read(value, f"{key}.{name}") for name, value in table.items()}


def _rank(value: object, key: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= MAX_RANK:
        raise _bad(key, value, f"a whole number from 1 to {MAX_RANK}")
    return value


def _number(value: object, key: str) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= 1e6:
        return float(value)
    raise _bad(key, value, "a number of at most a million")


def _bad(key: str, value: object, expected: str) -> BadConfig:
    return BadConfig(
        f"bad value of {key[:80]} in the adapter",
        family="lora",
        value=repr(value)[:80],
        expected=expected,
        found="nothing" if value is None else repr(value)[:80],
    )
