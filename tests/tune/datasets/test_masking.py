"""What is learned is what a server would have read, asked and shown, token for token.

Oracles: `prompt_tokens`, which makes a server's prompts; `ChoiceStream`, which makes its answers'
events; and golden_turns.json, which people read.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from freehold.chat.dialects import dialect_of
from freehold.chat.prompts import RenderedPrompt, prompt_tokens
from freehold.chat.reasoning import reasoning_of
from freehold.chat.said import shown_specials
from freehold.chat.templates import ChatTemplate
from freehold.chat.tools import Tool
from freehold.engine.request import Output
from freehold.errors import BadDataset
from freehold.loading import read_text_side
from freehold.server.ask import Ask, Choice
from freehold.server.choices import ChoiceStream, collect_choice
from freehold.tokenizer import Tokenizer
from freehold.tune.datasets import Example
from freehold.tune.datasets.masking import Rendered, Renderer, render_example
from tests.tune.datasets.golden_turns import (
    CONVERSATIONS,
    FILE,
    TEMPLATES,
    TOOLS,
    golden,
    rendered,
    says,
    shown,
    text_side,
    user,
)

GOLDEN = json.loads(FILE.read_text("utf-8"))
TAUGHT = [
    (name, conversation)
    for name, made in GOLDEN.items()
    for conversation, texts in made.items()
    if isinstance(texts, list)
]


def runs(one: Rendered) -> Iterator[tuple[int, int]]:
    """The learned runs, from and up to."""
    edges = np.flatnonzero(np.diff(np.concatenate(([False], one.learned, [False])).astype(int)))
    yield from zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True)


def turns(example: Example) -> list[tuple[list[dict[str, Any]], dict[str, Any]]]:
    plain = [{k: v for k, v in m.items() if k != "weight"} for m in example.messages]
    return [(plain[:place], plain[place]) for place in example.turns]


def offered(example: Example) -> list[Tool]:
    functions = [tool["function"] for tool in example.tools]
    return [Tool(**function) for function in functions]


def served(name: str, example: Example, history: list[dict[str, Any]]) -> RenderedPrompt:
    template, tokens = text_side(name)
    return prompt_tokens(
        template, tokens, history, dialect=dialect_of(template.source), tools=offered(example)
    )


def told(name: str, example: Example, prompt: RenderedPrompt, said: list[int]) -> Choice:
    """The answer as a server's client gets it."""
    template, tokens = text_side(name)
    dialect, reasoning = dialect_of(template.source), reasoning_of(template.source)
    resident: Any = SimpleNamespace(
        dialect=dialect,
        reasoning=reasoning,
        tokenizer=tokens,
        shown_specials=shown_specials(tokens, dialect, reasoning),
    )
    ask = Ask(model="m", messages=(user("x"),), tools=tuple(offered(example)))
    stream = ChoiceStream(0, resident, ask, prompt)
    # The engine gives out an answer without the token that ended it.
    events = stream.take(Output(tokens=tuple(said[:-1]), finish_reason="stop"))
    return collect_choice(0, events)


@pytest.mark.parametrize("name", sorted(TEMPLATES))
def test_renderings_are_the_golden_ones(name: str) -> None:
    assert {said: golden(name, said) for said in CONVERSATIONS} == GOLDEN[name]


def test_every_template_is_taught_turns_and_nearly_all_calls() -> None:
    taught = {kind: {n for n, said in TAUGHT if said == kind} for kind in CONVERSATIONS}
    assert taught["turns"] == taught["control tokens as text"] == set(TEMPLATES)
    assert taught["a call"] == set(TEMPLATES)
    # One call to a message is all that these two know.
    assert set(TEMPLATES) - taught["two calls"] == {"harmony", "llama_json"}
    thinking = {n for n, source in TEMPLATES.items() if reasoning_of(source)}
    assert taught["reasoning"] == taught["reasoning and a call"] == thinking


@pytest.mark.parametrize(("name", "conversation"), TAUGHT)
def test_each_answer_follows_the_very_prompt_that_is_served(name: str, conversation: str) -> None:
    example = CONVERSATIONS[conversation]
    made = rendered(name, conversation)
    learned = [(one, run) for one in made for run in runs(one)]
    assert len(learned) == len(turns(example))
    for (one, (start, end)), (history, message) in zip(learned, turns(example), strict=True):
        prompt = served(name, example, history)
        assert one.ids[:start].tolist() == prompt.tokens
        choice = told(name, example, prompt, one.ids[start:end].tolist())
        assert choice.text.strip() == message["content"].strip()
        assert choice.reasoning.strip() == message.get("reasoning_content", "")
        calls = [(call.name, json.loads(call.arguments)) for call in choice.tool_calls]
        functions = [call["function"] for call in message.get("tool_calls", ())]
        assert calls == [(f["name"], f["arguments"]) for f in functions]


@pytest.mark.parametrize(("name", "conversation"), TAUGHT)
def test_each_answer_ends_with_a_token_that_ends_answers(name: str, conversation: str) -> None:
    _, tokens = text_side(name)
    for one in rendered(name, conversation):
        for start, end in runs(one):
            ends = [token in tokens.eos_ids for token in one.ids[start:end].tolist()]
            assert ends == [False] * (end - start - 1) + [True]


def test_a_turn_of_weight_0_is_read_and_not_learned() -> None:
    (text,) = GOLDEN["plain"]["weights"]
    assert text.count("⟦") == 1
    assert "assistant\nb<|im_end|>" in text
    with pytest.raises(BadDataset, match="nothing in it is learned"):
        render("plain", Example(messages=(user("a"), says("b", weight=0))))


def render(name: str, example: Example) -> list[Rendered]:
    template, tokens = text_side(name)
    return render_example(example, template=template, tokenizer=tokens)


def test_a_template_that_rewrites_history_gives_a_rendering_for_each_turn() -> None:
    example = CONVERSATIONS["reasoning"]
    assert len(render("drops_reasoning", example)) == 2
    same = Example(messages=tuple(m for m in CONVERSATIONS["turns"].messages))
    assert len(render("plain", same)) == 1


def test_an_answer_that_the_template_would_lose_is_refused_by_line() -> None:
    reasoned = Example(messages=(user("a"), says("b", "c")), line=7)
    with pytest.raises(BadDataset, match=r"line 7: .*reads it back") as refusal:
        render("plain", reasoned)
    assert refusal.value.line == 7
    lost = ChatTemplate(
        TEMPLATES["plain"].replace("(m.content or '')", "(m.content or '') | upper")
    )
    _, tokens = text_side("plain")
    with pytest.raises(BadDataset, match="reads it back"):
        render_example(Example(messages=(user("a"), says("b"))), template=lost, tokenizer=tokens)


def test_a_model_of_the_catalogue_is_taught_with_the_system_message_it_is_served_with() -> None:
    template, tokens = text_side("plain")
    renderer = Renderer(template, tokens, system="Be kind.")
    example = CONVERSATIONS["weights"]
    assert shown(renderer.render(example)[0], tokens).startswith("<|im_start|>system\nBe kind.")
    own = shown(renderer.render(CONVERSATIONS["system"])[0], tokens)
    assert own == GOLDEN["plain"]["system"][0]


def test_plain_text_is_learned_whole_and_a_prompt_of_plain_text_not_at_all() -> None:
    _, tokens = text_side("plain")
    (whole,) = render_example(Example(text="So it is."), template=None, tokenizer=tokens)
    assert whole.ids.tolist() == [*tokens.encode("So it is."), tokens.eos_id]
    assert whole.learned.tolist() == [False] + [True] * (len(whole.ids) - 1)
    (pair,) = render_example(Example(before="It is ", text="so."), template=None, tokenizer=tokens)
    prompt = tokens.encode("It is ")
    assert pair.ids[: len(prompt)].tolist() == prompt
    assert pair.learned.tolist() == [False] * len(prompt) + [True] * (len(pair.ids) - len(prompt))
    with pytest.raises(BadDataset, match="no chat template"):
        render_example(CONVERSATIONS["turns"], template=None, tokenizer=tokens)


def test_no_token_spans_the_end_of_the_prompt() -> None:
    """`Hello` after a prompt that ends in `H` would be one token in a text read whole."""
    _, tokens = text_side("plain")
    merged = next(
        token
        for i in range(tokens.vocab_size)
        if len(token := tokens.token(i)) == 2 and token.isascii() and token.isalpha()
    )
    before, text = merged[0], merged[1]
    (pair,) = render_example(Example(before=before, text=text), template=None, tokenizer=tokens)
    assert len(tokens.encode(before + text)) == 1
    assert pair.ids.tolist() == [*tokens.encode(before), *tokens.encode(text), tokens.eos_id]


@pytest.mark.weights
def test_the_starter_is_taught_after_the_prompts_it_is_served(starter_path: Any) -> None:
    text = read_text_side(starter_path)
    template = ChatTemplate.from_metadata(text.templates, text.tokenizer)
    example = Example(
        messages=(user("  Hi\n"), says("\n\n Hello 🙂\n"), user("12"), says("3 <|im_end|> 4")),
        tools=TOOLS,
    )
    made = render_example(example, template=template, tokenizer=text.tokenizer)
    # In a history the first answer's line breaks are one token with the one before them, which the
    # model was given and could not say again.
    assert len(made) == 2
    learned = [(one, *run) for one in made for run in runs(one)]
    for (one, start, end), (history, message) in zip(learned, turns(example), strict=True):
        dialect = dialect_of(template.source)
        prompt = prompt_tokens(
            template, text.tokenizer, history, dialect=dialect, tools=offered(example)
        )
        assert one.ids[:start].tolist() == prompt.tokens
        said = one.ids[start : end - 1].tolist()
        assert decoded(text.tokenizer, said) == message["content"]
        assert text.tokenizer.token(int(one.ids[end - 1])) == "<|im_end|>"


def decoded(tokens: Tokenizer, said: list[int]) -> str:
    return tokens.decode(said, skip_special=False, continuing=True)
