"""Ollama's options: how to draw, when to end, and what belongs to the server's start.

Room: server. Pure; must not know residents or answers.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass

from freehold.engine.sampler import Sampling
from freehold.errors import BadRequest, UnsupportedField
from freehold.server.ask import SUGGESTED, WINDOW
from freehold.server.routes.ollama.requests import Options

__all__ = ["NAMES", "NEUTRAL", "max_tokens_of", "refuse_options", "sampling_of", "unsaid_in"]

_WINDOW = 64

# What an `Ask` calls what this interface calls otherwise.
NAMES = {
    "max_tokens": "options.num_predict",
    "response_format": "format",
    "stop": "options.stop",
    "thinking": "think",
    "repetition_penalty": "options.repeat_penalty",
    "repetition_window": "options.repeat_last_n",
    **{
        name: f"options.{name}"
        for name in (
            "temperature",
            "top_k",
            "top_p",
            "min_p",
            "seed",
            "presence_penalty",
            "frequency_penalty",
        )
    },
}


@dataclass(frozen=True)
class _Neutral:
    """The values that ask for what happens anyway, and why others cannot be honoured."""

    values: tuple[object, ...]
    reason: str


_HARDWARE = "it is settled when the server starts; see `freehold serve --help`"
_SAMPLER = "use temperature, top_k, top_p and min_p"

NEUTRAL = {
    "draft_num_predict": _Neutral((0,), "no draft model helps along"),
    "embedding_only": _Neutral((False,), "use /api/embed"),
    "f16_kv": _Neutral((True,), _HARDWARE),
    "logits_all": _Neutral((False,), "use logprobs"),
    "low_vram": _Neutral((False,), "the model runs on the processor"),
    "main_gpu": _Neutral((0,), "the model runs on the processor"),
    "mirostat": _Neutral((0,), _SAMPLER),
    "num_batch": _Neutral((512,), _HARDWARE),
    "num_gpu": _Neutral((0, -1), "the model runs on the processor"),
    "num_thread": _Neutral((0,), _HARDWARE),
    "numa": _Neutral((False,), _HARDWARE),
    "penalize_newline": _Neutral((True,), "a new line is a token like others"),
    "tfs_z": _Neutral((1,), _SAMPLER),
    "typical_p": _Neutral((1,), _SAMPLER),
    "use_mlock": _Neutral((False,), _HARDWARE),
    "use_mmap": _Neutral((True,), _HARDWARE),
    "vocab_only": _Neutral((False,), "use /tokenize"),
}


def refuse_options(options: Options) -> None:
    """Raises: UnsupportedField for an option that is not neutral and cannot be honoured."""
    for name, neutral in NEUTRAL.items():
        value = getattr(options, name)
        if value is None or any(value is v or _equal(value, v) for v in neutral.values):
            continue
        raise UnsupportedField(
            f"the option {name} cannot be set by a request",
            param=f"options.{name}",
            expected=" or ".join(map(repr, neutral.values)),
            hint=neutral.reason,
        )


def _equal(value: object, neutral: object) -> bool:
    """Numbers alike; but 0 is no False, nor 1 True."""
    if isinstance(value, bool) or isinstance(neutral, bool):
        return False
    return isinstance(value, int | float) and value == neutral


def sampling_of(options: Options) -> Sampling:
    """How the engine is to draw, with Ollama's defaults. Raises: BadSampling."""
    penalty = 1.0 if options.repeat_penalty is None else options.repeat_penalty
    window = _WINDOW if options.repeat_last_n is None else options.repeat_last_n
    if window < -1:
        raise BadRequest(
            "options.repeat_last_n is out of range",
            param="options.repeat_last_n",
            expected="-1 for everything, 0 for no penalty, or a number of tokens",
            found=str(window),
        )
    seed = options.seed
    return Sampling(
        temperature=0.8 if options.temperature is None else options.temperature,
        top_k=40 if options.top_k is None else max(0, options.top_k),
        # 0 is the smallest nucleus there is: the likeliest token alone.
        top_p=0.9 if options.top_p is None else options.top_p or sys.float_info.min,
        min_p=options.min_p or 0.0,
        repetition_penalty=penalty if window else 1.0,
        repetition_window=max(0, window),
        presence_penalty=options.presence_penalty or 0.0,
        frequency_penalty=options.frequency_penalty or 0.0,
        seed=None if seed in (None, -1) else seed,
    )


def unsaid_in(options: Options) -> frozenset[str]:
    """What the options leave to the model's maker."""
    said = {name for name in SUGGESTED if getattr(options, name, None) is not None}
    if options.repeat_penalty is not None or options.repeat_last_n == 0:
        said |= {"repetition_penalty", WINDOW}
    elif options.repeat_last_n is not None:
        said.add(WINDOW)
    return (SUGGESTED | {WINDOW}) - said


def max_tokens_of(options: Options) -> int | None:
    """How long the answer may be; None for up to the context."""
    count = options.num_predict
    if count is None or count in (-1, -2):
        return None
    if count < 1:
        raise BadRequest(
            "options.num_predict is out of range",
            param="options.num_predict",
            expected="-1 for as many as fit, or at least 1",
            found=str(count),
        )
    return count
