"""Claims about the exception tree: complete, stable, and safe to send between processes."""

from __future__ import annotations

import inspect
import pickle
from pathlib import Path

import pytest

from freehold import errors
from freehold.errors import CapacityError, FormatError, FreeholdError, LoadError, Truncated

ALL = [
    kind
    for _, kind in inspect.getmembers(errors, inspect.isclass)
    if issubclass(kind, FreeholdError)
]


def test_every_error_is_drawn_in_the_tree() -> None:
    assert errors.__doc__ is not None
    words = set(errors.__doc__.replace("·", " ").split())
    assert [kind.__name__ for kind in ALL if kind.__name__ not in words] == []


def test_codes_are_unique_and_start_with_the_code_of_their_branch() -> None:
    codes = [kind.code for kind in ALL]
    assert len(set(codes)) == len(codes)
    for kind in ALL:
        (parent,) = kind.__bases__
        if issubclass(parent, FreeholdError) and parent is not FreeholdError:
            assert kind.code.startswith(parent.code + ".")


def test_codes_do_not_change() -> None:
    # Clients test for these; a change of one is a break of the interface.
    assert Truncated.code == "format.truncated"
    assert errors.PromptTooLong.code == "request.prompt_too_long"
    assert errors.UnknownModel.code == "request.unknown_model"
    assert errors.QueueFull.code == "capacity.queue_full"


def test_str_tells_the_whole_story() -> None:
    error = FreeholdError("it broke", value=3, expected="2", found="3", hint="use 2")
    assert str(error) == "it broke; expected 2; found 3 (hint: use 2)"
    assert str(FreeholdError("it broke")) == "it broke"
    assert error.args == ("it broke",)


def test_facts_are_keyword_only() -> None:
    with pytest.raises(TypeError):
        FreeholdError("it broke", 3)  # type: ignore[call-arg]


def test_a_format_error_names_file_field_and_byte() -> None:
    error = FormatError("count too large", path="a.gguf", offset=8, field="tensor count")
    assert error.message == "a.gguf: count too large (field tensor count at byte 8)"
    assert (error.path, error.offset, error.field) == (Path("a.gguf"), 8, "tensor count")
    assert FormatError("broken").message == "broken"
    assert FormatError("broken", offset=8).message == "broken (byte 8)"


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.__name__)
def test_survives_pickling(kind: type[FreeholdError]) -> None:
    error = kind("it broke", value=(1, 2), expected="a", found="b", hint="c")
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is kind
    assert vars(again) == vars(error)
    assert str(again) == str(error)


def test_survives_pickling_with_its_own_facts() -> None:
    for error in (
        FormatError("broken", path="a.gguf", offset=8, field="magic"),
        LoadError("broken", family="llama", tensor="embed"),
        CapacityError("full", retry_after_s=1.5),
    ):
        again = pickle.loads(pickle.dumps(error))
        assert vars(again) == vars(error)
        assert str(again) == str(error)
