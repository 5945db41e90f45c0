"""What a client of `/v1/responses` may send, field by field, and what of it is refused by name.

Room: server. Knows the interface's fields; must not know items, models or the store.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from freehold.chat.tools import ResponseFormat
from freehold.engine.sampler import Sampling
from freehold.errors import BadRequest
from freehold.server.ask import SUGGESTED, WINDOW
from freehold.server.routes.openai.forms import Body, NotOffered, Number, refuse_unless_neutral

__all__ = [
    "CountBody",
    "CreateBody",
    "FormatForm",
    "ItemsQuery",
    "PromptBody",
    "ReasoningForm",
    "RetrieveQuery",
    "StreamOptionsForm",
    "TextForm",
]

_LOGPROBS = "message.output_text.logprobs"
_MAX_ITEMS = 1 << 14

Label = Annotated[str, Field(max_length=512)]
Include = Annotated[list[Annotated[str, Field(max_length=64)]], Field(max_length=16)]


def _as_items(value: object) -> object:
    return [{"role": "user", "content": value}] if isinstance(value, str) else value


# A text is one message of the user.
Input = Annotated[
    list[dict[str, Any]],
    Field(max_length=_MAX_ITEMS),
    BeforeValidator(_as_items, json_schema_input_type=str | list[dict[str, Any]]),
]


class FormatForm(Body):
    """The form of the answer's text. A schema is enforced whether `strict` is true or not."""

    model_config = ConfigDict(populate_by_name=True)
    type: Literal["text", "json_object", "json_schema"]
    name: Annotated[str, Field(pattern=r"^[a-zA-Z0-9_-]{1,64}$")] | None = None
    schema_: dict[str, Any] | None = Field(None, alias="schema")
    description: Annotated[str, Field(max_length=8192)] | None = Field(
        None, description="Told to the model, in the system message."
    )
    strict: bool | None = None

    def wanted(self) -> ResponseFormat | None:
        """The one form all surfaces share; None for plain text. Raises: BadRequest."""
        for name, value in (("name", self.name), ("schema", self.schema_)):
            if (value is not None) != (self.type == "json_schema"):
                raise BadRequest(
                    f"text.format.{name} goes with the type json_schema",
                    param=f"text.format.{name}",
                    expected="one exactly with the other",
                )
        if self.type == "text":
            return None
        return ResponseFormat(kind=self.type, schema=self.schema_)


class TextForm(Body):
    """What the answer's text must be."""

    format: FormatForm | None = None
    verbosity: Annotated[str, Field(max_length=64)] | None = None


class ReasoningForm(Body):
    """Whether to think first. Of the efforts, "none" is no and every other one is yes."""

    effort: Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"] | None = None
    summary: Any = None
    generate_summary: Any = None
    context: Any = None
    mode: Any = None


class StreamOptionsForm(Body):
    """Options of a stream."""

    include_obfuscation: bool | None = None


class PromptBody(Body):
    """The fields that make the prompt, shared by answering and by counting its tokens."""

    not_offered: ClassVar = {
        "conversation": NotOffered("use previous_response_id"),
        "truncation": NotOffered("nothing is ever shortened; send less", ("disabled",)),
    }
    model: Annotated[str, Field(min_length=1, max_length=512)]
    input: Input | None = None
    instructions: str | None = None
    previous_response_id: Annotated[str, Field(max_length=256)] | None = None
    tools: Annotated[list[dict[str, Any]], Field(max_length=128)] | None = None
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    text: TextForm | None = None
    reasoning: ReasoningForm | None = None

    def check(self) -> None:
        """Refuse what is not offered, and what contradicts itself.

        Raises: UnsupportedField, BadRequest.
        """
        if self.input is None and self.previous_response_id is None:
            raise BadRequest("there is nothing to answer", param="input", expected="input")
        text, reasoning = self.text or TextForm(), self.reasoning or ReasoningForm()
        gives_all = NotOffered("the reasoning itself is part of the output")
        for name, value, field in (
            ("text.verbosity", text.verbosity, NotOffered("say it in words", ("medium",))),
            ("reasoning.summary", reasoning.summary, gives_all),
            ("reasoning.generate_summary", reasoning.generate_summary, gives_all),
            ("reasoning.context", reasoning.context, NotOffered("the template says", ("auto",))),
            ("reasoning.mode", reasoning.mode, NotOffered("use effort", ("standard",))),
        ):
            refuse_unless_neutral(name, value, field)

    def wanted(self) -> ResponseFormat | None:
        """The form that the answer's text must have, if any. Raises: BadRequest."""
        form = self.text.format if self.text else None
        return form.wanted() if form else None


class CountBody(PromptBody):
    """The body of `POST /v1/responses/input_tokens`."""

    not_offered: ClassVar = {
        **PromptBody.not_offered,
        "personality": NotOffered("say it in the instructions"),
    }


class CreateBody(PromptBody):
    """The body of `POST /v1/responses`."""

    not_offered: ClassVar = {
        **PromptBody.not_offered,
        "access_programs": NotOffered("every model answers everybody it may answer"),
        "background": NotOffered("wait for the answer, or stream it", (False,)),
        "background_options": NotOffered("wait for the answer, or stream it"),
        "context_management": NotOffered("nothing is ever shortened; send less", ([],)),
        "image": NotOffered("the model reads text only"),
        "max_tool_calls": NotOffered("it counts built-in tools; there are none"),
        "moderation": NotOffered("ask a model that judges texts"),
        "prompt": NotOffered("send the instructions and the input themselves"),
        "prompt_cache_options": NotOffered("shared beginnings of prompts are cached anyway"),
        "prompt_cache_retention": NotOffered("prompts are cached in memory", ("in_memory",)),
        "service_tier": NotOffered("there is one tier", ("auto", "default")),
    }
    stream: bool | None = None
    stream_options: StreamOptionsForm | None = None
    store: bool | None = Field(None, description="Keep the response. Null means yes.")
    max_output_tokens: Annotated[int, Field(ge=1, le=1 << 31)] | None = None
    temperature: Annotated[Number, Field(ge=0, le=2)] | None = None
    top_p: Annotated[Number, Field(ge=0, le=1)] | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    include: Include | None = None
    metadata: (
        Annotated[
            dict[Annotated[str, Field(max_length=64)], Annotated[str, Field(max_length=512)]],
            Field(max_length=16),
        ]
        | None
    ) = None
    user: Label | None = None
    safety_identifier: Label | None = None
    prompt_cache_key: Label | None = None

    def check(self) -> None:
        """Refuse what is not offered, and what contradicts itself.

        Raises: UnsupportedField, BadRequest.
        """
        super().check()
        _check_include(self.include or ())
        if self.stream_options is None:
            return
        if not self.stream:
            raise BadRequest(
                "stream_options is only for streams",
                param="stream_options",
                hint="set stream to true or leave it out",
            )
        refuse_unless_neutral(
            "stream_options.include_obfuscation",
            self.stream_options.include_obfuscation,
            NotOffered("the stream has no padding", (False,)),
        )

    @property
    def stores(self) -> bool:
        """Whether the response is kept."""
        return self.store is not False

    @property
    def logprobs(self) -> int | None:
        """How many likeliest tokens to give beside the chosen one; None for no probabilities."""
        if _LOGPROBS in (self.include or ()) or self.top_logprobs:
            return self.top_logprobs or 0
        return None

    def sampling(self) -> Sampling:
        """How the engine is to draw; unless it is said, as the interface has it."""
        temperature = 1.0 if self.temperature is None else self.temperature
        # The interface allows 0, the smallest nucleus there is: the likeliest token alone.
        top_p = 1.0 if self.top_p is None else max(self.top_p, sys.float_info.min)
        return Sampling(temperature=temperature, top_p=top_p)

    def unsaid(self) -> frozenset[str]:
        """What the request leaves to the model's maker."""
        said = {name for name in ("temperature", "top_p") if getattr(self, name) is not None}
        return (SUGGESTED | {WINDOW}) - said


class _Query(BaseModel):
    """A closed set of query parameters; lists are taken with and without brackets."""

    model_config = ConfigDict(extra="forbid")
    include: Include = []
    include_brackets: Include = Field([], alias="include[]")

    def check(self) -> None:
        """Refuse what is not offered. Raises: UnsupportedField."""
        _check_include([*self.include, *self.include_brackets])


class RetrieveQuery(_Query):
    """What may follow `GET /v1/responses/{id}?`."""

    include_obfuscation: bool = False
    starting_after: int | None = None
    stream: bool = False

    def check(self) -> None:
        """Refuse what is not offered. Raises: UnsupportedField."""
        super().check()
        whole = NotOffered("a stored response comes whole", (False,))
        for name in ("stream", "starting_after", "include_obfuscation"):
            refuse_unless_neutral(name, getattr(self, name), whole)


class ItemsQuery(_Query):
    """What may follow `GET /v1/responses/{id}/input_items?`."""

    after: Annotated[str, Field(max_length=256)] | None = None
    limit: Annotated[int, Field(ge=1, le=100)] = 20
    order: Literal["asc", "desc"] = "desc"


def _check_include(names: Sequence[str]) -> None:
    """Refuse every addition but log probabilities."""
    only = NotOffered("of the additions, only log probabilities are", (_LOGPROBS,))
    for name in names:
        refuse_unless_neutral("include", name, only)
