"""What an answer must be, as one grammar: reasoning first, then calls, a form, or text.

Room: chat. Knows dialects, formats and llguidance's grammars; must not know requests or engines.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import numpy as np
from llguidance import regex_to_lark

from freehold.chat.control import ControlStrings
from freehold.chat.dialects.base import Dialect, Function
from freehold.chat.dialects.lark import ANY_TEXT, Lark, quoted
from freehold.chat.reasoning import ReasoningFormat
from freehold.chat.schemas import check_grammar, check_schema
from freehold.chat.tools import ResponseFormat, Tool, ToolChoice
from freehold.engine.matcher import Matchers, mask_words
from freehold.errors import BadRequest, BadSchema

if TYPE_CHECKING:
    from freehold.tokenizer import Tokenizer

__all__ = ["Constraint", "check_schema", "constraint_for"]

_MAX_GRAMMAR_CHARS = 1 << 18
_MAX_REGEX_CHARS = 1 << 14
# What llguidance's own Lark can ask of an engine, and ours does not do.
_NOT_DONE = re.compile(r"\[[^\]\n]*\b(temperature|stop)\s*=")

# Some of what is too complex shows after a step or two only.
_TRIED_STEPS = 4

_MATCHERS: WeakKeyDictionary[Tokenizer, Matchers] = WeakKeyDictionary()


@dataclass(frozen=True)
class Constraint:
    """A grammar in llguidance's form, which holds for the whole answer."""

    grammar: str


def constraint_for(  # noqa: PLR0913 - the parts of a request that the grammar joins
    *,
    dialect: Dialect,
    tokenizer: Tokenizer,
    tools: Sequence[Tool] = (),
    tool_choice: ToolChoice | None = None,
    parallel: bool = True,
    response_format: ResponseFormat | None = None,
    reasoning: ReasoningFormat | None = None,
    starts_in_reasoning: bool = False,
) -> Constraint | None:
    """The grammar that an answer must follow, or None where it may be anything.

    Reasoning, where the model does it, comes first and is free. Calls that must be made, and calls
    of strict tools, are held to the tool's schema; with `response_format`, whatever is no call has
    that form.

    Raises: BadSchema naming what cannot be enforced; BadRequest for a choice without its tool.
    """
    choice = tool_choice or ToolChoice()
    callable_tools = _callable(tools, choice)
    must_call = choice.kind in ("required", "named")
    held = any(tool.strict for tool in callable_tools) or (callable_tools and not parallel)
    if not (must_call or held or response_format is not None):
        return None
    control = ControlStrings.of(tokenizer)
    lark = Lark(control)
    functions = [_function(tool, must_call, dialect, control) for tool in callable_tools]
    parts = _Parts(lark, dialect, functions, several=parallel)
    answer, grammars = parts.answer(response_format, must_call=must_call)
    if reasoning is not None:
        # A call that ends reasoning would be held to nothing.
        ends = dialect.ends_reasoning and functions
        never = dialect.starts_for([f.name for f in functions]) if ends else ()
        answer = _after_reasoning(lark, answer, reasoning, never, inside=starts_in_reasoning)
    grammar = lark.written(answer)
    if grammars:
        named = [{"name": name, "lark_grammar": text} for name, text in grammars.items()]
        grammar = json.dumps({"grammars": [{"lark_grammar": grammar}, *named]})
    _try(grammar, tokenizer)
    return Constraint(grammar)


def _try(grammar: str, tokenizer: Tokenizer) -> None:
    """Takes the first steps of an answer, so that what cannot be enforced is refused here.

    Raises: BadSchema.
    """
    matchers = _MATCHERS.get(tokenizer)
    if matchers is None:
        matchers = _MATCHERS[tokenizer] = Matchers(tokenizer)
    mask = np.zeros(mask_words(matchers.vocabulary), np.uint32)
    matcher = matchers.new(grammar)
    for _ in range(_TRIED_STEPS):
        matcher.fill(mask)
        word = int(np.flatnonzero(mask)[0])
        token = 32 * word + (int(mask[word]) & -int(mask[word])).bit_length() - 1
        if token in tokenizer.eos_ids:
            return
        matcher.accept(token)


def _callable(tools: Sequence[Tool], choice: ToolChoice) -> list[Tool]:
    if choice.kind == "none":
        return []
    if choice.kind == "auto":
        return list(tools)
    named = [tool for tool in tools if choice.kind == "required" or tool.name == choice.name]
    if not named:
        raise BadRequest(
            "tool_choice asks for a call of a tool that is not given",
            param="tool_choice",
            value=choice.name,
        )
    return named


def _function(tool: Tool, must_call: bool, dialect: Dialect, control: ControlStrings) -> Function:
    """The tool for the grammar. Raises: BadSchema, with the tool's name."""
    enforced = must_call or tool.strict
    function = Function(tool.name, tool.parameters if enforced else None)
    try:
        check_schema(tool.parameters, strict=enforced)
        dialect.body(Lark(control), [function], several=False)
    except BadSchema as error:
        raise BadSchema(
            f"the parameters of the tool {tool.name}: {error.message}",
            param="tools",
            value=error.value,
            expected=error.expected,
            found=error.found,
            hint=error.hint,
        ) from None
    return function


@dataclass(frozen=True)
class _Parts:
    """The expressions that an answer is put together from."""

    lark: Lark
    dialect: Dialect
    functions: Sequence[Function]
    several: bool

    def answer(
        self, wanted: ResponseFormat | None, *, must_call: bool
    ) -> tuple[str, dict[str, str]]:
        """The whole answer after reasoning, and the grammars that it refers to by name."""
        lark, dialect, functions = self.lark, self.dialect, self.functions
        if must_call:
            return dialect.only_calls(lark, functions, several=self.several), {}
        text, grammars = (ANY_TEXT, {}) if wanted is None else _form(lark, wanted)
        if not functions:
            return dialect.said(lark, text), grammars
        free = None if wanted is None else text
        return dialect.calls_or_text(lark, functions, several=self.several, text=free), grammars


def _form(lark: Lark, wanted: ResponseFormat) -> tuple[str, dict[str, str]]:
    """The expression for a form, and the grammars it refers to."""
    if wanted.kind == "json_object":
        return lark.json({"type": "object"}), {}
    if wanted.kind == "json_schema":
        schema = {} if wanted.schema is None else wanted.schema
        check_schema(schema)
        return lark.json(schema), {}
    if wanted.kind == "choice":
        texts = [wanted.source] if isinstance(wanted.source, str) else list(wanted.source)
        if not texts or not all(texts):
            raise BadSchema("a choice is empty", expected="texts of at least one character")
        return lark.one_of([quoted(text) for text in texts]), {}
    source = wanted.source if isinstance(wanted.source, str) else "".join(wanted.source)
    if wanted.kind == "regex":
        return "@form", {"form": _regex(source)}
    return "@form", {"form": _lark(source)}


def _regex(source: str) -> str:
    if len(source) > _MAX_REGEX_CHARS:
        raise BadSchema("the expression is too long", expected=f"at most {_MAX_REGEX_CHARS}")
    grammar = f"start: /{regex_to_lark(source)}/"
    check_grammar(grammar, "the expression")
    return grammar


def _lark(source: str) -> str:
    if len(source) > _MAX_GRAMMAR_CHARS:
        raise BadSchema("the grammar is too long", expected=f"at most {_MAX_GRAMMAR_CHARS}")
    if found := _NOT_DONE.search(source):
        raise BadSchema(f"{found[1]} in the grammar cannot be enforced", value=found[1])
    check_grammar(source, "the grammar")
    return source


def _after_reasoning(
    lark: Lark, answer: str, reasoning: ReasoningFormat, never: Sequence[str], *, inside: bool
) -> str:
    """The answer, with reasoning before it: the rest of it, or all of it or none."""
    rest = rf"{lark.until(reasoning.end, never=never)} /[ \n]{{0,4}}/"
    answer = lark.rule(answer)
    if inside:
        return f"{rest} {answer}"
    return f"({lark.literal(reasoning.start)} {rest})? {answer}"
