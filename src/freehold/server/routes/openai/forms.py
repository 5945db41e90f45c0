"""The ground of every request body on this surface: strict, closed, and clear about what it lacks.

Room: server. Knows how a field is refused; must not know any one endpoint.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from freehold.errors import BadPrompt, BadSchema, RequestError, UnsupportedField

__all__ = [
    "Body",
    "NotOffered",
    "Number",
    "Texts",
    "in_one_of_its_forms",
    "naming",
    "refuse_unless_neutral",
]

_MAX_TEXTS = 16


@dataclass(frozen=True)
class NotOffered:
    """A field that the interface defines and we lack.

    Values in `neutral` mean the same as leaving it out (null always does); `instead` says what to
    do about all others.
    """

    instead: str
    neutral: tuple[object, ...] = ()


def refuse_unless_neutral(name: str, value: object, field: NotOffered) -> None:
    """Raises: UnsupportedField, naming the field, when the value asks for what is not offered."""
    if value is None or any(type(value) is type(v) and value == v for v in field.neutral):
        return
    raise UnsupportedField(
        f"{name} is not offered here",
        param=name,
        expected=" or ".join(["null", *(repr(v) for v in field.neutral)]),
        hint=field.instead,
    )


@contextmanager
def naming(names: Mapping[str, str], *, form: str | None = None) -> Iterator[None]:
    """Lets an error of the runtime name fields as the endpoint does.

    `names` maps its words to ours; `form` is the field that asked for a form of the answer, which
    the runtime does not know. Mutates: the error.
    """
    try:
        yield
    except RequestError as error:
        if error.param is not None:
            error.param = names.get(error.param, error.param)
        elif isinstance(error, BadSchema):
            error.param = form
        elif isinstance(error, BadPrompt):
            error.param = names.get("messages", "messages")
        raise


class Body(BaseModel):
    """A part of a request: no conversions, no field that is not known.

    Subclasses list in `not_offered` what the interface defines and we refuse by name; `within` is
    the field they stand in, for those names.
    """

    model_config = ConfigDict(extra="forbid", strict=True, hide_input_in_errors=True)
    not_offered: ClassVar[Mapping[str, NotOffered]] = {}
    within: ClassVar[str] = ""

    @model_validator(mode="before")
    @classmethod
    def _without_the_neutral(cls, data: Any) -> Any:
        if not isinstance(data, dict) or cls.not_offered.keys().isdisjoint(data):
            return data
        for name in cls.not_offered.keys() & data.keys():
            refuse_unless_neutral(cls.within + name, data[name], cls.not_offered[name])
        return {name: value for name, value in data.items() if name not in cls.not_offered}


def in_one_of_its_forms(expected: str) -> WrapValidator:
    """For a field of several forms: one complaint that names the field, and no form's own."""

    def check(value: Any, handler: ValidatorFunctionWrapHandler) -> Any:
        try:
            return handler(value)
        except ValidationError:
            raise PydanticCustomError(
                "form", "Input should be {expected}", {"expected": expected}
            ) from None

    return WrapValidator(check)


def _as_list(value: object) -> object:
    return [value] if isinstance(value, str) else value


Number = Annotated[float, Field(allow_inf_nan=False)]
_Text = Annotated[str, Field(min_length=1, max_length=1024)]

# One text or a few: a list either way, so that an error names the field and not a branch.
Texts = Annotated[
    list[_Text],
    Field(max_length=_MAX_TEXTS),
    BeforeValidator(_as_list, json_schema_input_type=str | list[str]),
]
