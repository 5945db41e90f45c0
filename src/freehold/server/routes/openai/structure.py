"""The form an answer must have: response_format, and what vLLM calls structured outputs.

Room: server. Turns either into the one `ResponseFormat`; must not know how it is enforced.
"""

from __future__ import annotations

import json
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from freehold.chat.tools import ResponseFormat
from freehold.errors import BadRequest
from freehold.server.routes.openai.forms import Body, NotOffered, in_one_of_its_forms

__all__ = ["JsonSchemaForm", "ResponseFormatForm", "StructureFields", "StructuredOutputs"]

_MAX_GRAMMAR = 1 << 18

Expression = Annotated[str, Field(min_length=1, max_length=1 << 14)]
Grammar = Annotated[str, Field(min_length=1, max_length=_MAX_GRAMMAR)]
Choices = Annotated[
    list[Annotated[str, Field(min_length=1, max_length=4096)]], Field(min_length=1, max_length=1024)
]
# A schema may also come as text, as vLLM's clients send it.
Schema = Annotated[
    dict[str, Any] | bool | str, in_one_of_its_forms("a JSON Schema, or its JSON as a string")
]


class JsonSchemaForm(Body):
    """A named schema. It is enforced whether `strict` is true or not."""

    name: str = Field(pattern=r"^[a-zA-Z0-9_-]{1,64}$")
    description: Annotated[str, Field(max_length=8192)] | None = Field(
        None, description="Told to the model, in the system message."
    )
    schema_: dict[str, Any] | None = Field(None, alias="schema")
    strict: bool | None = None


class ResponseFormatForm(Body):
    """OpenAI's form."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchemaForm | None = None

    def wanted(self) -> ResponseFormat | None:
        """The one form all surfaces share; None for plain text."""
        if (self.json_schema is not None) != (self.type == "json_schema"):
            raise BadRequest(
                "response_format.json_schema goes with the type json_schema",
                param="response_format.json_schema",
                expected="one exactly with the other",
            )
        if self.type == "text":
            return None
        if self.json_schema is None or self.json_schema.schema_ is None:
            return ResponseFormat(kind="json_object")
        return ResponseFormat(kind="json_schema", schema=self.json_schema.schema_)


class StructuredOutputs(Body):
    """vLLM's form: one of its fields."""

    within: ClassVar = "structured_outputs."
    not_offered: ClassVar = {
        "disable_any_whitespace": NotOffered("use grammar", (False,)),
        "disable_additional_properties": NotOffered("say so in the schema", (False,)),
        "disable_fallback": NotOffered("there is no fallback", (True, False)),
        "structural_tag": NotOffered("use tools, or grammar"),
        "whitespace_pattern": NotOffered("use grammar"),
    }
    json_: Schema | None = Field(None, alias="json")
    json_object: bool | None = None
    regex: Expression | None = None
    choice: Choices | None = None
    grammar: Annotated[Grammar | None, Field(description="In llguidance's Lark form.")] = None


class StructureFields(Body):
    """Every way to ask for a form of the answer; at most one may be used."""

    response_format: ResponseFormatForm | None = None
    structured_outputs: StructuredOutputs | None = None
    guided_json: Schema | None = None
    guided_regex: Expression | None = None
    guided_choice: Choices | None = None
    guided_grammar: Grammar | None = None

    def structure(self) -> ResponseFormat | None:
        """The form asked for. Raises: BadRequest when two are."""
        asked = self._asked()
        return asked[0][1] if asked else None

    def structure_field(self) -> str | None:
        """The name of the field that asks for a form."""
        asked = self._asked()
        return asked[0][0] if asked else None

    def _asked(self) -> list[tuple[str, ResponseFormat]]:
        asked = _forms("guided_", self._guided())
        if self.structured_outputs is not None:
            asked += _forms("structured_outputs.", self.structured_outputs)
        if self.response_format is not None and (own := self.response_format.wanted()):
            asked.append(("response_format", own))
        if len(asked) > 1:
            raise BadRequest(
                "the answer cannot have two forms",
                param=asked[1][0],
                found=" and ".join(name for name, _ in asked),
            )
        return asked

    def told(self) -> str | None:
        """What the model is to be told of the form: the description of its schema."""
        form = self.response_format.json_schema if self.response_format else None
        return f"The answer is JSON: {form.description}" if form and form.description else None

    def _guided(self) -> StructuredOutputs:
        return StructuredOutputs(
            json=self.guided_json,
            json_object=None,
            regex=self.guided_regex,
            choice=self.guided_choice,
            grammar=self.guided_grammar,
        )


def _forms(prefix: str, asked: StructuredOutputs) -> list[tuple[str, ResponseFormat]]:
    forms = []
    if asked.json_ is not None:
        name = f"{prefix}json"
        forms.append((name, ResponseFormat(kind="json_schema", schema=_schema(asked.json_, name))))
    if asked.json_object:
        forms.append((f"{prefix}json_object", ResponseFormat(kind="json_object")))
    if asked.regex is not None:
        forms.append((f"{prefix}regex", ResponseFormat(kind="regex", source=asked.regex)))
    if asked.choice is not None:
        choice = ResponseFormat(kind="choice", source=tuple(asked.choice))
        forms.append((f"{prefix}choice", choice))
    if asked.grammar is not None:
        forms.append((f"{prefix}grammar", ResponseFormat(kind="lark", source=asked.grammar)))
    return forms


def _schema(given: Schema, param: str) -> dict[str, Any] | bool:
    if not isinstance(given, str):
        return given
    try:
        schema = json.loads(given) if len(given) <= _MAX_GRAMMAR else None
    except (ValueError, RecursionError):
        schema = None
    if not isinstance(schema, dict | bool):
        raise BadRequest(
            f"{param} is a text that holds no JSON Schema",
            param=param,
            expected="a JSON object of at most 256 KiB",
        )
    return schema
