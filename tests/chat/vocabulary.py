"""A small tokenizer with the control tokens of every dialect, and a model that writes at random."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache

import numpy as np

from freehold.chat.dialects import DIALECTS
from freehold.engine.matcher import Matcher, Matchers, mask_words
from freehold.tokenizer import Tokenizer, tokenizer_from_gguf
from freehold.tokenizer.vocabulary import Kind
from tests.tokenizer.vocabularies import BYTES, MERGES, metadata

END = "<|im_end|>"
MARKERS = sorted({text for dialect in DIALECTS.values() for text in dialect.markers})
CONTROL = ["<s>", "</s>", "<|im_start|>", END, "[INST]", "[/INST]", "[THINK]", "[/THINK]"]


@cache
def tokenizer(
    *, markers: bool = True, think: bool = False, more: tuple[str, ...] = (), end: str = END
) -> Tokenizer:
    """Bytes, a few words, control tokens; the dialects' `markers` or not, and `more`."""
    made = [merge.replace(" ", "") for merge in MERGES]
    control = [*CONTROL, *(MARKERS if markers else ()), *more]
    added = ["<think>", "</think>"] if think else []
    tokens = [*BYTES, *made, *control, *added]
    kinds = np.full(len(tokens), Kind.NORMAL, np.int32)
    kinds[256 + len(made) :] = Kind.CONTROL
    if added:
        kinds[-len(added) :] = Kind.USER_DEFINED
    first = 256 + len(made)
    return tokenizer_from_gguf(
        metadata(
            model="gpt2",
            pre="gpt-2",
            tokens=tokens,
            token_type=kinds,
            merges=MERGES,
            bos_token_id=first,
            eos_token_id=first + control.index(end),
            add_bos_token=False,
        )
    )


@cache
def matchers(*, markers: bool = True, think: bool = False) -> Matchers:
    """What enforces grammars for it."""
    return Matchers(tokenizer(markers=markers, think=think))


def spelled(tokens: Tokenizer, text: str) -> list[int]:
    return tokens.encode(text, add_bos=False, parse_special=True)


def allows(matcher: Matcher, token: int, size: int) -> bool:
    mask = np.zeros(mask_words(size), np.uint32)
    matcher.fill(mask)
    return bool(mask[token // 32] >> np.uint32(token % 32) & 1)


def follows(grammar: str, text: str, *, markers: bool = True, think: bool = False) -> bool:
    """Whether a whole answer follows a grammar, token by token and to its end."""
    tokens = tokenizer(markers=markers, think=think)
    matcher = matchers(markers=markers, think=think).new(grammar)
    for token in spelled(tokens, text):
        if not allows(matcher, token, tokens.vocab_size):
            return False
        matcher.accept(token)
    return matcher.allowed_end


@dataclass
class Walker:
    """Writes what a grammar allows, at random but with a wish to come to an end.

    `closers` are texts it tries again and again, since no chance spells them.
    """

    tokens: Tokenizer
    random: random.Random
    closers: Sequence[str] = ()
    cap: int = 400
    closing: str = '"}]0e,:'
    _closing: frozenset[int] = field(init=False)
    _closers: list[list[int]] = field(init=False)

    def __post_init__(self) -> None:
        self._closing = frozenset(self.tokens.encode(c, add_bos=False)[0] for c in self.closing)
        self._closers = [spelled(self.tokens, text) for text in self.closers]

    def walk(self, matcher: Matcher) -> str | None:
        """What was written, or None when the cap came first."""
        written: list[int] = []
        mask = np.zeros(mask_words(self.tokens.vocab_size), np.uint32)
        while len(written) < self.cap:
            if matcher.finished:
                break
            if self.random.random() < 0.15 and (closer := self._closer(matcher)):
                written += closer
                continue
            matcher.fill(mask)
            bits = np.unpackbits(mask.view(np.uint8), bitorder="little")
            allowed = set(np.flatnonzero(bits).tolist())
            ends = allowed & self.tokens.eos_ids
            assert bool(ends) == matcher.allowed_end
            if ends and (len(allowed) == len(ends) or self.random.random() < 0.5):
                break
            token = self._chosen(sorted(allowed - ends), len(written))
            matcher.accept(token)
            written.append(token)
        else:
            return None
        return self.tokens.decode(written, skip_special=False)

    def _chosen(self, allowed: list[int], length: int) -> int:
        wish = 0.3 if length < self.cap // 4 else 0.8
        closing = [token for token in allowed if token in self._closing]
        if closing and self.random.random() < wish:
            return self.random.choice(closing)
        return self.random.choice(allowed)

    def _closer(self, matcher: Matcher) -> list[int]:
        for closer in self._closers:
            ahead = matcher.copy()
            for token in closer:
                if not allows(ahead, token, self.tokens.vocab_size):
                    break
                ahead.accept(token)
            else:
                for token in closer:
                    matcher.accept(token)
                return closer
        return []
