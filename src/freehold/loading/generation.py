"""generation_config.json: which tokens end an answer, and how its maker would draw.

Room: loading. Every key is honoured, ignored with a reason, or refused unless it changes nothing.
Source: GenerationConfig of transformers 5, which also reads what version 4 wrote.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from freehold.errors import BadConfig
from freehold.loading.keys import Keys

__all__ = ["Generation", "Suggested", "end_ids_of", "read_generation"]

_NAME = "generation_config"
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Suggested:
    """How the model's maker would draw, for what nobody says otherwise; None where unsaid."""

    temperature: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None
    repetition_penalty: float | None = None


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


def _suggested(keys: Keys, metadata: Mapping[str, object]) -> Suggested:
    samples = keys.truth("do_sample", default=False)
    ranges = {
        "temperature": (0.0, 100.0),
        "top_p": (0.0, 1.0),
        "min_p": (0.0, 1.0),
        "repetition_penalty": (0.0, 100.0),
    }
    numbers: dict[str, float] = {}
    for name, (low, high) in ranges.items():
        keys.ignore(name, "read here")
        if metadata.get(name) is not None:
            numbers[name] = _number(name, metadata[name], low, high)
    top_k = keys.integer("top_k", default=-1, least=-1, most=1 << 30)
    penalty = numbers.get("repetition_penalty")
    if not samples:  # then transformers takes the likeliest token, whatever else is said
        return Suggested(repetition_penalty=penalty)
    return Suggested(
        temperature=numbers.get("temperature", 1.0),
        top_k=max(0, top_k) if metadata.get("top_k") is not None else None,
        top_p=numbers.get("top_p"),
        min_p=numbers.get("min_p"),
        repetition_penalty=penalty,
    )


def _number(name: str, found: object, low: float, high: float) -> float:
    if isinstance(found, int | float) and not isinstance(found, bool):
        number = float(found)
        if math.isfinite(number) and low <= number <= high:
            return number
    raise BadConfig(
        f"bad value of {_NAME}.{name}",
        family=_NAME,
        value=found,
        expected=f"a number from {low:g} to {high:g}",
        found=repr(found)[:80],
    )
