"""Answers read in every way they can be cut, and calls as each dialect writes them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from freehold.chat.dialects import DIALECTS
from freehold.chat.parsing import AnswerParser, CallArguments, CallStart, Piece, Reasoning, Text
from freehold.chat.reasoning import ReasoningFormat
from freehold.chat.tools import Tool

THINK = ReasoningFormat("<think>", "</think>")
BRACKETS = ReasoningFormat("[THINK]", "[/THINK]", anywhere=True)

TOOLS = (
    Tool(
        name="get_weather",
        parameters={
            "type": "object",
            "properties": {
                "city": {"type": "string"},
                "days": {"type": "integer"},
                "wind": {"type": "boolean"},
                "limit": {"type": "number"},
                "tags": {"type": "array", "items": {"type": "string"}},
                "box": {"$ref": "#/$defs/box"},
                "unit": {"anyOf": [{"type": "string"}, {"type": "null"}]},
            },
            "$defs": {"box": {"type": "object"}},
        },
    ),
    Tool(name="now"),
)


@dataclass
class Read:
    """All pieces of an answer, joined."""

    text: str = ""
    reasoning: str = ""
    calls: list[tuple[str, str]] = field(default_factory=list)
    broken: bool = False
    order: str = ""

    def add(self, piece: Piece) -> None:
        kind = {Text: "t", Reasoning: "r", CallStart: "c", CallArguments: "a"}[type(piece)]
        self.order += "" if self.order.endswith(kind) and kind != "c" else kind
        match piece:
            case Text(text):
                assert text
                self.text += text
            case Reasoning(text):
                assert text
                self.reasoning += text
            case CallStart(index, _, name):
                assert index == len(self.calls)
                self.calls.append((name, ""))
            case CallArguments(index, text):
                assert index == len(self.calls) - 1
                name, before = self.calls[index]
                self.calls[index] = (name, before + text)


@dataclass(frozen=True)
class Case:
    dialect: str = "hermes"
    reasoning: ReasoningFormat | None = None
    inside: bool = False
    tools: Sequence[Tool] = TOOLS
    tool_calls: bool = True

    def read(self, pieces: Iterable[str]) -> Read:
        parser = AnswerParser(
            DIALECTS[self.dialect],
            self.tools,
            reasoning=self.reasoning,
            starts_in_reasoning=self.inside,
            tool_calls=self.tool_calls,
        )
        read = Read()
        for text in pieces:
            for piece in parser.push(text):
                read.add(piece)
        for piece in parser.finish():
            read.add(piece)
        read.broken = parser.broken
        assert parser.calls == len(read.calls)
        return read

    def read_every_way(self, text: str) -> Read:
        """Read whole, and cut at every one place, at every place, and in threes."""
        whole = self.read([text])
        for at in range(len(text) + 1):
            assert self.read([text[:at], text[at:]]) == whole, f"cut at {at}"
        assert self.read(list(text)) == whole
        assert self.read(text[i : i + 3] for i in range(0, len(text), 3)) == whole
        for _, arguments in whole.calls[: len(whole.calls) - whole.broken]:
            assert isinstance(json.loads(arguments), dict)
        return whole


HARD = {"city": 'a "b" {c} </tool_call> \\ [x]\n</parameter', "tags": ["{", "}", "é\t"]}
WEATHER = {"city": "Oslo", "days": 3}


def dumped(arguments: Any) -> str:
    return json.dumps(arguments, ensure_ascii=False)


def in_hermes(name: str, arguments: Any) -> str:
    return f'<tool_call>\n{{"name": "{name}", "arguments": {dumped(arguments)}}}\n</tool_call>'


def in_llama(name: str, arguments: Any) -> str:
    return f'{{"name": "{name}", "parameters": {dumped(arguments)}}}'


def in_v3(name: str, arguments: Any) -> str:
    return (
        f"<｜tool▁call▁begin｜>function<｜tool▁sep｜>{name}\n```json\n{dumped(arguments)}\n```"
        "<｜tool▁call▁end｜>"
    )


def in_v31(name: str, arguments: Any) -> str:
    return f"<｜tool▁call▁begin｜>{name}<｜tool▁sep｜>{dumped(arguments)}<｜tool▁call▁end｜>"


def section(*calls: str) -> str:
    return f"<｜tool▁calls▁begin｜>{''.join(calls)}<｜tool▁calls▁end｜>"


def shown(value: Any) -> str:
    return value if isinstance(value, str) else dumped(value)


def in_xml(name: str, arguments: Any) -> str:
    values = "".join(
        f"<parameter={key}>\n{shown(value)}\n</parameter>\n" for key, value in arguments.items()
    )
    return f"<tool_call>\n<function={name}>\n{values}</function>\n</tool_call>"


def in_glm(name: str, arguments: Any) -> str:
    values = "".join(
        f"<arg_key>{key}</arg_key>\n<arg_value>{shown(value)}</arg_value>\n"
        for key, value in arguments.items()
    )
    return f"<tool_call>{name}\n{values}</tool_call>"


def in_dsml(name: str, arguments: Any) -> str:
    values = "".join(
        f'<｜DSML｜parameter name="{key}" string="{str(isinstance(value, str)).lower()}">'
        f"{shown(value)}</｜DSML｜parameter>\n"
        for key, value in arguments.items()
    )
    return f'<｜DSML｜invoke name="{name}">\n{values}</｜DSML｜invoke>\n'


def in_kimi(name: str, arguments: Any) -> str:
    return (
        f"<|tool_call_begin|>functions.{name}:0<|tool_call_argument_begin|>{dumped(arguments)}"
        "<|tool_call_end|>"
    )


def in_gemma(name: str, arguments: Any) -> str:
    return f"<|tool_call>call:{name}{bare(arguments)}<tool_call|>"


def bare(value: Any) -> str:
    """A value as Gemma 4 writes it."""
    if isinstance(value, str):
        return f'<|"|>{value}<|"|>'
    if isinstance(value, dict):
        return "{" + ",".join(f"{key}:{bare(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(bare, value)) + "]"
    return dumped(value)


def in_harmony(name: str, arguments: Any) -> str:
    return (
        f"<|channel|>commentary to=functions.{name} <|constrain|>json<|message|>"
        f"{dumped(arguments)}<|call|>"
    )


def in_python(name: str, arguments: Any) -> str:
    return f"{name}({', '.join(f'{key}={value!r}' for key, value in arguments.items())})"


# A dialect, and its way of writing two calls with text before, in each form that it is read in.
TWO_CALLS = [
    ("hermes", lambda a, b: f"{in_hermes(*a)}\n{in_hermes(*b)}"),
    ("plain", lambda a, b: f"{in_hermes(*a)}{in_hermes(*b)}"),
    ("llama_json", lambda a, b: f"{in_llama(*a)}; {in_llama(*b)}"),
    ("llama_json", lambda a, b: f"<|python_tag|>{in_llama(*a)};{in_llama(*b)}"),
    ("llama_json", lambda a, b: f"{in_llama(*a)}\n{in_llama(*b)}"),
    ("llama_pythonic", lambda a, b: f"[{in_python(*a)}, {in_python(*b)}]"),
    (
        "llama_pythonic",
        lambda a, b: f"<|python_start|>[{in_python(*a)},\n {in_python(*b)}]<|python_end|>",
    ),
    (
        "mistral_v3",
        lambda a, b: (
            f'[TOOL_CALLS] [{{"name": "{a[0]}", "arguments": {dumped(a[1])}}}, '
            f'{{"name": "{b[0]}", "arguments": {dumped(b[1])}, "id": "abcdefghi"}}]'
        ),
    ),
    (
        "mistral_v11",
        lambda a, b: (
            f"[TOOL_CALLS]{a[0]}[CALL_ID]abcdefghi[ARGS]{dumped(a[1])}"
            f"[TOOL_CALLS]{b[0]}[CALL_ID]abcdefghj[ARGS]{dumped(b[1])}"
        ),
    ),
    (
        "mistral_v13",
        lambda a, b: (
            f"[TOOL_CALLS]{a[0]}[ARGS]{dumped(a[1])}[TOOL_CALLS]{b[0]}[ARGS]{dumped(b[1])}"
        ),
    ),
    (
        "mistral_v13",
        lambda a, b: f"[TOOL_CALLS]{a[0]}{dumped(a[1])}[TOOL_CALLS]{b[0]}{dumped(b[1])}",
    ),
    ("qwen_xml", lambda a, b: f"{in_xml(*a)}\n{in_xml(*b)}"),
    ("glm", lambda a, b: f"{in_glm(*a)}\n{in_glm(*b)}"),
    ("deepseek_v3", lambda a, b: section(in_v3(*a), "\n", in_v3(*b))),
    ("deepseek_v3", lambda a, b: section(in_v31(*a), in_v31(*b))),
    ("deepseek_v31", lambda a, b: section(in_v31(*a), in_v31(*b))),
    (
        "deepseek_dsml",
        lambda a, b: (
            f"<｜DSML｜function_calls>\n{in_dsml(*a)}{in_dsml(*b)}</｜DSML｜function_calls>"
        ),
    ),
    (
        "deepseek_dsml_v4",
        lambda a, b: f"<｜DSML｜tool_calls>\n{in_dsml(*a)}{in_dsml(*b)}</｜DSML｜tool_calls>",
    ),
    ("gemma", lambda a, b: in_gemma(*a) + in_gemma(*b)),
    ("harmony", lambda a, b: in_harmony(*a) + "<|start|>assistant" + in_harmony(*b)),
    (
        "harmony",
        lambda a, b: (
            f"<|start|>assistant to=functions.{a[0]}<|channel|>commentary json<|message|>"
            f"{dumped(a[1])}<|call|>{in_harmony(*b)}"
        ),
    ),
    (
        "kimi",
        lambda a, b: (
            f"<|tool_calls_section_begin|>{in_kimi(*a)}{in_kimi(*b)}<|tool_calls_section_end|>"
        ),
    ),
]
EACH_FORM = pytest.mark.parametrize(
    ("dialect", "write"), TWO_CALLS, ids=[f"{name}-{i}" for i, (name, _) in enumerate(TWO_CALLS)]
)
