"""Each template is recognised, and gets a conversation in the form it reads."""

from __future__ import annotations

import re
from typing import Any

import pytest

from freehold.chat.dialects import DIALECTS, dialect_of
from freehold.chat.templates import ChatTemplate
from freehold.chat.tools import Tool
from tests.chat import small_templates
from tests.chat.small_templates import BY_DIALECT, CHATML

EACH_DIALECT = pytest.mark.parametrize("name", sorted(BY_DIALECT))


def call(name: str, at: str, **arguments: Any) -> dict[str, Any]:
    return {"id": at, "type": "function", "function": {"name": name, "arguments": arguments}}


def test_every_dialect_has_a_template_here() -> None:
    assert set(BY_DIALECT) == set(DIALECTS)


@EACH_DIALECT
def test_a_dialect_is_told_from_the_template_alone(name: str) -> None:
    assert dialect_of(BY_DIALECT[name]).name == name
    ChatTemplate(BY_DIALECT[name])


@pytest.mark.parametrize("source", [None, "", "{{ messages }}", CHATML, "{{ tools }}"])
def test_what_teaches_no_known_form_is_plain(source: str | None) -> None:
    assert dialect_of(source).name == "plain"


def test_a_template_that_renders_calls_and_hears_of_no_tools_is_plain_unless_the_form_is_told() -> (
    None
):
    silent = re.sub(r"\{%- if tools -%\}.*?\{%- endif -%\}", "", small_templates.HERMES, count=1)
    assert "<tool_call>" in silent
    assert dialect_of(silent).name == "plain"
    assert "tools" not in small_templates.DEEPSEEK_V3
    assert dialect_of(small_templates.DEEPSEEK_V3).name == "deepseek_v3"


@pytest.mark.parametrize("given", ["call_0123456789", "x", "", "abcdefghi", "abcdefgh!"])
def test_ids_from_other_servers_fit_a_template_that_counts_them(given: str) -> None:
    messages: list[dict[str, Any]] = [
        {"role": "assistant", "content": "", "tool_calls": [call("now", given)]},
        {"role": "tool", "tool_call_id": given, "content": "1"},
    ]
    asked, answered = DIALECTS["mistral_v3"].history(messages)
    own = asked["tool_calls"][0]["id"]
    assert re.fullmatch("[a-zA-Z0-9]{9}", own)
    assert answered["tool_call_id"] == own
    assert own == given or given != "abcdefghi"
    assert messages[1]["tool_call_id"] == given


def test_ids_that_say_a_name_are_numbered_through_the_conversation() -> None:
    turn: list[dict[str, Any]] = [
        {"role": "assistant", "content": "", "tool_calls": [call("now", "x"), call("get", "y")]},
        {"role": "tool", "tool_call_id": "y", "content": "1"},
        {"role": "tool", "tool_call_id": "x", "content": "2"},
    ]
    done = DIALECTS["kimi"].history([*turn, {"role": "user", "content": "."}, *turn])
    assert [c["id"] for c in done[4]["tool_calls"]] == ["functions.now:2", "functions.get:3"]
    assert [m["tool_call_id"] for m in (done[1], done[2], done[5])] == [
        "functions.get:1",
        "functions.now:0",
        "functions.get:3",
    ]


def test_calls_are_told_one_by_one_where_a_template_knows_no_more() -> None:
    calls = [call("now", "x"), call("get", "y", a=1), call("get", "z")]
    messages: list[dict[str, Any]] = [
        {"role": "user", "content": "?"},
        {"role": "assistant", "content": "hm", "tool_calls": calls},
        {"role": "tool", "tool_call_id": "x", "content": "1"},
        {"role": "tool", "tool_call_id": "y", "content": "2"},
        {"role": "user", "content": "go on"},
    ]
    done = DIALECTS["llama_json"].history(messages)
    roles = [m["role"] for m in done]
    assert roles == ["user", "assistant", "tool", "assistant", "tool", "assistant", "user"]
    assert [c["id"] for m in done for c in m.get("tool_calls", ())] == ["x", "y", "z"]
    assert [m["content"] for m in done] == ["?", "hm", "1", "", "2", "", "go on"]


def test_without_a_template_for_it_calls_and_results_are_plain_turns() -> None:
    messages: list[dict[str, Any]] = [
        {"role": "user", "content": "time?"},
        {"role": "assistant", "content": "", "tool_calls": [call("now", "x", zone="é")]},
        {"role": "tool", "tool_call_id": "x", "content": "12"},
        {"role": "tool", "tool_call_id": "y", "content": "13"},
        {"role": "user", "content": "and?"},
        {"role": "assistant", "content": "ok"},
        {"role": "user", "content": "thanks"},
    ]
    assert list(DIALECTS["plain"].history(messages)) == [
        messages[0],
        {
            "role": "assistant",
            "content": '<tool_call>\n{"name": "now", "arguments": {"zone": "é"}}\n</tool_call>',
        },
        {
            "role": "user",
            "content": "<tool_response>\n12\n</tool_response>\n"
            "<tool_response>\n13\n</tool_response>\nand?",
        },
        *messages[5:],
    ]


@pytest.mark.parametrize("name", ["plain", "deepseek_v3", "deepseek_v31"])
def test_tools_are_told_with_the_form_that_is_read(name: str) -> None:
    dialect = DIALECTS[name]
    tool = Tool(name="now", description="the time", parameters={"type": "object", "x-a": "é"})
    user = {"role": "user", "content": "?"}
    alone = dialect.inject([user], [tool])
    after = dialect.inject([{"role": "system", "content": "Be short."}, user], [tool])
    assert [m["role"] for m in alone] == [m["role"] for m in after] == ["system", "user"]
    assert after[0]["content"] == "Be short.\n\n" + alone[0]["content"]
    for part in ('"name": "now"', '"description": "the time"', '"x-a": "é"', dialect.opening):
        assert part in alone[0]["content"]
