"""How a model reasons is read from its template, and turned on or off as the template has it."""

from __future__ import annotations

import pytest

from freehold.chat.reasoning import (
    ReasoningFormat,
    reasoning_of,
    starts_in_reasoning,
    thinking_variables,
)
from freehold.errors import BadRequest, UnsupportedField

THINK = "{{ '<think>' }}{{ '</think>' }}"


def thinks(switch: str | None = None) -> ReasoningFormat:
    return ReasoningFormat("<think>", "</think>", switch, pad="\n", after="\n\n")


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (None, None),
        ("{{ messages }}", None),
        (THINK, thinks()),
        (
            THINK + "{% if enable_thinking is defined and enable_thinking is false %}{% endif %}",
            thinks("enable_thinking"),
        ),
        (
            "{% if thinking %}{% endif %}" + THINK,
            thinks("thinking"),
        ),
        (THINK + "{{ 'enable_thinking' }}{# thinking #}", thinks()),
        ("{{ message.thinking }}" + THINK, thinks()),
        ("{{ '[THINK]' + x + '[/THINK]' }}", ReasoningFormat("[THINK]", "[/THINK]", None, True)),
    ],
)
def test_the_template_says_how_the_model_reasons(
    source: str | None, expected: ReasoningFormat | None
) -> None:
    assert reasoning_of(source) == expected


FORMAT = ReasoningFormat("<think>", "</think>", "enable_thinking")


@pytest.mark.parametrize(
    ("tail", "inside"),
    [
        ("assistant\n<think>\n", True),
        ("assistant\n<think>", True),
        ("assistant\n<think>\n\n</think>\n\n", False),
        ("<think> said the user\nassistant\n", False),
        ("", False),
    ],
)
def test_the_prompts_end_says_where_the_answer_starts(tail: str, inside: bool) -> None:
    assert starts_in_reasoning(tail, FORMAT) is inside
    assert not starts_in_reasoning(tail, None)


def test_thinking_becomes_the_templates_variable() -> None:
    assert thinking_variables(FORMAT, None, {"a": 1}) == {"a": 1}
    assert thinking_variables(FORMAT, True, {"a": 1}) == {"a": 1, "enable_thinking": True}
    assert thinking_variables(FORMAT, False, {}) == {"enable_thinking": False}
    assert thinking_variables(FORMAT, False, {"enable_thinking": False}) == {
        "enable_thinking": False
    }


def test_what_a_model_cannot_do_is_refused_and_what_it_does_anyway_is_fine() -> None:
    always = ReasoningFormat("<think>", "</think>")
    assert thinking_variables(None, False, {}) == {}
    assert thinking_variables(always, True, {}) == {}
    with pytest.raises(UnsupportedField, match="does not reason"):
        thinking_variables(None, True, {})
    with pytest.raises(UnsupportedField, match="always reasons"):
        thinking_variables(always, False, {})
    with pytest.raises(BadRequest, match="contradict"):
        thinking_variables(FORMAT, True, {"enable_thinking": False})


@pytest.mark.parametrize(
    ("source", "block"),
    [
        (THINK, "<think>\nhm\n</think>\n\n"),
        ("[THINK][/THINK]", "[THINK]hm[/THINK]"),
        ("<|channel>thought <channel|>", "<|channel>thought\nhm\n<channel|>"),
        (
            "<|channel|>analysis<|message|> <|end|>",
            "<|channel|>analysis<|message|>hm<|end|><|start|>assistant",
        ),
    ],
)
def test_a_block_is_written_as_the_model_writes_it(source: str, block: str) -> None:
    reasoning = reasoning_of(source)
    assert reasoning is not None
    assert reasoning.block("hm") == block
