"""Answers on channels: what is reasoning, what is said, what is called, and forms of them."""

from __future__ import annotations

from typing import Any

import pytest

from freehold.chat.constraints import constraint_for
from freehold.chat.dialects import DIALECTS
from freehold.chat.reasoning import reasoning_of, starts_in_reasoning
from freehold.chat.tools import ResponseFormat, Tool, ToolChoice
from tests.chat.reading import TOOLS, Case, in_harmony
from tests.chat.small_templates import HARMONY
from tests.chat.vocabulary import follows, tokenizer

ANALYSIS, FINAL = "<|channel|>analysis<|message|>", "<|channel|>final<|message|>"
COMMENTARY, NEXT = "<|channel|>commentary<|message|>", "<|end|><|start|>assistant"
REASONING = reasoning_of(HARMONY)
NOW = in_harmony("now", {})
THREE = ResponseFormat(kind="json_schema", schema={"enum": [3]})


@pytest.mark.parametrize("tools", [TOOLS, ()], ids=["tools", "none"])
@pytest.mark.parametrize(
    ("said", "reasoning", "text"),
    [
        (f"{ANALYSIS}Hm, a < b.{NEXT}{FINAL}It is \n so.<|return|>", "Hm, a < b.", "It is \n so."),
        (f"{ANALYSIS}Hm.{NEXT}{ANALYSIS}Yes.{NEXT}{FINAL}So.", "Hm.Yes.", "So."),
        (f"{ANALYSIS}Hm.{NEXT}{COMMENTARY}First.{NEXT}{FINAL}So.", "Hm.", "First.So."),
        (f"{FINAL}Only this.<|end|>", "", "Only this."),
        (f"{ANALYSIS}Broken off", "Broken off", ""),
        ("No head at all.", "", "No head at all."),
    ],
)
def test_channels_are_told_apart(tools: Any, said: str, reasoning: str, text: str) -> None:
    read = Case("harmony", reasoning=REASONING, tools=tools).read_every_way(said)
    assert (read.reasoning, read.text, read.calls) == (reasoning, text, [])


def test_a_call_comes_after_reasoning_and_a_word_on_it() -> None:
    said = f"{ANALYSIS}Hm.{NEXT}{COMMENTARY}I look.{NEXT}{NOW}"
    read = Case("harmony", reasoning=REASONING).read_every_way(said)
    assert (read.reasoning, read.text, read.calls) == ("Hm.", "I look.", [("now", "{}")])
    assert read.order == "rtca"


def test_the_template_says_how_it_reasons_and_where_an_answer_starts() -> None:
    assert REASONING is not None
    assert (REASONING.start, REASONING.end, REASONING.switch) == (ANALYSIS, "<|end|>", None)
    assert not starts_in_reasoning("<|start|>assistant", REASONING)
    assert starts_in_reasoning(f"<|start|>assistant{ANALYSIS}", REASONING)
    read = Case("harmony", reasoning=REASONING, inside=True).read_every_way(f"Hm.{NEXT}{FINAL}So.")
    assert (read.reasoning, read.text) == ("Hm.", "So.")


def test_earlier_reasoning_has_the_templates_name() -> None:
    message = {"role": "assistant", "content": "", "reasoning_content": "Hm."}
    (told,) = DIALECTS["harmony"].history([message])
    assert told["thinking"] == "Hm."


@pytest.mark.parametrize("markers", [True, False])
@pytest.mark.parametrize(
    ("asked", "good", "bad"),
    [
        (
            {"response_format": THREE},
            [f"{FINAL}3", f"{ANALYSIS}Hm.{NEXT}{FINAL}3", "3"],
            [f"{FINAL}4", f"{ANALYSIS}Hm.{NEXT}{FINAL}4", f"{COMMENTARY}3", "4"],
        ),
        (
            {"tools": [Tool(name="now")], "tool_choice": ToolChoice("required")},
            [NOW.removesuffix("<|call|>"), f"{ANALYSIS}Hm.{NEXT}{NOW}".removesuffix("<|call|>")],
            [f"{FINAL}No.", f"{ANALYSIS}Hm.{NEXT}{FINAL}No.", in_harmony("other", {})],
        ),
        (
            {"tools": [Tool(name="now", strict=True)]},
            [f"{COMMENTARY}I look.{NEXT}{NOW}".removesuffix("<|call|>"), f"{FINAL}No need."],
            [in_harmony("other", {}).removesuffix("<|call|>")],
        ),
    ],
    ids=["form", "required", "strict"],
)
def test_forms_and_calls_are_held_on_their_channels(
    markers: bool, asked: dict[str, Any], good: list[str], bad: list[str]
) -> None:
    made = constraint_for(
        dialect=DIALECTS["harmony"],
        tokenizer=tokenizer(markers=markers),
        reasoning=REASONING,
        **asked,
    )
    assert made is not None
    for text in good:
        assert follows(made.grammar, text, markers=markers), text
    for text in bad:
        assert not follows(made.grammar, text, markers=markers), text
