"""Prompts of directories with a maker's own files read as the maker's program writes them.

Oracle: mistral-common 1.13.1, frozen in golden_instructions.json. Texts are compared exactly; that
these become the right tokens is what the tokenizers' own tests say.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from freehold.chat.dialects import dialect_of
from freehold.chat.prompts import prompt_tokens
from freehold.chat.templates import ChatTemplate
from freehold.chat.tools import Tool
from freehold.errors import TemplateError, UnknownTokenizer
from freehold.loading.instructions import chat_template
from freehold.tokenizer import Tokenizer, tokenizer_from_ranks
from tests.loading.conversations import CONTROL, CONVERSATIONS, TOOLS, VERSIONS, answer, user
from tests.loading.own_files import ranked

GOLDEN: dict[str, dict[str, str | None]] = json.loads(
    Path(__file__).with_name("golden_instructions.json").read_text("utf-8")
)["prompts"]
# The first version has no word for tools: there the model is told of them in words of ours.
CARRIED = [
    (version, name)
    for version in VERSIONS
    for name, (_, offered) in CONVERSATIONS.items()
    if GOLDEN[version][name] is not None and not (version == "v1" and offered)
]


def made(version: str) -> tuple[Tokenizer, ChatTemplate]:
    fields = ranked(default_num_special_tokens=len(CONTROL))
    fields["config"]["default_vocab_size"] = len(fields["vocab"]) + len(CONTROL)
    fields["special_tokens"] = [
        {"rank": rank, "token_str": token, "is_control": True} for rank, token in enumerate(CONTROL)
    ]
    tokenizer, _ = tokenizer_from_ranks(fields)
    source = chat_template(version, tokenizer, "none" if version == "v15" else None)
    return tokenizer, ChatTemplate.from_metadata({"tokenizer.chat_template": source}, tokenizer)


def written(version: str, messages: list[dict[str, Any]], *, offered: bool = False) -> str:
    tokenizer, template = made(version)
    tools = [Tool(**tool) for tool in TOOLS] if offered else []
    dialect = dialect_of(template.source)
    tokens = prompt_tokens(template, tokenizer, messages, dialect=dialect, tools=tools).tokens
    return tokenizer.decode(tokens, skip_special=False)


@pytest.mark.parametrize(("version", "name"), CARRIED)
def test_writes_what_the_maker_s_program_writes(version: str, name: str) -> None:
    messages, offered = CONVERSATIONS[name]
    expected = GOLDEN[version][name]
    assert expected is not None
    if version == "v1":  # its file spells spaces with blocks, lines by their byte
        for spelled, plain in (("▁", " "), ("<0x0A>", "\n"), ("<s> ", "<s>"), ("</s> ", "</s>")):
            expected = expected.replace(spelled, plain)
    assert written(version, messages, offered=offered) == expected


def test_the_conversations_tell_the_versions_apart() -> None:
    prompts = [tuple(GOLDEN[version].values()) for version in VERSIONS]
    assert len(set(prompts)) == len(VERSIONS)
    assert len(CARRIED) >= 40


def test_reasoning_stands_before_what_was_said() -> None:
    message = {**answer("Yes."), "reasoning_content": "Hm"}
    assert "[THINK]Hm[/THINK]Yes.</s>" in written("v13", [user("a"), message, user("b")])


@pytest.mark.parametrize("version", VERSIONS)
def test_roles_in_an_order_that_no_program_writes_are_refused(version: str) -> None:
    with pytest.raises(TemplateError):
        written(version, [user("a"), user("b")])


@pytest.mark.parametrize("version", ["v4", "v99", "w", ""])
def test_another_version_is_refused(version: str) -> None:
    with pytest.raises(UnknownTokenizer):
        chat_template(version, made("v3")[0])
