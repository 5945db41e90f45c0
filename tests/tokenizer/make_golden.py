"""Writes golden_smollm2.json: what llama.cpp makes of a few hundred strings.

    python tests/tokenizer/make_golden.py STARTER.gguf tests/tokenizer/golden_smollm2.json

Oracle: llama-cpp-python 0.3.36 (the version is written into the file). The tests read the frozen
file, so that they need neither llama.cpp nor a compiler.
"""

from __future__ import annotations

import itertools
import json
import random
import sys
from pathlib import Path

SEED = 20261123

# One text per line of thought: scripts, emoji, code, digits, spaces, control look-alikes.
TEXTS = [
    "",
    " ",
    "  ",
    "     ",
    "a",
    " a",
    "a ",
    "  a  ",
    "\n",
    "\n\n",
    "\n \n",
    " \n",
    "\t",
    "\t\t\tx",
    "\r\n",
    "line\r\nline\rline\n",
    "trailing   ",
    "   leading",
    "a  b   c    d",
    "Hello, world!",
    "hello world",
    "HELLO WORLD",
    "Hello   World  !",
    "The capital of France is Paris.",
    "I'm you're he's she'll we've they'd don't I'M YOU'RE",
    "’tis ‘quoted’ “double” — dash – en … ellipsis",
    "don´t can`t",
    "0123456789",
    "1 22 333 4444 55555",
    "3.14159 -2.5e-10 0x1F 1,000,000 ½ ² Ⅷ ٣٤ १२३ 一二三",
    "2026-11-23T20:15:00Z",
    "v1.2.3-rc.4+build.5",
    "a1b2c3",
    "x=1;y=2;z=x*y",
    "def f(x: int) -> int:\n    return x + 1\n",
    "for (int i = 0; i < n; ++i) { a[i] += b[i]; }",
    "SELECT * FROM t WHERE a >= 10 AND b <> 'x';",
    '<html><body class="a">&nbsp;</body></html>',
    '{"role": "user", "content": [1, 2.5, null, true]}',
    "https://example.org/a/b?c=d&e=%20f#g",
    "user@example.org",
    "C:\\Users\\name\\file.txt",
    "```python\nprint('hi')\n```",
    "| a | b |\n|---|---|\n| 1 | 2 |",
    "\\frac{a}{b} \\sum_{i=0}^{n} x_i",
    "#!/bin/sh\nset -eu\n",
    "....",
    "!!!???",
    "---===+++",
    "((()))[[]]{{}}",
    "<<>>",
    "$100 €50 £20 ¥1000 ₿",
    "Grüße aus München, Straße, ÄÖÜ ß",
    "Ça va? Où êtes-vous? Noël, cœur, garçon",
    "¿Cómo estás? ¡Muy bien! El niño",
    "Привет, как дела? Ёжик",
    "Γειά σου Κόσμε",
    "שלום עולם",
    "مرحبا بالعالم، كيف حالك؟",
    "नमस्ते दुनिया",
    "สวัสดีชาวโลก",
    "你好，世界。今天天气很好。",
    "こんにちは世界。カタカナ ﾊﾝｶｸ",
    "안녕하세요 세계",
    "ሰላም ልዑል",
    "ᚠᛇᚻ᛫ᛒᛦᚦ",
    "Việt Nam đất nước",
    "İstanbul ıI",
    "e\u0301 vs é; n\u0303 vs ñ; A\u030a vs Å",
    "z̴̢̛a̷l̶g̵o̸",
    "👍",
    "👍🏽",
    "👩‍👩‍👧‍👦",
    "🇫🇷🇩🇪",
    "❤️‍🔥",
    "🙂🙃",
    "a🙂b",
    "🤷🏻‍♀️ ok",
    "\U0001f9ff",
    "𝔘𝔫𝔦𝔠𝔬𝔡𝔢 𝒯ℯ𝓍𝓉",
    "\u00a0nbsp\u00a0",
    "\u2003em\u2003space",
    "\u200bzero\u200bwidth",
    "\u3000ideographic",
    "\ufeffbom",
    "\u202eright-to-left",
    "soft\u00adhyphen",
    "\u2028line\u2029para",
    "\x0b\x0c",
    "\x00",
    "a\x00b",
    "\x01\x02\x1b[0m",
    "\x7f",
    "\x80\x9f",
    "\ue000",
    "\ufffd",
    "\uffff",
    "\U0010ffff",
    "\U000e0001",
    "<|im_start|>",
    "<|im_end|>",
    "<|im_start|>user\nhi<|im_end|>\n",
    "<|im_start|",
    "<|im_ start|>",
    "<|endoftext|>",
    "<|endoftext|><|endoftext|>",
    " <|im_end|> ",
    "<|IM_END|>",
    "<file_sep>x",
    "<repo_name>a/b",
    "<|im_start|><|im_end|>",
    "<|im_<|im_end|>start|>",
    "<think>x</think>",
    "<s>",
    "</s>",
    "[INST] x [/INST]",
    "<unk>",
    "<0x0A>",
    "<pad>",
    "\u2581",
    "Ġ",
    "ĠĠ a",
    "Ċ",
]


def generated() -> list[str]:
    """Random strings, the same on every run: mixed pieces, and code points from everywhere."""
    dice = random.Random(SEED)
    pieces = [text for text in TEXTS if text]
    mixed = ["".join(dice.choices(pieces, k=dice.randint(2, 4))) for _ in range(120)]
    spaced = [" ".join(dice.choices(pieces, k=3)) for _ in range(40)]
    ranges = [
        (0x20, 0x7F),
        (0x20, 0x7F),
        (0xA0, 0x250),
        (0x370, 0x600),
        (0x900, 0xE80),
        (0x1E00, 0x2C00),
        (0x3000, 0xD7A0),
        (0x1F300, 0x1FB00),
        (0x9, 0xE),
    ]

    def point() -> str:
        low, high = dice.choice(ranges)
        return chr(dice.randrange(low, high))

    wild = ["".join(point() for _ in range(dice.randint(1, 24))) for _ in range(120)]
    spaces = ["".join(dice.choices(" \t\n\r\u00a0ab1.", k=dice.randint(1, 16))) for _ in range(60)]
    return mixed + spaced + wild + spaces


def main() -> None:
    import llama_cpp

    model = llama_cpp.Llama(model_path=sys.argv[1], vocab_only=True, verbose=False)
    texts = list(dict.fromkeys(itertools.chain(TEXTS, generated())))
    cases = []
    for text in texts:
        raw = text.encode()
        plain = model.tokenize(raw, add_bos=False, special=False)
        special = model.tokenize(raw, add_bos=False, special=True)
        cases.append([text, plain] if plain == special else [text, plain, special])
    head = {"oracle": f"llama-cpp-python {llama_cpp.__version__}", "seed": SEED, "cases": []}
    lines = ",\n".join(json.dumps(case, separators=(",", ":")) for case in cases)
    body = json.dumps(head, indent=1).replace('"cases": []', f'"cases": [\n{lines}\n]')
    Path(sys.argv[2]).write_text(body + "\n", encoding="utf-8")
    print(f"{len(cases)} cases")


if __name__ == "__main__":
    main()
