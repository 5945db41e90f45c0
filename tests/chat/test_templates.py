"""Chat templates are rendered as transformers renders them."""

from __future__ import annotations

import json
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from freehold.chat.meter import Limits
from freehold.chat.templates import ChatTemplate
from freehold.errors import TemplateError
from freehold.tokenizer import tokenizer_from_gguf
from tests.tokenizer import vocabularies as toy

GOLDEN = json.loads(Path(__file__).with_name("golden_templates.json").read_text("utf-8"))
CASES: list[dict[str, Any]] = GOLDEN["cases"]
USER = [{"role": "user", "content": "PRIVATE words"}]


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case['name']}-{case['conversation']}")
def test_matches_transformers(case: dict[str, Any]) -> None:
    template = ChatTemplate(case["source"], "<s>", "</s>")

    def rendered() -> str:
        return template.render(
            case["messages"],
            tools=case["tools"],
            add_generation_prompt=case["add_generation_prompt"],
            variables={**case["variables"], "strftime_now": GOLDEN["now"]},
        )

    if isinstance(case["expected"], dict):
        with pytest.raises(TemplateError):
            rendered()
    else:
        assert rendered() == case["expected"]


def test_few_golden_cases_are_refusals() -> None:
    refused = [case["name"] for case in CASES if isinstance(case["expected"], dict)]
    assert 0 < len(refused) < len(CASES) / 10


def test_a_template_is_safe_in_several_threads() -> None:
    template = ChatTemplate("{% for m in messages %}{{ m.content }}{% endfor %}")

    def own(number: int) -> bool:
        return template.render([{"role": "user", "content": str(number)}] * 50) == str(number) * 50

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(own, range(400)))


def test_every_rendering_has_limits_of_its_own() -> None:
    template = ChatTemplate("{% for i in range(90) %}{% endfor %}", limits=Limits(steps=150))
    assert [template.render(USER) for _ in range(5)] == [""] * 5


def test_a_long_conversation_is_within_the_limits() -> None:
    source = next(case["source"] for case in CASES if case["name"] == "starter")
    messages = [{"role": role, "content": "x" * 1000} for role in ("user", "assistant")] * 1000
    assert len(ChatTemplate(source).render(messages)) > 2_000_000


def test_the_template_refuses_in_its_own_words() -> None:
    template = ChatTemplate("{{ raise_exception('Roles must alternate.') }}")
    with pytest.raises(TemplateError, match="Roles must alternate"):
        template.render(USER)


def test_words_of_a_message_are_cut_from_a_refusal() -> None:
    source = "{{ raise_exception('Bad message: ' + messages[0].content) }}"
    with pytest.raises(TemplateError, match="Bad message: …") as caught:
        ChatTemplate(source).render(USER)
    assert "PRIVATE" not in repr(vars(caught.value)) + str(caught.value)


@pytest.mark.parametrize(
    "expression",
    [
        "messages[0].content + 1",
        "messages[0].content | sum",
        "messages[0].nope.deeper",
        "{'a': 1}[messages[0].content].x",
        "messages[0].content()",
        "messages[0].content.index('zz')",
        "raise_exception(messages[0].content)",
        "messages[0][messages[0].content].x",
        "1 / 0",
        "messages | map(messages[0].content) | list",
        "messages | select(messages[0].content) | list",
        "messages | map(attribute='_' + messages[0].content) | list",
        "messages[0].content['_' + messages[0].content]",
    ],
)
def test_an_error_holds_no_word_of_a_message(expression: str) -> None:
    template = ChatTemplate("\n\n{{ " + expression + " }}")
    with pytest.raises(TemplateError) as caught:
        template.render(USER)
    seen: BaseException | None = caught.value
    while seen is not None:
        assert "PRIVATE" not in repr(vars(seen)) + str(seen)
        # Whoever logs the error may log what it came from.
        seen = seen.__cause__ or (None if seen.__suppress_context__ else seen.__context__)


def test_a_broken_template_is_named_by_its_line() -> None:
    template = ChatTemplate("one\n{% for m in messages %}\n\n{{ m.content + 1 }}\n{% endfor %}")
    with pytest.raises(TemplateError, match=r"line 4 .* found TypeError"):
        template.render(USER)
    with pytest.raises(TemplateError, match=r"line 2 .* cannot be read"):
        ChatTemplate("fine\n{% for %}")


def test_from_a_file_s_metadata() -> None:
    fields = toy.byte_level()
    tokenizer = tokenizer_from_gguf(fields)
    fields["tokenizer.chat_template"] = "{{ bos_token }}{{ messages[0].content }}{{ eos_token }}"
    fields["tokenizer.chat_template.tool_use"] = "tools"
    plain = ChatTemplate.from_metadata(fields, tokenizer)
    assert plain.render([{"role": "user", "content": "x"}]) == "<s>x</s>"
    assert ChatTemplate.from_metadata(fields, tokenizer, name="tool_use").render([]) == "tools"
    assert ChatTemplate.from_metadata(fields, tokenizer, name="default").source == plain.source
    with pytest.raises(TemplateError, match=r"named 'rag'.*tool_use"):
        ChatTemplate.from_metadata(fields, tokenizer, name="rag")


@pytest.mark.parametrize("value", [None, 7, b"x"])
def test_a_file_without_a_template_is_told_so(value: object) -> None:
    fields = {**toy.byte_level(), "tokenizer.chat_template": value}
    with pytest.raises(TemplateError, match=r"no chat template.*raw"):
        ChatTemplate.from_metadata(fields, tokenizer_from_gguf(fields))


def test_the_date_is_now_unless_pinned() -> None:
    template = ChatTemplate("{{ strftime_now('%Y-%m-%d') }}")
    assert re.fullmatch(r"20\d\d-\d\d-\d\d", template.render(USER))
    assert template.render(USER, variables={"strftime_now": "1999-12-31"}) == "1999-12-31"
    with pytest.raises(TemplateError, match="strftime_now"):
        template.render(USER, variables={"strftime_now": "yesterday"})


def test_variables_may_not_replace_the_conversation() -> None:
    with pytest.raises(TemplateError, match="may not set messages"):
        ChatTemplate("").render(USER, variables={"messages": []})


@pytest.mark.parametrize("value", [object(), b"x", {1: "x"}, {"x": {2}}, print])
def test_only_plain_values_reach_a_template(value: object) -> None:
    with pytest.raises(TemplateError, match="the messages hold"):
        ChatTemplate("{{ x }}").render(USER, variables={"x": value})


def test_the_caller_s_messages_are_not_changed() -> None:
    messages = [{"role": "user", "content": ["a", {"b": 1}]}]
    before = json.dumps(messages)
    ChatTemplate("{% set x = messages[0].content %}{{ x }}").render(messages)
    assert json.dumps(messages) == before
