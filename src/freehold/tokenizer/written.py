"""What a GGUF file says of its tokenizer, as a tokenizer.json that other programs read.

Room: tokenizer. Byte-level vocabularies only, or those that carry their tokenizer.json. Whoever
writes it reads it again and compares.
"""

from __future__ import annotations

import json
from typing import Any

import tokenizers
from tokenizers import decoders, models, processors

from freehold.errors import BadTokenizer, UnknownTokenizer
from freehold.tokenizer.backend import LibraryRefusal
from freehold.tokenizer.splits import split_named
from freehold.tokenizer.vocabulary import BYTE_LEVEL, Kind, Metadata, Vocabulary, read_vocabulary

__all__ = ["tokenizer_json"]


def tokenizer_json(metadata: Metadata) -> dict[str, Any]:
    """The fields of a tokenizer.json. Raises: UnknownTokenizer, BadTokenizer."""
    packaged = metadata.get("tokenizer.huggingface.json")
    if isinstance(packaged, str):
        found = json.loads(packaged)
        assert isinstance(found, dict), "read by the tokenizer before"
        return found
    vocabulary = read_vocabulary(metadata)
    if vocabulary.model != BYTE_LEVEL:
        raise UnknownTokenizer(
            "vocabularies of sentence pieces cannot be written as tokenizer.json yet",
            expected="a byte-level vocabulary",
            found=vocabulary.model,
            hint="export as GGUF, or start from the model's safetensors directory",
        )
    built = _built(vocabulary)
    fields = json.loads(built.to_str())
    assert isinstance(fields, dict), "the library writes an object"
    return fields


def _built(vocabulary: Vocabulary) -> tokenizers.Tokenizer:
    split = split_named(vocabulary.pre)
    unused = set(vocabulary.ids_of(Kind.UNUSED))
    ids = {token: index for index, token in enumerate(vocabulary.tokens) if index not in unused}
    merges = [(left, right) for left, _, right in (m.partition(" ") for m in vocabulary.merges)]
    known = [pair for pair in merges if {*pair, "".join(pair)} <= ids.keys()]
    with LibraryRefusal("tokenizer.ggml.merges"):
        model = models.BPE(vocab=ids, merges=known, ignore_merges=split.whole_words)
    built = tokenizers.Tokenizer(model)
    normalizer = split.normalizer()
    if normalizer is not None:
        built.normalizer = normalizer
    built.pre_tokenizer = split.pre_tokenizer()
    built.decoder = decoders.ByteLevel()
    for kinds, special in (((Kind.CONTROL, Kind.UNKNOWN), True), ((Kind.USER_DEFINED,), False)):
        some = [
            tokenizers.AddedToken(vocabulary.tokens[i], normalized=False, special=special)
            for i in vocabulary.ids_of(*kinds)
        ]
        added = built.add_special_tokens if special else built.add_tokens
        added(some)
    _add_marks(built, vocabulary)
    return built


def _add_marks(built: tokenizers.Tokenizer, vocabulary: Vocabulary) -> None:
    """What goes before and after a plain text. Mutates: built."""
    adds_bos = vocabulary.adds_bos
    if adds_bos is None:
        adds_bos = split_named(vocabulary.pre).adds_bos and "bos" in vocabulary.roles
    before = [vocabulary.roles["bos"]] if adds_bos and "bos" in vocabulary.roles else []
    after = [vocabulary.roles["eos"]] if vocabulary.adds_eos and "eos" in vocabulary.roles else []
    if not before and not after:
        built.post_processor = processors.ByteLevel(trim_offsets=False)
        return
    names = {index: vocabulary.tokens[index] for index in (*before, *after)}
    if any(" " in name or ":" in name for name in names.values()):
        raise BadTokenizer("a token that begins or ends texts has a name that cannot be written")
    single = [*(names[i] for i in before), "$A", *(names[i] for i in after)]
    built.post_processor = processors.TemplateProcessing(
        single=" ".join(single), special_tokens=[(name, index) for index, name in names.items()]
    )
