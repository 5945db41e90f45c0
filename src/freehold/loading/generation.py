"""Which tokens end an answer, and how the model's maker would draw.

A directory says so in generation_config.json, a GGUF file in its `general.sampling.*` keys.
Room: loading. Every key is honoured, ignored with a reason, or refused unless it changes nothing.
Source: GenerationConfig of transformers 5, which also reads what version 4 wrote; gguf 0.18.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from freehold.errors import BadConfig
from freehold.loading.keys import Keys

__all__ = [
    "Generation",
    "Suggested",
    "end_ids_of",
    "generation_keys",
    "read_generation",
    "read_sampling",
    "sampling_keys",
]

_NAME = "generation_config"
_GGUF = "general.sampling"
_MAX_ENDS = 64
_MAX_ID = 1 << 24

_LENGTH = "an answer ends by itself, where it was asked to, or at the context"
_SPEED = "how to compute, not what"
_RETURNS = "what to return besides the answer"
_IGNORED = {
    "transformers_version": "who wrote the file",
    "_from_model_config": "how the file came to be",
    "bos_token_id": "the tokenizer's files say",
    "pad_token_id": "nothing is padded",
    "max_length": _LENGTH,
    "max_new_tokens": _LENGTH,
    "use_cache": _SPEED,
    "cache_implementation": _SPEED,
    "cache_config": _SPEED,
    "return_legacy_cache": _SPEED,
    "prefill_chunk_size": _SPEED,
    "low_memory": _SPEED,
    "compile_config": _SPEED,
    "disable_compile": _SPEED,
    "prompt_lookup_num_tokens": _SPEED,
    "max_matching_ngram_size": _SPEED,
    "is_assistant": _SPEED,
    "num_assistant_tokens": _SPEED,
    "num_assistant_tokens_schedule": _SPEED,
    "assistant_confidence_threshold": _SPEED,
    "assistant_early_exit": _SPEED,
    "assistant_lookbehind": _SPEED,
    "target_lookbehind": _SPEED,
    "return_dict_in_generate": _RETURNS,
    "output_attentions": _RETURNS,
    "output_hidden_states": _RETURNS,
    "output_scores": _RETURNS,
    "output_logits": _RETURNS,
    "early_stopping": "of beams, which are refused",
    "length_penalty": "of beams, which are refused",
    "trust_remote_code": "code of a checkpoint is never run",
    "custom_generate": "code of a checkpoint is never run",
    "chat_format": "the chat template says",
    "max_window_size": "nothing is shortened",
}
# What is not carried may be said only at the value that changes nothing, or as null.
_NEUTRAL: Mapping[str, object] = {
    "num_beams": 1,
    "num_beam_groups": 1,
    "num_return_sequences": 1,
    "diversity_penalty": 0.0,
    "encoder_repetition_penalty": 1.0,
    "typical_p": 1.0,
    "epsilon_cutoff": 0.0,
    "eta_cutoff": 0.0,
    "top_h": None,
    "penalty_alpha": None,
    "no_repeat_ngram_size": 0,
    "encoder_no_repeat_ngram_size": 0,
    "bad_words_ids": None,
    "force_words_ids": None,
    "constraints": None,
    "forced_bos_token_id": None,
    "forced_eos_token_id": None,
    "decoder_start_token_id": None,
    "suppress_tokens": None,
    "begin_suppress_tokens": None,
    "sequence_bias": None,
    "exponential_decay_length_penalty": None,
    "guidance_scale": None,
    "watermarking_config": None,
    "stop_strings": None,
    "min_length": 0,
    "min_new_tokens": None,
    "max_time": None,
    "dola_layers": None,
    "token_healing": False,
    "renormalize_logits": False,
    "remove_invalid_values": False,
}


# The same for `general.sampling.*`.
_GGUF_IGNORED = {
    "sequence": "the order in which these are applied is the sampler's own",
    "xtc_threshold": "of xtc, which is refused",
    "mirostat_tau": "of mirostat, which is refused",
    "mirostat_eta": "of mirostat, which is refused",
}
_GGUF_NEUTRAL: Mapping[str, object] = {"xtc_probability": 0.0, "mirostat": 0}
# Our names -> those of GGUF.
_GGUF_NAMES = {
    "temperature": "temp",
    "top_k": "top_k",
    "top_p": "top_p",
    "min_p": "min_p",
    "repetition_penalty": "penalty_repeat",
    "repetition_window": "penalty_last_n",
}
_GGUF_WINDOW = 64  # where only the penalty is said: llama.cpp's own
_LEAST = sys.float_info.min  # the smallest nucleus: the likeliest token alone
_RANGES = {
    "temperature": (0.0, 100.0),
    "top_p": (0.0, 1.0),
    "min_p": (0.0, 1.0),
    "repetition_penalty": (1e-6, 100.0),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Suggested:
    """How the model's maker would draw, for what nobody says otherwise; None where unsaid.

    `top_k` 0 and `repetition_window` 0 mean all tokens.
    """

    temperature: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None
    repetition_penalty: float | None = None
    repetition_window: int | None = None

    def said(self) -> dict[str, Any]:
        """What is said, by name."""
        return {name: value for name, value in asdict(self).items() if value is not None}

    def of(self, names: Iterable[str]) -> dict[str, Any]:
        """What is said under these names."""
        said = self.said()
        return {name: said[name] for name in names if name in said}


@dataclass(frozen=True, slots=True)
class Generation:
    """What the file says: `end_ids` end an answer."""

    end_ids: frozenset[int] = frozenset()
    suggested: Suggested = Suggested()


def read_generation(metadata: Mapping[str, object]) -> Generation:
    """Reads the keys of a generation_config.json. Raises: BadConfig, UnknownConfigKey."""
    keys = Keys({f"{_NAME}.{key}": value for key, value in metadata.items()}, _NAME)
    for key, reason in _IGNORED.items():
        keys.ignore(key, reason)
    for key, neutral in _NEUTRAL.items():
        keys.absent_or(key, neutral, "anything else is not carried")
    keys.ignore("eos_token_id", "read here: a number or a list")
    ends = end_ids_of(metadata)
    suggested = _suggested(keys, metadata)
    keys.finish()
    return Generation(ends, suggested)


def end_ids_of(metadata: Mapping[str, object]) -> frozenset[int]:
    """The ids under `eos_token_id`, a number or a list of them. Raises: BadConfig."""
    found = metadata.get("eos_token_id")
    ids = found if isinstance(found, list) else [] if found is None else [found]
    fits = all(isinstance(i, int) and not isinstance(i, bool) and 0 <= i < _MAX_ID for i in ids)
    if not fits or len(ids) > _MAX_ENDS:
        raise BadConfig(
            "bad value of eos_token_id",
            family=_NAME,
            value=found,
            expected=f"a token's id, or a list of at most {_MAX_ENDS}",
            found=repr(found)[:80],
        )
    return frozenset(ids)


def read_sampling(metadata: Mapping[str, object]) -> Suggested:
    """What a GGUF file's `general.sampling.*` say. Raises: BadConfig, UnknownConfigKey."""
    keys = Keys(metadata, _GGUF)
    for key, reason in _GGUF_IGNORED.items():
        keys.ignore(key, reason)
    for key, neutral in _GGUF_NEUTRAL.items():
        keys.absent_or(key, neutral, "anything else is not carried")
    numbers: dict[str, float] = {}
    for name in _RANGES:
        found = keys.anything(_GGUF_NAMES[name])
        if found is not None:
            # A float32's own digits: 0.7, not 0.699999988.
            numbers[name] = float(f"{_number(_GGUF, name, found):.7g}")
    top_k = _count(keys, "top_k")
    window = _count(keys, "penalty_last_n")
    keys.finish()
    penalty = numbers.pop("repetition_penalty", None)
    if penalty is not None and window is None:
        window = _GGUF_WINDOW
    if window == 0:  # here 0 says none, and -1 the whole text
        penalty, window = 1.0, None
    return _made(numbers, top_k, penalty, None if window is None else max(0, window))


def sampling_keys(suggested: Suggested) -> dict[str, float]:
    """The same in GGUF's words."""
    said = suggested.said()
    if said.get("repetition_window") == 0:
        said["repetition_window"] = -1
    return {f"{_GGUF}.{_GGUF_NAMES[name]}": value for name, value in said.items()}


def generation_keys(suggested: Suggested) -> dict[str, float | bool]:
    """The same in generation_config.json's words; its penalty always looks at the whole text."""
    said: dict[str, float | bool] = dict(suggested.said())
    said.pop("repetition_window", None)
    if said.get("temperature") == 0.0:  # which is said there by drawing nothing
        return {k: v for k, v in said.items() if k == "repetition_penalty"} | {"do_sample": False}
    return said | {"do_sample": True} if said.keys() - {"repetition_penalty"} else said


def _suggested(keys: Keys, metadata: Mapping[str, object]) -> Suggested:
    samples = keys.truth("do_sample", default=False)
    numbers: dict[str, float] = {}
    for name in _RANGES:
        keys.ignore(name, "read here")
        if metadata.get(name) is not None:
            numbers[name] = _number(_NAME, name, metadata[name])
    top_k = _count(keys, "top_k")
    penalty = numbers.pop("repetition_penalty", None)
    window = None if penalty is None else 0
    if not samples:  # then transformers takes the likeliest token, whatever else is said
        return _made({}, None, penalty, window)
    return _made({"temperature": 1.0} | numbers, top_k, penalty, window)


def _made(
    numbers: Mapping[str, float], top_k: int | None, penalty: float | None, window: int | None
) -> Suggested:
    top_p = numbers.get("top_p")
    return Suggested(
        temperature=numbers.get("temperature"),
        top_k=None if top_k is None else max(0, top_k),
        top_p=None if top_p is None else max(top_p, _LEAST),
        min_p=numbers.get("min_p"),
        repetition_penalty=penalty,
        repetition_window=window,
    )


def _count(keys: Keys, name: str) -> int | None:
    """A whole number, -1 for all; None when the file says nothing."""
    return keys.integer(name, least=-1, most=1 << 30) if keys.has(name) else None


def _number(where: str, name: str, found: object) -> float:
    low, high = _RANGES[name]
    if isinstance(found, int | float) and not isinstance(found, bool):
        number = float(found)
        if math.isfinite(number) and low <= number <= high:
            return number
    raise BadConfig(
        f"bad value of {where}.{name}",
        family=where,
        value=found,
        expected=f"a number from {low:g} to {high:g}",
        found=repr(found)[:80],
    )
