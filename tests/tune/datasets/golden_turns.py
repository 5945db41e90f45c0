"""Writes golden_turns.json: every template's conversations, the learned tokens in brackets.

    python -m tests.tune.datasets.golden_turns

The file is read by people: a change in it is a change of what models are taught.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from freehold.chat.templates import ChatTemplate
from freehold.errors import BadDataset
from freehold.tokenizer import Tokenizer
from freehold.tune.datasets import Example
from freehold.tune.datasets.masking import Rendered, render_example
from tests.chat import small_templates
from tests.chat.vocabulary import END, tokenizer

FILE = Path(__file__).with_name("golden_turns.json")

# Spellings of control tokens that the templates write and the small vocabulary lacks.
MORE = (
    "<|start_header_id|>",
    "<|end_header_id|>",
    "<|eot_id|>",
    "<｜User｜>",
    "<｜Assistant｜>",
    "<｜end▁of▁sentence｜>",
)
ENDS = {"mistral_v3": "</s>", "harmony": "<|return|>"}

TEMPLATES: Mapping[str, str] = {
    **small_templates.BY_DIALECT,
    "no_system": small_templates.NO_SYSTEM,
    # As Qwen 3 has it: reasoning of the last answer alone, an empty block where there is none.
    "drops_reasoning": (
        "{%- for m in messages -%}{{- '<|im_start|>' + m.role + '\\n' -}}"
        "{%- if m.role == 'assistant' and loop.last -%}"
        "{{- '<think>\\n' + (m.reasoning_content or '') + '\\n</think>\\n\\n' -}}{%- endif -%}"
        "{{- m.content + '<|im_end|>\\n' -}}{%- endfor -%}"
        "{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}"
        "{%- if enable_thinking is false -%}{{- '<think>\\n\\n</think>\\n\\n' -}}{%- endif -%}"
        "{%- endif -%}"
    ),
}

TOOLS: tuple[dict[str, Any], ...] = (
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "description": "says how it is",
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
        },
    },
)


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def says(text: str, thought: str = "", **more: Any) -> dict[str, Any]:
    reasoned = {"reasoning_content": thought} if thought else {}
    return {"role": "assistant", "content": text, **reasoned, **more}


def calls(*cities: str) -> list[dict[str, Any]]:
    return [
        {
            "id": f"call0000{number}",
            "type": "function",
            "function": {"name": "get_weather", "arguments": {"city": city}},
        }
        for number, city in enumerate(cities)
    ]


def result(number: int = 0) -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": f"call0000{number}", "content": "rain"}


CONVERSATIONS: Mapping[str, Example] = {
    "turns": Example(messages=(user("Hi é"), says("Hello."), user("So?"), says("\n So, <b>.\n"))),
    "system": Example(messages=({"role": "system", "content": "Be short."}, user("Hi"), says("1"))),
    "a call": Example(
        messages=(user("Oslo?"), says("", tool_calls=calls("Oslo")), result(), says("It rains.")),
        tools=TOOLS,
    ),
    "two calls": Example(
        messages=(user("Both?"), says("", tool_calls=calls("Oslo", "Rome"))), tools=TOOLS
    ),
    "words and a call": Example(
        messages=(user("Oslo?"), says("I look.", tool_calls=calls("Oslo"))), tools=TOOLS
    ),
    "reasoning": Example(
        messages=(user("91?"), says("No.", "7 by 13."), user("97?"), says("Yes.", "Hm,\nyes."))
    ),
    "reasoning and a call": Example(
        messages=(user("Oslo?"), says("", "I look.", tool_calls=calls("Oslo"))), tools=TOOLS
    ),
    "weights": Example(messages=(user("a"), says("b", weight=0), user("c"), says("d", weight=1))),
    "control tokens as text": Example(messages=(user("<|im_end|>"), says("a<|im_end|>b</s>c"))),
}


def text_side(name: str) -> tuple[ChatTemplate, Tokenizer]:
    tokens = tokenizer(think=True, more=MORE, end=ENDS.get(name, END))
    return ChatTemplate(TEMPLATES[name], "<s>", "</s>"), tokens


def rendered(name: str, conversation: str) -> list[Rendered]:
    template, tokens = text_side(name)
    return render_example(CONVERSATIONS[conversation], template=template, tokenizer=tokens)


def shown(one: Rendered, tokens: Tokenizer) -> str:
    """The rendering as text, ⟦what is learned⟧ in brackets."""
    pieces, start = [], 0
    for end in range(1, len(one.ids) + 1):
        if end < len(one.ids) and one.learned[end] == one.learned[start]:
            continue
        ids = [int(token) for token in one.ids[start:end]]
        text = tokens.decode(ids, skip_special=False, continuing=start > 0)
        pieces.append(f"⟦{text}⟧" if one.learned[start] else text)
        start = end
    return "".join(pieces)


def golden(name: str, conversation: str) -> list[str] | str:
    _, tokens = text_side(name)
    try:
        return [shown(one, tokens) for one in rendered(name, conversation)]
    except BadDataset as error:
        return f"refused: {error.message}"


def main() -> None:
    every = {name: {said: golden(name, said) for said in CONVERSATIONS} for name in TEMPLATES}
    FILE.write_text(json.dumps(every, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
