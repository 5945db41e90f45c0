"""Which tokens a model is fitted to and judged by, as if each text had been read whole."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from freehold.loading.text import read_text_side
from freehold.quantize.texts import Pieces, built_in, read_texts
from freehold.tokenizer import Tokenizer


@pytest.fixture(scope="module")
def tokenizer(starter_path: Path) -> Tokenizer:
    return read_text_side(starter_path).tokenizer


def ids(tokenizer: Tokenizer, text: str) -> list[int]:
    return tokenizer.encode(text, add_bos=False, add_eos=False, parse_special=False)


def joined(pieces: Pieces, tokenizer: Tokenizer) -> list[int]:
    lead = int(tokenizer.adds_bos)
    return [token for piece in pieces for token in piece[lead:]]


@pytest.mark.parametrize("count", [100, 511, 2000])
@pytest.mark.parametrize(
    "made",
    [
        pytest.param(lambda text: text, id="prose"),
        pytest.param(lambda _text: "   \n\n 1234567890 ,;.!? \t" * 3000, id="many tokens"),
        pytest.param(lambda _text: "неразличимость 山川異域風月同天 🧑‍🚀 " * 2000, id="scripts"),
        pytest.param(lambda _text: "a" * 60_000, id="one word"),
    ],
)
def test_the_first_tokens_are_those_of_the_whole_text(
    tokenizer: Tokenizer, tmp_path: Path, made: Callable[[str], str], count: int
) -> None:
    text = made(built_in().read_text("utf-8"))
    path, judge = tmp_path / "a.txt", tmp_path / "b.txt"
    path.write_text(text, "utf-8")
    judge.write_text(text[::-1], "utf-8")
    texts = read_texts(tokenizer, [path], judge, calibration_tokens=count, held_out_tokens=count)
    assert joined(texts.calibration, tokenizer) == ids(tokenizer, text)[:count]
    assert joined(texts.held_out, tokenizer) == ids(tokenizer, text[::-1])[:count]


def test_texts_follow_one_another_until_there_are_enough(
    tokenizer: Tokenizer, tmp_path: Path
) -> None:
    words = ("one fjord " * 60, "two lakes " * 60, "three seas " * 60)
    paths = [tmp_path / f"{i}.txt" for i in range(3)]
    for path, text in zip(paths, words, strict=True):
        path.write_text(text, "utf-8")
    whole = [token for text in words for token in ids(tokenizer, text)]
    for count in (100, len(whole) - 70, len(whole) + 70):
        texts = read_texts(
            tokenizer, paths, paths[0], calibration_tokens=count, held_out_tokens=100
        )
        assert joined(texts.calibration, tokenizer) == whole[:count]
    none = read_texts(tokenizer, paths, paths[0], calibration_tokens=0, held_out_tokens=100)
    assert none.calibration == ()
    assert none.held_out_tokens


def test_without_another_text_the_end_judges(tokenizer: Tokenizer) -> None:
    texts = read_texts(tokenizer, [], None, calibration_tokens=200, held_out_tokens=100)
    whole = ids(tokenizer, built_in().read_text("utf-8"))
    assert joined(texts.calibration, tokenizer) == whole[:200]
    assert joined(texts.held_out, tokenizer) == whole[-100:]
