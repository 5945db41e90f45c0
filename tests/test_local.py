"""The in-process face, on the starter model and the starter embedder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import freehold
from freehold.errors import BadPrompt, BadSetting, PromptTooLong, WrongTask
from freehold.local import EmbeddingModel, Model, load_chat


def embedder(path: Path, precision: str | None = None) -> EmbeddingModel:
    model = freehold.load(path, precision=precision)
    assert isinstance(model, EmbeddingModel)
    return model


@pytest.mark.weights
def test_an_open_stream_neither_blocks_nor_disturbs_another_answer(starter_path: Path) -> None:
    model = load_chat(starter_path, context_tokens=512)
    messages = [{"role": "user", "content": "Name three rivers."}]
    alone = model.chat(messages, max_tokens=12).token_ids
    stream = model.chat(messages, max_tokens=12, stream=True)
    next(stream)
    model.generate("Once upon a time", max_tokens=4)
    for _ in stream:
        pass
    assert stream.completion.token_ids == alone


@pytest.mark.weights
def test_a_chat_model_does_not_embed(starter_path: Path) -> None:
    model = freehold.load(starter_path, context_tokens=64)
    assert isinstance(model, Model)
    with pytest.raises(WrongTask, match="chats"):
        model.embed(["a"])
    with pytest.raises(BadSetting, match="precision"):
        freehold.load(starter_path, precision="float32")


@pytest.mark.weights
def test_an_embedder_finds_the_text_that_answers(embedder_path: Path) -> None:
    model = embedder(embedder_path)
    texts = [
        "The cat sat on the mat.",
        "Paris is the capital of France.",
        "Bread is baked from flour, water and yeast.",
    ]
    vectors = model.embed(texts)
    assert vectors.shape == (3, 384)
    assert vectors.dtype == np.float32
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    for question, answer in (("Which city governs the French?", 1), ("How do I make a loaf?", 2)):
        assert int((vectors @ model.embed([question])[0]).argmax()) == answer


@pytest.mark.weights
def test_a_text_s_vector_is_the_same_bits_in_any_company(embedder_path: Path) -> None:
    model = embedder(embedder_path)
    texts = [("word " * n).strip() for n in (1, 200, 3, 17, 90, 2, 40)] * 8
    together = model.embed(texts)
    for index in (0, 1, 5, 6):
        assert np.array_equal(model.embed([texts[index]])[0], together[index])


@pytest.mark.weights
def test_a_text_too_long_is_cut_only_when_asked(embedder_path: Path) -> None:
    model = embedder(embedder_path)
    assert model.context_tokens == 256
    long = "word " * 300
    with pytest.raises(PromptTooLong) as caught:
        model.embed(["short", long])
    assert (caught.value.value, caught.value.expected) == (302, "at most 256 tokens")
    kept = "word " * 254
    assert np.array_equal(model.embed([long], truncate=True), model.embed([kept]))


@pytest.mark.weights
def test_token_ids_are_taken_as_they_are(embedder_path: Path) -> None:
    model = embedder(embedder_path)
    ids = model.tokenizer.encode("A text of some words.")
    assert np.array_equal(model.embed([ids]), model.embed(["A text of some words."]))
    for bad, words in (([[]], "no token"), ([[30522]], "outside"), ([[-1]], "outside")):
        with pytest.raises(BadPrompt, match=words):
            model.embed(bad)
    with pytest.raises(BadPrompt, match="a list"):
        model.embed("a text alone")
    assert model.embed([]).shape == (0, 384)


@pytest.mark.weights
def test_an_embedder_has_no_answers(embedder_path: Path) -> None:
    model = embedder(embedder_path)
    asks: list[Callable[[], object]] = [
        lambda: model.chat([{"role": "user", "content": "Hello"}]),
        lambda: model.generate("Hello"),
        lambda: model.logits([1]),
        lambda: load_chat(embedder_path),
    ]
    for ask in asks:
        with pytest.raises(WrongTask):
            ask()


@pytest.mark.weights
@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"precision": "int4"}, "precision"),
        ({"kv_bits": 8}, "kv_bits"),
        ({"context_tokens": 513}, "context"),
        ({"context_tokens": 2}, "context"),
    ],
)
def test_settings_that_do_not_suit_an_embedder_are_refused(
    embedder_path: Path, settings: dict[str, int], words: str
) -> None:
    with pytest.raises(BadSetting, match=words):
        freehold.load(embedder_path, **settings)  # type: ignore[arg-type]


@pytest.mark.weights
def test_a_second_turn_goes_on_from_the_first(starter_path: Path) -> None:
    """What was computed for one turn is there for the next."""
    model = load_chat(starter_path, context_tokens=1024)
    messages = [{"role": "user", "content": "Count to a hundred in words. " * 12}]
    answer = model.chat(messages, max_tokens=40)
    messages += [{"role": "assistant", "content": answer.text}, {"role": "user", "content": "On."}]
    later = model.chat(messages, max_tokens=8)
    assert model.cached_tokens >= 64
    fresh = load_chat(starter_path, context_tokens=1024)
    assert fresh.chat(messages, max_tokens=8).token_ids == later.token_ids
