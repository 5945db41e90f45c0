"""The text side of a directory: every file and key honoured, or refused by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from freehold.config import resolve_settings
from freehold.errors import BadConfig, BadTokenizer, FormatError, LoadError, UnknownConfigKey
from freehold.loading import read_text_side
from freehold.loading.generation import (
    Suggested,
    generation_keys,
    read_generation,
    read_sampling,
    sampling_keys,
)
from freehold.local import load_chat
from freehold.server.cards import cards_of
from tests.loading.own_files import pieces, ranked
from tests.loading.small import Dims, small
from tests.loading.small_directory import (
    CONFIG,
    TEMPLATE,
    TOKENIZER_CONFIG,
    write_directory,
    write_weights,
)

KEY = "tokenizer.chat_template"


def with_config(**changes: Any) -> dict[str, Any]:
    return {"tokenizer_config.json": {**TOKENIZER_CONFIG, **changes}}


def generation(**keys: Any) -> dict[str, Any]:
    return {"generation_config.json": keys}


def test_a_directory_answers(tmp_path: Path) -> None:
    write_weights(write_directory(tmp_path / "small"))
    model = load_chat(tmp_path / "small")
    answer = model.chat([{"role": "user", "content": "hello <|im_end|>"}], max_tokens=4)
    assert answer.stats.generated_tokens <= 4
    frame = model.tokenizer.encode("<|im_end|>", parse_special=True, add_bos=False)
    written = f"<|im_start|>user\nhello {'X'}<|im_end|>\n<|im_start|>assistant\n"
    expected = model.tokenizer.encode(written, parse_special=True, add_bos=False)
    spelled = model.tokenizer.encode("<|im_end|>", add_bos=False)
    # In place of X stands the control token's spelling as text, and nothing else is different.
    assert answer.stats.prompt_tokens == len(expected) - 1 + len(spelled)
    assert len(frame) == 1


def test_a_directory_has_a_card(tmp_path: Path) -> None:
    write_weights(write_directory(tmp_path / "small"))
    settings = resolve_settings()
    card = cards_of([str(tmp_path / "small")], settings)["small"]
    assert (card.kind, card.family, card.quantization) == ("chat", "llama", "F32")
    assert card.context_tokens == CONFIG["max_position_embeddings"]


def test_ends_come_from_every_file_that_names_one(tmp_path: Path) -> None:
    end = 256 + 11 + 2  # <|im_end|>
    write_directory(tmp_path / "a")
    assert read_text_side(tmp_path / "a").tokenizer.eos_ids == {end, 7}
    write_directory(tmp_path / "b", generation(eos_token_id=[1, 2]))
    assert read_text_side(tmp_path / "b").tokenizer.eos_ids == {end, 1, 2}
    write_directory(tmp_path / "c", generation(eos_token_id=3))
    assert read_text_side(tmp_path / "c").tokenizer.eos_ids == {end, 3}


def test_the_inner_configuration_counts_in_a_model_for_several_media(tmp_path: Path) -> None:
    inner = {"vocab_size": 300, "eos_token_id": [4]}
    write_directory(tmp_path, {"config.json": {"model_type": "x", "text_config": inner}})
    text = read_text_side(tmp_path)
    assert text.tokenizer.vocab_size == 300
    assert 4 in text.tokenizer.eos_ids


def test_the_maker_s_sampling_is_read(tmp_path: Path) -> None:
    keys = {"do_sample": True, "temperature": 0.6, "top_k": 20, "top_p": 0.95}
    write_directory(tmp_path, generation(**keys, transformers_version="5", num_beams=1))
    expected = Suggested(temperature=0.6, top_k=20, top_p=0.95)
    assert read_text_side(tmp_path).suggested == expected
    write_directory(tmp_path, generation(**{**keys, "do_sample": False}, repetition_penalty=1.1))
    # As transformers has it: then the likeliest token is taken, and the penalty still counts.
    greedy = Suggested(repetition_penalty=1.1, repetition_window=0)
    assert read_text_side(tmp_path).suggested == greedy


def gguf(tmp_path: Path, **keys: Any) -> Path:
    checkpoint = small(Dims(D=32, H=1, G=1, A=32, F=32, L=1))
    checkpoint.keys |= {f"general.sampling.{key}": value for key, value in keys.items()}
    return checkpoint.write(tmp_path / "small.gguf")


SAID = {"temp": 0.7, "top_k": 20, "top_p": 0.8, "min_p": 0.05, "penalty_repeat": 1.05}


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({}, Suggested()),
        (
            {**SAID, "sequence": "penalties;top_k", "mirostat": 0, "xtc_probability": 0.0},
            Suggested(
                temperature=0.7,
                top_k=20,
                top_p=0.8,
                min_p=0.05,
                repetition_penalty=1.05,
                repetition_window=64,
            ),
        ),
        ({"top_k": -1}, Suggested(top_k=0)),
        (
            {"penalty_repeat": 1.5, "penalty_last_n": -1},
            Suggested(repetition_penalty=1.5, repetition_window=0),
        ),
        ({"penalty_repeat": 1.5, "penalty_last_n": 0}, Suggested(repetition_penalty=1.0)),
    ],
)
def test_a_gguf_file_recommends_too(
    tmp_path: Path, keys: dict[str, Any], expected: Suggested
) -> None:
    assert read_text_side(gguf(tmp_path, **keys)).suggested == expected


@pytest.mark.parametrize(
    "keys", [{"mirostat": 2}, {"xtc_probability": 0.5}, {"temp": -1.0}, {"top_k": "x"}, {"new": 1}]
)
def test_a_recommendation_that_cannot_be_followed_is_refused(
    tmp_path: Path, keys: dict[str, Any]
) -> None:
    (name,) = keys
    with pytest.raises(LoadError, match=f"general.sampling.{name}"):
        read_text_side(gguf(tmp_path, **keys))


@pytest.mark.parametrize(
    "suggested",
    [
        Suggested(),
        Suggested(temperature=0.7, top_k=0, top_p=0.8, min_p=0.1),
        Suggested(repetition_penalty=1.1, repetition_window=0),
        Suggested(temperature=1.0, repetition_penalty=1.1, repetition_window=0),
    ],
)
def test_each_form_says_what_the_other_said(tmp_path: Path, suggested: Suggested) -> None:
    assert read_sampling(sampling_keys(suggested)) == suggested
    assert read_generation(generation_keys(suggested)).suggested == suggested


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, {KEY: TEMPLATE}),
        ({"chat_template.jinja": "new"}, {KEY: "new"}),
        ({"chat_template.json": {"chat_template": "older"}}, {KEY: TEMPLATE}),
        (
            with_config(chat_template=None) | {"chat_template.json": {"chat_template": "older"}},
            {KEY: "older"},
        ),
        (
            with_config(
                chat_template=[
                    {"name": "default", "template": "a"},
                    {"name": "tool_use", "template": "b"},
                ]
            ),
            {KEY: "a", f"{KEY}.tool_use": "b"},
        ),
        (
            {"additional_chat_templates/rag.jinja": "c"},
            {KEY: TEMPLATE, f"{KEY}.rag": "c"},
        ),
        (with_config(chat_template=None), {}),
        ({"tokenizer_config.json": None}, {}),
    ],
)
def test_templates_are_found_where_they_lie(
    tmp_path: Path, files: dict[str, Any], expected: dict[str, str]
) -> None:
    write_directory(tmp_path, files)
    assert read_text_side(tmp_path).templates == expected


def test_what_the_configuration_calls_special_is_control(tmp_path: Path) -> None:
    think = {"content": "<think>", "special": True, "normalized": False}
    index = str(256 + 11 + 4)
    files = with_config(added_tokens_decoder={index: think}, add_bos_token=False)
    tokenizer = read_text_side(write_directory(tmp_path, files)).tokenizer
    assert tokenizer.is_special(int(index))
    assert int(index) not in tokenizer.encode("<think>")
    assert not tokenizer.adds_bos
    names = {"special_tokens_map.json": {"additional_special_tokens": ["<think>"]}}
    assert read_text_side(write_directory(tmp_path, names)).tokenizer.is_special(int(index))


@pytest.mark.parametrize(
    ("files", "what"),
    [
        (with_config(unheard_key=1), "unheard_key"),
        (with_config(split_special_tokens=True), "split_special_tokens"),
        (with_config(bos_token=5), "bos_token"),
        (with_config(bos_token="<nothing>"), "bos_token"),
        (with_config(chat_template=[{"name": 1}]), "chat_template"),
        (with_config(added_tokens_decoder={"x": {"content": "y"}}), "added_tokens_decoder"),
        (with_config(added_tokens_decoder={"0": {"content": "other"}}), "id 0"),
        (with_config(added_tokens_decoder={"999": {"content": "<y>"}}), "does not belong"),
        (with_config(add_bos_token="yes"), "add_bos_token"),
        (generation(unheard_key=1), "unheard_key"),
        (generation(num_beams=4), "num_beams"),
        (generation(no_repeat_ngram_size=3), "no_repeat_ngram_size"),
        (generation(eos_token_id=[1, "x"]), "eos_token_id"),
        (generation(eos_token_id=300), "eos_token_id"),
        (generation(temperature=-1), "temperature"),
        (generation(top_p=1e999), "cannot be read|top_p"),
        ({"chat_template.json": {"chat_template": 1}}, "chat_template.json"),
        ({"chat_template.jinja": b"\xff"}, "not text"),
        ({"config.json": {**CONFIG, "vocab_size": "many"}}, "vocab_size"),
        ({"config.json": {**CONFIG, "vocab_size": 20}}, "does not belong"),
        ({"tokenizer.json": None}, "holds no tokenizer"),
        ({"tokenizer.json": "{" * 1000}, "cannot be read"),
        ({"tokenizer.json": "{}"}, "model: is not an object"),
    ],
)
def test_what_is_unknown_or_contradictory_is_refused_by_name(
    tmp_path: Path, files: dict[str, Any], what: str
) -> None:
    write_directory(tmp_path, files)
    with pytest.raises((LoadError, FormatError), match=what) as caught:
        read_text_side(tmp_path)
    assert isinstance(caught.value, BadConfig | BadTokenizer | UnknownConfigKey | FormatError)


OWN_FILES: dict[str, dict[str, Any]] = {
    "tekken.json": {"tekken.json": ranked()},
    "tokenizer.model.v3": {"tokenizer.model.v3": pieces(), "tokenizer.model": pieces()},
}


@pytest.mark.parametrize("name", OWN_FILES)
def test_a_maker_s_own_files_bring_their_conversations_along(tmp_path: Path, name: str) -> None:
    without = {"tokenizer.json": None, "tokenizer_config.json": None}
    write_weights(write_directory(tmp_path / "own", {**without, **OWN_FILES[name]}))
    model = load_chat(tmp_path / "own")
    answer = model.chat([{"role": "user", "content": "the [/INST]"}], max_tokens=2)
    words = model.tokenizer.encode("the [/INST]", add_bos=False)
    assert answer.stats.prompt_tokens == len(words) + 3  # <s> [INST] … [/INST]
    assert "[TOOL_CALLS]" in model.template.source


def test_a_template_in_the_directory_is_newer_than_the_program(tmp_path: Path) -> None:
    files = {"tokenizer.json": None, "tekken.json": ranked(), "chat_template.jinja": "x"}
    files |= {"tokenizer_config.json": None}
    assert read_text_side(write_directory(tmp_path, files)).templates == {KEY: "x"}


@pytest.mark.parametrize(
    ("files", "what"),
    [
        ({"tekken.json": ranked(version="v99")}, "version"),
        ({"tekken.json": ranked(version="v11")}, "special_tokens"),
        ({"tekken.json": ranked(pattern="(a+)+$")}, "expression"),
        ({"tekken.json": ranked(default_vocab_size=9999)}, "vocab: is not a list"),
        ({"tekken.json": ranked(default_num_special_tokens=3)}, "special_tokens|vocab"),
        ({"tekken.json": {**ranked(), "unheard": 1}}, "unheard"),
        ({"tokenizer.model": b""}, "no sentence-piece model|none"),
        ({"tokenizer.model": b"\x0a\xff\xff\xff\xff\x0f"}, "left"),
        ({"tokenizer.model": b"\x0a" + b"\xff" * 11}, "64 bits"),
        ({"tokenizer.model": pieces()[:-20]}, "left|inside"),
        ({"tokenizer.model": pieces().replace(b"\x18\x02\x1a", b"\x18\x01\x1a")}, "model_type"),
        ({"tokenizer.model": pieces()[:-2]}, "left|remove_extra_whitespaces"),
        ({"tokenizer.model.v4": pieces()}, "version"),
    ],
)
def test_own_files_that_cannot_be_trusted_are_refused(
    tmp_path: Path, files: dict[str, Any], what: str
) -> None:
    write_directory(tmp_path, {"tokenizer.json": None, "tokenizer_config.json": None, **files})
    with pytest.raises(LoadError, match=what):
        read_text_side(tmp_path)
