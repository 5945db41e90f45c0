"""Completions: prompts of every form, echo, the older log probabilities, several at once."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from openai.types import Completion

from freehold.chat.tools import ResponseFormat
from freehold.errors import BadPrompt, EngineDied, PromptTooLong, QueueFull, RequestError
from freehold.server.ask import Ask, Event, Finish, TextDelta, TokenText
from freehold.server.context import Asker
from freehold.server.routes.openai.waiting import collected, merged
from tests.server.openai.posting import (
    answered,
    completion_ask,
    completion_refusal,
    post,
    streamed,
)
from tests.server.scripted import HELLO, MODEL, USAGE, ScriptedAnswer, ScriptedResident

COMPLETIONS = "/v1/completions"

# Ids of the scripted vocabulary: a byte is its own id; "hello" and " world" are merged.
A, B, E_ACUTE = ord("a"), ord("b"), list("é".encode())


def note(token: int, logprob: float, *top: TokenText) -> TokenText:
    data = bytes([token])
    return TokenText(token, data.decode(errors="replace"), data, logprob, top)


NOTED = (
    TextDelta(0, "b", (note(B, -1.0, note(A, -0.5)),)),
    TextDelta(0, "é", tuple(note(byte, -2.0) for byte in E_ACUTE)),
    Finish(0, "length"),
    USAGE,
)


def asks_for(prompt: Any, **fields: Any) -> list[Ask]:
    resident = ScriptedResident()
    reply = post(COMPLETIONS, {"model": MODEL, "prompt": prompt, **fields}, resident)
    assert reply.status_code == 200, reply.text
    return resident.asks


def test_defaults_are_openai_s() -> None:
    ask = completion_ask()
    assert (ask.max_tokens, ask.sampling.temperature, ask.n) == (16, 1.0, 1)
    assert (ask.prompt, ask.messages) == ("hi", None)


def test_every_form_of_prompt_is_taken() -> None:
    assert [ask.prompt for ask in asks_for("a")] == ["a"]
    assert [ask.prompt for ask in asks_for(["a", "b"])] == ["a", "b"]
    assert [ask.prompt for ask in asks_for([A, B])] == [(A, B)]
    assert [ask.prompt for ask in asks_for([[A], [B]])] == [(A,), (B,)]
    bos = ScriptedResident().tokenizer.bos_id
    assert [ask.prompt for ask in asks_for(None)] == [(bos,)]


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"prompt": []}, "prompt"),
        ({"prompt": [A, "b"]}, "prompt"),
        ({"prompt": [[A], [True]]}, "prompt"),
        ({"prompt": [10_000]}, "prompt"),
        ({"prompt": [-1]}, "prompt"),
        ({"prompt": {"a": 1}}, "prompt"),
        ({"prompt": ["a"] * 129}, "prompt"),
        ({"prompt": ["a"] * 65, "n": 2}, "n"),
        ({"best_of": 2}, "best_of"),
        ({"suffix": "x"}, "suffix"),
        ({"logprobs": 6}, "logprobs"),
        ({"logprobs": True}, "logprobs"),
        ({"max_tokens": -1}, "max_tokens"),
        ({"echo": 1}, "echo"),
        ({"messages": []}, "messages"),
        (
            {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": "x", "description": "y"},
                }
            },
            "response_format.json_schema.description",
        ),
    ],
)
def test_bad_values_are_refused_by_name(fields: dict[str, Any], param: str) -> None:
    assert completion_refusal(**fields)["param"] == param


def test_best_of_as_many_as_are_given_is_no_choice() -> None:
    assert completion_ask(best_of=1).n == 1
    assert asks_for("a", n=3, best_of=3)[0].n == 3


def test_structure_is_honoured_here_too() -> None:
    ask = completion_ask(guided_regex="a+")
    assert ask.response_format == ResponseFormat(kind="regex", source="a+")


def test_a_whole_answer_has_openai_s_form() -> None:
    parsed = Completion.model_validate(answered(COMPLETIONS), strict=True)
    assert parsed.choices[0].text == "Hello world"
    assert parsed.id.startswith("cmpl-")
    assert parsed.usage is not None
    assert parsed.usage.total_tokens == 10


def test_several_prompts_are_numbered_one_after_the_other() -> None:
    two: list[Event] = [
        TextDelta(0, "a"),
        TextDelta(1, "b"),
        Finish(0, "stop"),
        Finish(1, "stop"),
        USAGE,
    ]
    reply = answered(COMPLETIONS, two, prompt=["x", "y"], n=2, echo=True)
    assert [(c["index"], c["text"]) for c in reply["choices"]] == [
        (0, "xa"),
        (1, "xb"),
        (2, "ya"),
        (3, "yb"),
    ]
    assert reply["usage"]["total_tokens"] == 20
    chunks, done = streamed(
        COMPLETIONS,
        two,
        prompt=["x", "y"],
        n=2,
        echo=True,
        stream_options={"include_usage": True},
    )
    assert done
    texts: dict[int, str] = {}
    for chunk in chunks[:-1]:
        Completion.model_validate({**chunk, "choices": []})
        (choice,) = chunk["choices"]
        texts[choice["index"]] = texts.get(choice["index"], "") + choice["text"]
    assert texts == {0: "xa", 1: "xb", 2: "ya", 3: "yb"}
    assert chunks[-1]["usage"]["total_tokens"] == 20


def test_log_probabilities_have_the_older_form() -> None:
    (choice,) = answered(COMPLETIONS, NOTED, logprobs=1)["choices"]
    assert choice["logprobs"] == {
        "tokens": ["b", "bytes:\\xc3", "bytes:\\xa9"],
        "token_logprobs": [-1.0, -2.0, -2.0],
        "top_logprobs": [
            {"a": -0.5, "b": -1.0},
            {"bytes:\\xc3": -2.0},
            {"bytes:\\xa9": -2.0},
        ],
        "text_offset": [0, 1, 1],
    }
    assert choice["text"] == "bé"


def test_the_token_that_ended_a_text_has_its_place_though_no_text() -> None:
    # A harness that asks for one token more than the prompt takes the last place to be its.
    ended = (TextDelta(0, "b", (note(B, -1.0),)), Finish(0, "stop", None, note(A, -0.5)), USAGE)
    (choice,) = answered(COMPLETIONS, ended, logprobs=1)["choices"]
    assert choice["text"] == "b"
    assert choice["logprobs"]["token_logprobs"] == [-1.0, -0.5]
    assert choice["logprobs"]["text_offset"] == [0, 1]
    chunks, _ = streamed(COMPLETIONS, ended, logprobs=1)
    tables = [chunk["choices"][0]["logprobs"] for chunk in chunks]
    assert [table["token_logprobs"] for table in tables if table] == [[-1.0], [-0.5]]
    (choice,) = answered(COMPLETIONS, ended)["choices"]
    assert choice["logprobs"] is None


def echoing() -> ScriptedResident:
    notes = (None, note(B, -0.25, note(A, -0.125), note(B, -0.25)))
    return ScriptedResident(NOTED, prompt_logprobs=notes)


def test_echo_with_log_probabilities_covers_the_prompt() -> None:
    resident = echoing()
    body = {"model": MODEL, "prompt": "ab", "echo": True, "logprobs": 1, "prompt_logprobs": 2}
    (choice,) = post(COMPLETIONS, body, resident).json()["choices"]
    assert resident.asks[-1].prompt_logprobs == 2
    assert choice["text"] == "abbé"
    assert choice["logprobs"]["tokens"][:3] == ["a", "b", "b"]
    assert choice["logprobs"]["token_logprobs"][:3] == [None, -0.25, -1.0]
    assert choice["logprobs"]["top_logprobs"][:2] == [None, {"a": -0.125, "b": -0.25}]
    assert choice["logprobs"]["text_offset"] == [0, 1, 2, 3, 3]
    assert choice["prompt_logprobs"][1][str(B)]["rank"] == 2


def test_streamed_log_probabilities_join_to_the_whole_ones() -> None:
    body = {"model": MODEL, "prompt": [A, B], "echo": True, "logprobs": 1}
    (whole,) = post(COMPLETIONS, body, echoing()).json()["choices"]
    lines = post(COMPLETIONS, {**body, "stream": True}, echoing()).text.split("\n\n")
    pieces = [json.loads(line[6:])["choices"][0] for line in lines[:-2]]
    assert "".join(piece["text"] for piece in pieces) == whole["text"]
    for name, values in whole["logprobs"].items():
        tables = [piece["logprobs"] for piece in pieces if piece["logprobs"]]
        assert [value for table in tables for value in table[name]] == values


def test_no_tokens_give_the_prompt_s_part_alone() -> None:
    resident = echoing()
    body = {"model": MODEL, "prompt": "ab", "echo": True, "logprobs": 0, "max_tokens": 0}
    reply = post(COMPLETIONS, body, resident).json()
    (choice,) = reply["choices"]
    # The engine computes one token at least; nothing of it is shown or counted.
    assert resident.asks[-1].max_tokens == 1
    assert (choice["text"], choice["finish_reason"]) == ("ab", "length")
    assert choice["logprobs"]["tokens"] == ["a", "b"]
    assert reply["usage"]["completion_tokens"] == 0
    chunks, _ = streamed(COMPLETIONS, HELLO, prompt="ab", echo=True, max_tokens=0)
    assert [chunk["choices"][0]["text"] for chunk in chunks] == ["ab", ""]


@pytest.mark.parametrize("error", [PromptTooLong("no", param="messages"), BadPrompt("no")])
def test_the_runtime_s_errors_name_the_prompt(error: RequestError) -> None:
    resident = ScriptedResident(refuses=error)
    reply = post(COMPLETIONS, {"model": MODEL, "prompt": "a"}, resident)
    assert reply.json()["error"]["param"] == "prompt"


class Third(ScriptedResident):
    """A resident with room for two."""

    async def answer(self, ask: Ask, asker: Asker) -> ScriptedAnswer:
        if len(self.answers) == 2:
            raise QueueFull("full")
        return await super().answer(ask, asker)


def test_prompts_before_a_refused_one_are_closed() -> None:
    resident = Third()
    reply = post(COMPLETIONS, {"model": MODEL, "prompt": ["a", "b", "c"]}, resident)
    assert reply.status_code == 429
    assert [answer.closed for answer in resident.answers] == [True, True]


def one_of_two_dies() -> list[Any]:
    return [ScriptedAnswer(HELLO), ScriptedAnswer([EngineDied("it died")])]


async def drained(answers: list[Any]) -> None:
    async for _ in merged(answers):
        pass


@pytest.mark.parametrize("wait", [collected, drained])
def test_an_error_of_one_prompt_closes_all(wait: Any) -> None:
    answers = one_of_two_dies()
    with pytest.raises(EngineDied):
        asyncio.run(wait(answers))
    assert [answer.closed for answer in answers] == [True, True]


def test_an_error_of_one_prompt_is_the_stream_s_last_word() -> None:
    chunks, done = streamed(COMPLETIONS, [EngineDied("it died")], prompt=["a", "b"])
    assert not done
    assert chunks[-1]["error"]["code"] == "capacity.engine_died"
