"""The starter model's tokenizer gives the ids that llama.cpp gives, text by text."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from freehold.formats.gguf import open_gguf
from freehold.tokenizer import Tokenizer, tokenizer_from_gguf

GOLDEN = Path(__file__).with_name("golden_smollm2.json")
# Alone on a two-core machine it takes 0.1 s; beside other work, caches are cold and it takes more.
MOST_SECONDS = 0.5


@pytest.fixture(scope="module")
def tokenizer(starter_path: Path) -> Tokenizer:
    with open_gguf(starter_path) as file:
        return tokenizer_from_gguf(file.metadata)


def cases() -> list[tuple[str, list[int], list[int]]]:
    """Text, ids with control strings as text, ids with control strings read."""
    frozen = json.loads(GOLDEN.read_text("utf-8"))["cases"]
    return [(text, plain, (rest or [plain])[0]) for text, plain, *rest in frozen]


def test_the_golden_file_is_worth_reading() -> None:
    assert len(cases()) > 400
    assert sum(plain != special for _, plain, special in cases()) > 20


@pytest.mark.weights
def test_text_matches_llama_cpp(tokenizer: Tokenizer) -> None:
    wrong = [text for text, ids, _ in cases() if tokenizer.encode(text) != ids]
    assert wrong == []


@pytest.mark.weights
def test_text_with_control_tokens_read_matches_llama_cpp(tokenizer: Tokenizer) -> None:
    wrong = [t for t, _, ids in cases() if tokenizer.encode(t, parse_special=True) != ids]
    assert wrong == []


@pytest.mark.weights
def test_decoding_gives_the_text_back(tokenizer: Tokenizer) -> None:
    for text, plain, special in cases():
        assert tokenizer.decode(plain) == text
        assert tokenizer.decode(special, skip_special=False) == text


@pytest.mark.weights
def test_facts_of_the_starter(tokenizer: Tokenizer) -> None:
    assert tokenizer.vocab_size == 49152
    assert tokenizer.bos_id == 1
    assert tokenizer.adds_bos is False
    assert {tokenizer.token(i) for i in tokenizer.eos_ids} == {"<|im_end|>"}


@pytest.mark.weights
def test_building_it_is_quick(starter_path: Path) -> None:
    with open_gguf(starter_path) as file:
        metadata = file.metadata
        took_s = []
        for _ in range(3):
            # Time of this thread, so that a busy machine does not fail the test.
            start_s = time.thread_time()
            tokenizer_from_gguf(metadata)
            took_s.append(time.thread_time() - start_s)
    assert min(took_s) < MOST_SECONDS
