"""A tokenizer.json that a GGUF file carries whole, held against the file's own token list.

Room: tokenizer. Must not know how either of the two is cut.
"""

from __future__ import annotations

from pathlib import Path

from freehold.errors import BadTokenizer
from freehold.formats.json_file import VOCABULARY, parse_object
from freehold.tokenizer.described import Added, DescribedCutter, describe
from freehold.tokenizer.vocabulary import Kind, Vocabulary

__all__ = ["packaged_cutter"]

_NAME = "tokenizer.huggingface.json"


def packaged_cutter(text: object, vocabulary: Vocabulary) -> DescribedCutter:
    """Builds it from `tokenizer.huggingface.json`; what is control either of the two may say.

    Raises: FormatError when it cannot be read; UnknownTokenizer; BadTokenizer when it spells an id
    otherwise than the token list.
    """
    if not isinstance(text, str) or len(text) > VOCABULARY.max_bytes:
        raise BadTokenizer(f"{_NAME}: is not a text of at most {VOCABULARY.max_bytes} characters")
    control = [
        Added(index, vocabulary.tokens[index], control=True)
        for index in vocabulary.ids_of(Kind.CONTROL, Kind.UNKNOWN)
    ]
    fields = parse_object(Path(_NAME), text.encode(), VOCABULARY)
    described = describe(fields, further=control, size=len(vocabulary.tokens))
    for token_id, token in enumerate(vocabulary.tokens):
        spelled = described.tokens[token_id]
        if spelled != token:
            raise BadTokenizer(
                f"{_NAME}: disagrees with tokenizer.ggml.tokens about id {token_id}",
                value=token_id,
                expected=repr(token[:80]),
                found=repr(spelled[:80]) if spelled else "nothing",
            )
    return described.cutter
