"""The list of models, and texts as tokens and back."""

from __future__ import annotations

from typing import Any

import pytest
from openai.types import Model

from freehold.chat.tools import Tool
from tests.server.forming import surface_client
from tests.server.openai.posting import HI, post, refusal, router
from tests.server.scripted import MODEL, ScriptedResident

A, B = ord("a"), ord("b")


def get(path: str) -> Any:
    return surface_client("openai", router()).get(path)


def test_models_are_listed_in_openai_s_form_with_vllm_s_fields() -> None:
    reply = get("/v1/models").json()
    (entry,) = reply["data"]
    assert reply["object"] == "list"
    Model.model_validate(entry, strict=True)
    assert (entry["id"], entry["root"], entry["parent"]) == (MODEL, MODEL, None)
    assert entry["max_model_len"] == 2048


def test_a_model_is_found_by_an_id_with_slashes() -> None:
    assert "/" in MODEL
    assert get(f"/v1/models/{MODEL}").json()["id"] == MODEL
    missing = get("/v1/models/nobody/nothing")
    assert (missing.status_code, missing.json()["error"]["code"]) == (404, "model_not_found")


def test_text_becomes_tokens_and_text_again() -> None:
    reply = post("/tokenize", {"model": MODEL, "prompt": "ab", "return_token_strs": True}).json()
    assert reply == {
        "count": 2,
        "max_model_len": 2048,
        "tokens": [A, B],
        "token_strs": ["a", "b"],
    }
    back = post("/detokenize", {"model": MODEL, "tokens": reply["tokens"]}).json()
    assert back == {"prompt": "ab"}


def test_a_lone_model_need_not_be_named() -> None:
    assert post("/tokenize", {"prompt": "ab"}).json()["token_strs"] is None
    assert post("/detokenize", {"tokens": [A]}).json() == {"prompt": "a"}


def test_a_harness_learns_what_it_asks_of_a_tokenizer() -> None:
    found = get("/tokenizer_info").json()
    assert (found["bos_token"], found["eos_token"]) == ("<s>", "</s>")
    assert found["model"] == MODEL
    assert found["chat_template"] is None


def test_the_beginning_of_a_text_can_be_left_out() -> None:
    from freehold.tokenizer import tokenizer_from_gguf
    from tests.tokenizer.vocabularies import byte_level

    resident = ScriptedResident(tokenizer=tokenizer_from_gguf(byte_level(add_bos_token=True)))
    with_bos = post("/tokenize", {"prompt": "a"}, resident).json()["tokens"]
    without = post("/tokenize", {"prompt": "a", "add_special_tokens": False}, resident).json()
    assert with_bos == [resident.tokenizer.bos_id, A]
    assert without["tokens"] == [A]


def test_control_tokens_are_written_out() -> None:
    resident = ScriptedResident()
    text = post("/detokenize", {"tokens": [resident.tokenizer.bos_id, A]}, resident).json()
    assert text == {"prompt": "<s>a"}


def test_a_conversation_is_tokenized_as_its_template_writes_it() -> None:
    resident = ScriptedResident()
    tools = [{"type": "function", "function": {"name": "f"}}]
    reply = post("/tokenize", {"model": MODEL, "messages": HI, "tools": tools}, resident).json()
    assert reply["tokens"] == resident.encode("user: hi\n")
    (ask,) = resident.asks
    assert ask.tools == (Tool(name="f", parameters={"type": "object", "properties": {}}),)


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        ("/tokenize", {}, "prompt"),
        ("/tokenize", {"prompt": "a", "messages": HI}, "prompt"),
        ("/tokenize", {"prompt": 5}, "prompt"),
        ("/tokenize", {"prompt": "a", "continue_final_message": True}, "continue_final_message"),
        ("/tokenize", {"messages": HI, "add_special_tokens": True}, "add_special_tokens"),
        ("/tokenize", {"messages": HI, "chat_template": "x"}, "chat_template"),
        ("/tokenize", {"messages": [{"role": "user"}]}, "messages.0.content"),
        ("/tokenize", {"prompt": "a", "colour": "red"}, "colour"),
        ("/detokenize", {"tokens": [10_000]}, "tokens.0"),
        ("/detokenize", {"tokens": [-1]}, "tokens.0"),
        ("/detokenize", {"tokens": ["a"]}, "tokens.0"),
        ("/detokenize", {}, "tokens"),
    ],
)
def test_bad_values_are_refused_by_name(path: str, body: dict[str, Any], param: str) -> None:
    assert refusal(path, body)["param"] == param
