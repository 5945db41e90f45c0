"""The body of /v1/completions: every documented field, and what becomes of it.

Room: server. Turns the body into one `Ask` per prompt; must not know how an answer is sent.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import BeforeValidator, Field

from freehold.errors import BadPrompt, BadRequest, UnsupportedField
from freehold.server.ask import Ask
from freehold.server.routes.openai.forms import NotOffered, in_one_of_its_forms
from freehold.server.routes.openai.sampling import (
    MAX_CHOICES,
    SHARED_NOT_OFFERED,
    SamplingFields,
    TokenId,
)
from freehold.server.routes.openai.structure import StructureFields

if TYPE_CHECKING:
    from freehold.server.resident import Resident

__all__ = ["CompletionBody", "Wanted"]

_DEFAULT_TOKENS = 16
_MAX_PROMPT = 1 << 20


def _as_prompts(value: object) -> object:
    """One prompt, as text or tokens, becomes a list of one."""
    if isinstance(value, str):
        return [value]
    if isinstance(value, list) and value and type(value[0]) is int:
        return [value]
    return value


Prompts = Annotated[
    list[str | Annotated[list[TokenId], Field(max_length=_MAX_PROMPT)]],
    Field(min_length=1, max_length=MAX_CHOICES),
    BeforeValidator(
        _as_prompts, json_schema_input_type=str | list[str] | list[int] | list[list[int]]
    ),
    in_one_of_its_forms("a string, token ids, or a list of either, not empty"),
]


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What an answer shows besides the text that was generated.

    `logprobs`: how many alternatives a token comes with. `text` False: the prompt's part only.
    """

    echo: bool
    logprobs: int | None
    prompt_logprobs: int | None
    text: bool


class CompletionBody(SamplingFields, StructureFields):
    """A text to continue, or several."""

    not_offered: ClassVar = SHARED_NOT_OFFERED | {
        "suffix": NotOffered("the model continues texts, it does not fill them in", ("",)),
        "add_special_tokens": NotOffered("send tokens, which are taken as they are", (True,)),
        "store": NotOffered("completions are not kept", (False,)),
    }

    prompt: Prompts | None = Field(
        None, description="Null: a new document, as the model's file begins one."
    )
    max_tokens: Annotated[int, Field(ge=0, lt=1 << 31)] | None = Field(
        None, description="Default 16. 0 gives the prompt's part only: its echo and probabilities."
    )
    best_of: Annotated[int, Field(ge=1, le=MAX_CHOICES)] | None = None
    echo: bool | None = None
    logprobs: Annotated[int, Field(ge=0, le=5)] | None = None

    def asks(self, resident: Resident) -> list[Ask]:
        """One request for each prompt.

        Raises: BadRequest or UnsupportedField, naming the field; BadPrompt.
        """
        self.check_stream()
        if self.told():
            raise UnsupportedField(
                "a completion has no system message that could tell the model of this",
                param="response_format.json_schema.description",
                hint="write it into the prompt",
            )
        n = self.n or 1
        if self.best_of not in (None, n):
            raise UnsupportedField(
                "best_of is not offered here",
                param="best_of",
                expected=f"null or n, {n}",
                hint="ask for n with logprobs and choose",
            )
        prompts = [_new_document(resident)] if self.prompt is None else self.prompt
        if len(prompts) * n > MAX_CHOICES:
            raise BadRequest(
                "too many choices are asked for",
                param="n",
                expected=f"at most {MAX_CHOICES} for all prompts together",
                found=str(len(prompts) * n),
            )
        return [self._ask(prompt, resident) for prompt in prompts]

    def wanted(self) -> Wanted:
        """What the answers show."""
        return Wanted(
            echo=self.echo is True,
            logprobs=self.logprobs,
            prompt_logprobs=self.prompt_logprobs,
            text=self.max_tokens != 0,
        )

    def _ask(self, prompt: str | list[int], resident: Resident) -> Ask:
        vocab_size = resident.tokenizer.vocab_size
        for token in prompt if isinstance(prompt, list) else ():
            if token >= vocab_size:
                raise BadRequest(
                    "the prompt has a token that the model does not have",
                    param="prompt",
                    value=token,
                    expected=f"0 to {vocab_size - 1}",
                    found=str(token),
                )
        return Ask(
            model=resident.name,
            prompt=tuple(prompt) if isinstance(prompt, list) else prompt,
            response_format=self.structure(),
            sampling=self.sampling(vocab_size),
            unsaid=self.unsaid(),
            max_tokens=self._limit(),
            stop=tuple(self.stop or ()),
            stop_token_ids=self.stops(vocab_size),
            ignore_eos=self.ignore_eos is True,
            n=self.n or 1,
            logprobs=self.logprobs,
            prompt_logprobs=self._prompt_logprobs(),
        )

    def _limit(self) -> int:
        # The engine computes at least one token; `Wanted.text` keeps it to ourselves.
        return _DEFAULT_TOKENS if self.max_tokens is None else max(1, self.max_tokens)

    def _prompt_logprobs(self) -> int | None:
        echoed = self.logprobs if self.echo else None
        asked = [k for k in (echoed, self.prompt_logprobs) if k is not None]
        return max(asked, default=None)


def _new_document(resident: Resident) -> list[int]:
    """What the model's training put before every document."""
    tokenizer = resident.tokenizer
    first = tokenizer.bos_id if tokenizer.bos_id is not None else tokenizer.eos_id
    if first is None:
        raise BadPrompt("the model has no token that begins a document", param="prompt")
    return [first]
