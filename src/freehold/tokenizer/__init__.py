"""Text to token ids and back, rebuilt from what a model file says about its tokenizer.

Room: tokenizer. Knows GGUF's names for tokenizer metadata, the forms in which makers publish their
tokenizers, and the `tokenizers` library; must not know models, chat templates or requests.
"""

from __future__ import annotations

from freehold.tokenizer.build import tokenizer_from_gguf
from freehold.tokenizer.described import Added, added_tokens
from freehold.tokenizer.encoder import EncoderTokenizer
from freehold.tokenizer.hub import Beside, tokenizer_from_json
from freehold.tokenizer.pieces import MAX_PIECES_BYTES, tokenizer_from_pieces
from freehold.tokenizer.ranked import Conversations, tokenizer_from_ranks
from freehold.tokenizer.splits import split_name_of
from freehold.tokenizer.stream import TextStream
from freehold.tokenizer.tokenizer import Tokenizer
from freehold.tokenizer.written import tokenizer_json

__all__ = [
    "MAX_PIECES_BYTES",
    "Added",
    "Beside",
    "Conversations",
    "EncoderTokenizer",
    "TextStream",
    "Tokenizer",
    "added_tokens",
    "split_name_of",
    "tokenizer_from_gguf",
    "tokenizer_from_json",
    "tokenizer_from_pieces",
    "tokenizer_from_ranks",
    "tokenizer_json",
]
