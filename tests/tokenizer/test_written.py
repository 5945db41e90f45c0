"""Claims about writing a GGUF file's tokenizer as tokenizer.json: it cuts every text alike, read
here and by the library itself (tokenizers 0.22)."""

from __future__ import annotations

import json

import pytest
import tokenizers

from freehold.errors import UnknownTokenizer
from freehold.tokenizer import Beside, tokenizer_from_gguf, tokenizer_from_json, tokenizer_json
from freehold.tokenizer.splits import SPLITS
from tests.tokenizer.strings import strings
from tests.tokenizer.vocabularies import byte_level, sentence_piece

SOME = [*strings()[:150], "hello world 123 <think> x </think>  </s> <|im_end|>"]


@pytest.mark.parametrize("name", SPLITS)
def test_every_way_of_cutting_words_is_kept(name: str) -> None:
    metadata = byte_level(pre=name, add_bos_token=None)
    own = tokenizer_from_gguf(metadata)
    fields = tokenizer_json(metadata)
    beside = Beside(
        size=own.vocab_size,
        bos=own.token(own.bos_id or 0),
        eos=own.token(own.eos_id or 0),
        adds_bos=own.adds_bos,
    )
    again = tokenizer_from_json(fields, beside)
    library = tokenizers.Tokenizer.from_str(json.dumps(fields))
    for text in SOME:
        assert again.encode(text) == own.encode(text)
        special = own.encode(text, parse_special=True)
        assert again.encode(text, parse_special=True) == special
        if not text.startswith(beside.bos or "\0"):  # which the library would put there again
            assert library.encode(text).ids == special


def test_a_vocabulary_of_sentence_pieces_is_refused() -> None:
    with pytest.raises(UnknownTokenizer, match="sentence pieces"):
        tokenizer_json(sentence_piece())


def test_a_file_that_carries_its_tokenizer_json_gives_it_back() -> None:
    fields = tokenizer_json(byte_level())
    metadata = byte_level() | {"tokenizer.huggingface.json": json.dumps(fields)}
    assert tokenizer_json(metadata) == fields
