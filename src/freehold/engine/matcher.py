"""What a grammar allows next, as a bit per token.

Room: engine. Knows token bytes and llguidance's grammars; must not know schemas, dialects or text.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass

import numpy as np
from llguidance import LLMatcher, LLParserLimits, LLTokenizer, TokenizerWrapper
from numpy.typing import NDArray

from freehold.errors import BadSchema, ContractBroken
from freehold.tokenizer import Tokenizer

__all__ = ["Matcher", "Matchers", "mask_words"]

_MAX_GRAMMAR_BYTES = 1 << 21
_MAX_SAID = 300

# Work beyond these ends the request instead of holding up every other one: in the worst case tried,
# expressions of nested counts, about 0.1 s for the first step of an answer and less for the others.
_LIMITS = LLParserLimits(
    max_items_in_row=2000,
    initial_lexer_fuel=200_000,
    step_lexer_fuel=200_000,
    step_max_items=50_000,
    max_lexer_states=100_000,
    max_grammar_size=500_000,
    verbose_errors=False,
)


def mask_words(vocabulary: int) -> int:
    """How many 32-bit words hold a bit for each of so many tokens."""
    return (vocabulary + 31) // 32


@dataclass(frozen=True)
class _Vocabulary:
    """The tokenizer in the form that llguidance reads.

    Control tokens are part of no text: only a grammar that names one by its id allows it. So are
    ids that the weights have and the tokenizer does not, which have no bytes at all.
    """

    tokenizer: Tokenizer
    tokens: list[bytes]
    special_token_ids: list[int]
    eos_token_id: int
    bos_token_id: int | None

    def __call__(self, text: str) -> list[int]:
        """The ids that spell the text, whatever comes before it; none where no ids do."""
        ids = self.tokenizer.encode(text, add_bos=False)
        if self._spell(ids, text):
            return ids
        # Some put a space before whatever they are given, so they are given a line before it.
        ids = self.tokenizer.encode("\n" + text, add_bos=False)
        for before in (1, 2):
            if self._spell(ids[before:], text):
                return ids[before:]
        # Some leave out what they cannot spell. A form cannot.
        return []

    def _spell(self, ids: list[int], text: str) -> bool:
        return b"".join(self.tokens[token] for token in ids) == text.encode()


def _vocabulary(tokenizer: Tokenizer, size: int) -> _Vocabulary:
    known = range(min(tokenizer.vocab_size, size))
    tokens = [tokenizer.token_bytes(token) for token in known]
    ends = sorted(end for end in tokenizer.eos_ids if end < size)
    if not ends:
        raise BadSchema(
            "this model has no token that ends an answer, so no form can be enforced",
            hint="ask without a schema, a grammar or strict tools",
        )
    return _Vocabulary(
        tokenizer,
        tokens + [b""] * (size - len(tokens)),
        [token for token in known if tokenizer.is_special(token)],
        ends[0],
        tokenizer.bos_id,
    )


class Matchers:
    """Makes the matchers of one tokenizer. Safe to use from several threads.

    `vocabulary` is the number of logits, where that differs from the tokenizer's tokens. What is
    costly, sorting the tokens by their bytes, happens once, when a grammar first comes.
    """

    def __init__(self, tokenizer: Tokenizer, vocabulary: int | None = None) -> None:
        self._tokenizer = tokenizer
        self.vocabulary = tokenizer.vocab_size if vocabulary is None else vocabulary
        self._sorted: LLTokenizer | None = None
        self._lock = threading.Lock()

    def new(self, grammar: str) -> Matcher:
        """A matcher at the start of a grammar, which is llguidance's Lark or JSON form.

        Raises: BadSchema when the grammar is wrong, or too large for the limits.
        """
        if len(grammar) > _MAX_GRAMMAR_BYTES:
            raise BadSchema(
                "the grammar is too large",
                expected=f"at most {_MAX_GRAMMAR_BYTES} characters",
                found=f"{len(grammar)}",
            )
        matcher = LLMatcher(self._tokens(), grammar, log_level=0, limits=_LIMITS)
        if matcher.is_error():
            raise BadSchema("the grammar cannot be enforced", found=_said(matcher))
        return Matcher(matcher, self.vocabulary)

    def _tokens(self) -> LLTokenizer:
        with self._lock:
            if self._sorted is None:
                vocabulary = _vocabulary(self._tokenizer, self.vocabulary)
                ends = sorted(end for end in self._tokenizer.eos_ids if end < self.vocabulary)
                self._sorted = LLTokenizer(
                    TokenizerWrapper(vocabulary), n_vocab=self.vocabulary, eos_token=ends
                )
            return self._sorted


class Matcher:
    """One answer's place in its grammar. Used by one thread at a time."""

    __slots__ = ("_matcher", "_words")

    def __init__(self, matcher: LLMatcher, vocabulary: int) -> None:
        self._matcher = matcher
        self._words = mask_words(vocabulary)

    def fill(self, mask: NDArray[np.uint32] | NDArray[np.int32]) -> None:
        """Writes the allowed tokens as bits, the lowest bit of a word first; some bit is set.

        Shapes: mask (ceil(V / 32),). Mutates: mask.
        Raises: BadSchema when the grammar has become too complex to go on with.
        """
        if mask.shape != (self._words,) or mask.itemsize != 4 or not mask.flags.c_contiguous:
            raise ContractBroken("a token mask has another form than the vocabulary's")
        self._matcher.unsafe_compute_mask_ptr(mask.ctypes.data, mask.nbytes)
        self._check()
        if not mask.any():
            raise BadSchema("the grammar allows no token here, and not the answer's end either")

    def accept(self, token: int) -> None:
        """Goes on past a token. Raises: ContractBroken for one that was not allowed; BadSchema."""
        if self._matcher.try_consume_tokens([token]) != 1:
            self._check()
            raise ContractBroken("a token was chosen that the grammar does not allow", value=token)
        self._check()

    @property
    def allowed_end(self) -> bool:
        """Whether the answer may end here."""
        return self._matcher.is_accepting()

    @property
    def finished(self) -> bool:
        """Whether nothing but the end may follow."""
        return self._matcher.is_stopped()

    def rollback(self, tokens: int) -> None:
        """Goes back by so many accepted tokens. Raises: ContractBroken for more than there were."""
        if not self._matcher.rollback(tokens):
            raise ContractBroken("a matcher cannot go back so far", value=tokens)

    def copy(self) -> Matcher:
        """Another matcher at the same place."""
        return Matcher(self._matcher.deep_copy(), self._words * 32)

    def _check(self) -> None:
        if not self._matcher.is_error():
            return
        if "NoExtension" in self._matcher.get_error():
            raise BadSchema(
                "the grammar asks for text that the model's vocabulary cannot spell",
                hint="leave control characters out of the schema, the expressions or the grammar",
            )
        raise BadSchema(
            "the grammar became too complex to enforce",
            found=_said(self._matcher),
            hint="simplify the schema, the expressions or the grammar",
        )


def _said(matcher: LLMatcher) -> str:
    """What llguidance says is wrong; with terse errors it quotes the grammar and no answer."""
    return " ".join(matcher.get_error().split())[:_MAX_SAID]
