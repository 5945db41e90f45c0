"""The fields that chat and completions share: how tokens are drawn, and when an answer ends.

Room: server. OpenAI's fields first, then those that vLLM and llama.cpp added; must not know
messages or prompts.
"""

from __future__ import annotations

import sys
from typing import Annotated, ClassVar

from pydantic import Field

from freehold.engine.sampler import Sampling
from freehold.errors import BadRequest
from freehold.server.ask import SUGGESTED, WINDOW
from freehold.server.routes.openai.forms import Body, NotOffered, Number, Texts

__all__ = ["MAX_CHOICES", "SHARED_NOT_OFFERED", "SamplingFields", "StreamOptions"]

MAX_CHOICES = 128
_MAX_BIASES = 4096
_LOWEST_SEED, _HIGHEST_SEED = -(1 << 63), (1 << 64) - 1

# Fields of other servers that clients send through `extra_body`.
SHARED_NOT_OFFERED = {
    "allowed_token_ids": NotOffered("use logit_bias, or structured_outputs"),
    "bad_words": NotOffered("use logit_bias", ([],)),
    "guided_decoding_backend": NotOffered("llguidance enforces every form"),
    "guided_whitespace_pattern": NotOffered("use structured_outputs.grammar"),
    "include_stop_str_in_output": NotOffered("the answer ends before the stop text", (False,)),
    "length_penalty": NotOffered("there is no beam search", (1, 1.0)),
    "min_tokens": NotOffered("use ignore_eos with max_tokens", (0,)),
    "priority": NotOffered("requests wait fairly, by key", (0,)),
    "skip_special_tokens": NotOffered("control tokens are never part of the text", (True,)),
    "spaces_between_special_tokens": NotOffered("control tokens are never in the text", (True,)),
    "truncate_prompt_tokens": NotOffered("nothing is ever shortened; send fewer tokens"),
    "use_beam_search": NotOffered("there is no beam search", (False,)),
}

TokenId = Annotated[int, Field(ge=0, lt=1 << 31)]
Bias = Annotated[float, Field(ge=-100, le=100, allow_inf_nan=False)]


class StreamOptions(Body):
    """What a stream has besides the answer."""

    within: ClassVar = "stream_options."
    not_offered: ClassVar = {
        "include_obfuscation": NotOffered("chunks are sent as they are", (False,)),
        "continuous_usage_stats": NotOffered("use include_usage", (False,)),
    }
    include_usage: bool | None = Field(None, description="A last chunk with the whole usage.")


class SamplingFields(Body):
    """How the answer is drawn. Null is the same as leaving a field out."""

    model: str = Field(min_length=1, max_length=512)
    temperature: Annotated[Number, Field(ge=0, le=2)] | None = Field(
        None,
        description="0: always the likeliest token. Default: what the model recommends, else 1.",
    )
    top_p: Annotated[Number, Field(ge=0, le=1)] | None = None
    n: Annotated[int, Field(ge=1, le=MAX_CHOICES)] | None = None
    stop: Texts | None = None
    seed: Annotated[int, Field(ge=_LOWEST_SEED, le=_HIGHEST_SEED)] | None = Field(
        None, description="The same seed gives the same answer, under any load."
    )
    presence_penalty: Annotated[Number, Field(ge=-2, le=2)] | None = None
    frequency_penalty: Annotated[Number, Field(ge=-2, le=2)] | None = None
    logit_bias: Annotated[dict[str, Bias], Field(max_length=_MAX_BIASES)] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    user: Annotated[str, Field(max_length=512)] | None = Field(
        None, description="Accepted. Usage is counted by key, and nothing else is kept of this."
    )

    top_k: Annotated[int, Field(ge=-1, le=1 << 31)] | None = Field(
        None, description="0 or -1: all tokens."
    )
    min_p: Annotated[Number, Field(ge=0, le=1)] | None = None
    repetition_penalty: Annotated[Number, Field(gt=0, le=100)] | None = None
    stop_token_ids: Annotated[list[TokenId], Field(max_length=64)] | None = None
    ignore_eos: bool | None = None
    prompt_logprobs: Annotated[int, Field(ge=0, le=20)] | None = Field(
        None, description="Log probabilities of the prompt's tokens; not with `stream`."
    )

    def check_stream(self) -> None:
        """Raises: BadRequest for fields that have no meaning with, or without, a stream."""
        if self.stream_options is not None and not self.stream:
            raise BadRequest(
                "stream_options is only for streams",
                param="stream_options",
                hint="set stream to true or leave it out",
            )
        if self.prompt_logprobs is not None and self.stream:
            raise BadRequest(
                "prompt_logprobs is not part of a stream",
                param="prompt_logprobs",
                hint="ask without stream",
            )

    def wants_usage(self) -> bool:
        """Whether a stream ends with a usage chunk."""
        return self.stream_options is not None and self.stream_options.include_usage is True

    def sampling(self, vocab_size: int) -> Sampling:
        """How the engine is to draw. Raises: BadRequest for a token the model does not have."""
        return Sampling(
            temperature=_or(self.temperature, 1.0),
            top_p=_nucleus(self.top_p),
            top_k=max(0, self.top_k or 0),
            min_p=_or(self.min_p, 0.0),
            repetition_penalty=_or(self.repetition_penalty, 1.0),
            presence_penalty=_or(self.presence_penalty, 0.0),
            frequency_penalty=_or(self.frequency_penalty, 0.0),
            logit_bias=self._biases(vocab_size),
            # The interface's seeds have a sign; the same 64 bits without one are ours.
            seed=None if self.seed is None else self.seed % (1 << 64),
        )

    def unsaid(self) -> frozenset[str]:
        """What the request leaves to the model's maker."""
        names = {name for name in SUGGESTED if getattr(self, name) is None}
        # How far back the penalty looks belongs to it, and no field says that.
        return frozenset(names | ({WINDOW} if "repetition_penalty" in names else set()))

    def stops(self, vocab_size: int) -> tuple[int, ...]:
        """The token ids that end the answer. Raises: BadRequest for one the model lacks."""
        ids = tuple(self.stop_token_ids or ())
        for token in ids:
            _check_token(token, vocab_size, "stop_token_ids")
        return ids

    def _biases(self, vocab_size: int) -> tuple[tuple[int, float], ...]:
        biases = []
        for name, bias in (self.logit_bias or {}).items():
            if not (name.isascii() and name.isdigit() and len(name) < 10):
                raise BadRequest(
                    "a key of logit_bias is no token id",
                    param="logit_bias",
                    expected="whole numbers as texts",
                    hint="POST /tokenize gives a text's token ids",
                )
            token = int(name)
            _check_token(token, vocab_size, "logit_bias")
            biases.append((token, bias))
        return tuple(biases)


def _or(value: float | None, default: float) -> float:
    return default if value is None else value


def _nucleus(top_p: float | None) -> float:
    """The interface allows 0, the smallest nucleus there is: the likeliest token alone."""
    return 1.0 if top_p is None else max(top_p, sys.float_info.min)


def _check_token(token: int, vocab_size: int, param: str) -> None:
    if token >= vocab_size:
        raise BadRequest(
            f"{param} names a token that the model does not have",
            param=param,
            value=token,
            expected=f"0 to {vocab_size - 1}",
            found=str(token),
        )
