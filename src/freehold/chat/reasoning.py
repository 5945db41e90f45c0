"""Whether a model reasons before it answers, how that is marked, and how it is turned on or off.

Room: chat. Knows what stands in chat templates; must not know requests or families.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from freehold.chat.variables import reads
from freehold.errors import BadRequest, UnsupportedField

__all__ = ["ReasoningFormat", "reasoning_of", "starts_in_reasoning", "thinking_variables"]


@dataclass(frozen=True)
class ReasoningFormat:
    """The marks around reasoning, and the template's variable that turns it on and off.

    `anywhere`: a block may stand between texts too, since its marks are nothing else. `pad` stands
    inside both marks, and `after` behind the block, where a model writes it.
    """

    start: str
    end: str
    switch: str | None = None
    anywhere: bool = False
    pad: str = ""
    after: str = ""

    def block(self, text: str) -> str:
        """The reasoning as a model writes it before an answer."""
        said = text.strip("\n")
        return f"{self.start}{self.pad}{said}{self.pad if said else ''}{self.end}{self.after}"

    @property
    def markers(self) -> tuple[str, str]:
        """The texts that a parser must see."""
        return self.start, self.end


_MARKS = (
    ReasoningFormat("[THINK]", "[/THINK]", anywhere=True),
    ReasoningFormat("<|channel|>analysis<|message|>", "<|end|>", after="<|start|>assistant"),
    ReasoningFormat("<|channel>thought", "<channel|>", pad="\n"),
    ReasoningFormat("<think>", "</think>", pad="\n", after="\n\n"),
)
_SWITCHES = ("enable_thinking", "thinking")


@lru_cache(maxsize=64)
def reasoning_of(template_source: str | None) -> ReasoningFormat | None:
    """How a model with this template reasons; None where the template knows no reasoning."""
    if template_source is None:
        return None
    for marks in _MARKS:
        if marks.end in template_source and marks.start in template_source:
            switch = next((name for name in _SWITCHES if reads(template_source, name)), None)
            return replace(marks, switch=switch)
    return None


def starts_in_reasoning(rendered_tail: str, reasoning: ReasoningFormat | None) -> bool:
    """Whether a prompt that ends so leaves the model inside reasoning."""
    return reasoning is not None and rendered_tail.rstrip().endswith(reasoning.start)


def thinking_variables(
    reasoning: ReasoningFormat | None, thinking: bool | None, variables: Mapping[str, Any]
) -> dict[str, Any]:
    """The template's variables with thinking turned on or off, as asked.

    Raises: UnsupportedField when the model cannot do so; BadRequest when the variables say
    otherwise.
    """
    if thinking is None:
        return dict(variables)
    if reasoning is None:
        if thinking:
            raise UnsupportedField(
                "this model does not reason before it answers", param="thinking", value=True
            )
        return dict(variables)
    if reasoning.switch is None:
        if not thinking:
            raise UnsupportedField(
                "this model always reasons before it answers; its template cannot turn that off",
                param="thinking",
                value=False,
            )
        return dict(variables)
    if variables.get(reasoning.switch, thinking) is not thinking:
        raise BadRequest(
            f"thinking and the template variable {reasoning.switch} contradict each other",
            param="thinking",
            value=thinking,
        )
    return {**variables, reasoning.switch: thinking}
