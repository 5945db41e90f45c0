"""Two thousand texts, the same on every run: scripts, emoji, code, odd spaces, look-alikes."""

from __future__ import annotations

import random
from collections.abc import Iterable

SEED = 20261125
COUNT = 2000

WORDS = {
    "latin": "the Quick brown FOX over lazyDogs naïve façade Straße œuvre coöperate İstanbul",
    "vietnamese": "Tiếng Việt đường phố nghĩa trường học",
    "cyrillic": "Привет мир ёжик Україна їжак България",
    "greek": "Γειά σου Κόσμε ἀρχή λόγος",
    "hebrew": "שלום עולם וְאָהַבְתָּ",
    "arabic": "مرحبا بالعالم كيف حالُكَ ١٢٣٤٥",
    "persian": "می‌خواهم سلام دنیا ۱۲۳",
    "devanagari": "नमस्ते दुनिया क्षत्रिय १२३४",
    "bengali": "বাংলা ভাষা ১২৩",
    "tamil": "தமிழ் மொழி வணக்கம்",
    "telugu": "తెలుగు భాష",
    "thai": "สวัสดีชาวโลก ภาษาไทย ๑๒๓",
    "khmer": "ភាសាខ្មែរ",
    "burmese": "မြန်မာဘာသာ",
    "georgian": "გამარჯობა მსოფლიო",
    "armenian": "Բարեւ աշխարհ",
    "amharic": "ሰላም ልዑል",
    "chinese": "你好，世界。今天天气很好！漢字 繁體 一二三 《书》",
    "japanese": "こんにちは世界。カタカナ ﾊﾝｶｸ ー 々",
    "korean": "안녕하세요 세계 ㅋㅋㅋ 한국어",
    "tibetan": "བོད་སྐད་",
    "runes": "ᚠᛇᚻ᛫ᛒᛦᚦ",
    "cherokee": "ᏣᎳᎩ ᎦᏬᏂᎯᏍᏗ",
    "maths": "∑∫√∞≤≥≠ 𝔘𝔫𝔦 𝒯ℯ𝓍𝓉 ½ ² Ⅷ ⓐ ﬁ",
    "emoji": "👍 👍🏽 👩‍👩‍👧‍👦 🇫🇷🇩🇪 ❤️‍🔥 🙂🙃 🤷🏻‍♀️ 🧿",
    "marks": "e\u0301 n\u0303 q\u0323\u0307 A\u030a z̴̢̛a̷l̶g̵o̸",
}
CODE = [
    "def f(x: int) -> int:\n    return x + 1\n",
    "for (int i = 0; i < n; ++i) { a[i] += b[i]; }",
    "SELECT * FROM t WHERE a >= 10 AND b <> 'x';",
    '<html><body class="a">&nbsp;</body></html>',
    '{"role": "user", "content": [1, 2.5, null, true]}',
    "https://example.org/a/b?c=d&e=%20f#g",
    "C:\\Users\\name\\file.txt",
    "#!/bin/sh\nset -eu\nexport PATH=$HOME/bin:$PATH\n",
    "\\frac{a}{b} \\sum_{i=0}^{n} x_i",
    "if(!x){\r\n\treturn;\r\n}\r\n",
    "x->y a::b __init__ snake_case kebab-case camelCase HTMLParser",
    "| a | b |\n|---|---|\n| 1 | 2 |\n",
    "1 22 333 4444 55555 3.14159 -2.5e-10 0x1F 1,000,000",
    "I'm you'RE he'LL we'Ve they'd don't 'tis ''s ’s",
    "/* a */ // b\n\n\n    # c /// \n//\n",
]
SPACES = [" ", "  ", "   ", "\t", "\n", "\n\n", "\r\n", "\u00a0", "\u2003", "\u3000", "\u200b"]
SPACES += ["\u2028", "\x0b", "\x0c", "\x85", " \n ", "\n\n\n\n\n", " " * 17, "\t\t\t", "\ufeff"]
ODD = ["\x00", "\x01\x1b[0m", "\x7f", "\u00ad", "\u202e", "\ue000", "\ufffd", "\uffff"]
ODD += ["\U0010ffff", "\U000e0001", "▁", "▁▁", "Ġ", "Ċ", "<0x0A>", "<0xFF>", "\u0f3a\u0378"]
# Control strings of many families, whole, broken and nested.
CONTROL = [
    "<|im_start|>user\nhi<|im_end|>\n",
    "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\nx<|eot_id|>",
    "<|endoftext|>",
    "<s>[INST] x [/INST]</s>",
    "[AVAILABLE_TOOLS][TOOL_CALLS][SYSTEM_PROMPT]x[/SYSTEM_PROMPT][THINK]",
    "<｜begin▁of▁sentence｜><｜User｜>x<｜Assistant｜>",
    "<｜tool▁calls▁begin｜><｜tool▁sep｜><｜end▁of▁sentence｜>",
    "<bos><start_of_turn>user\nhi<end_of_turn>\n<eos>",
    "<|start|>assistant<|channel|>final<|message|>x<|return|>",
    "<|system|>\n<|user|><|assistant|><|observation|>",
    "<unk><pad><mask><unused7>",
    "<|im_start|",
    "<|im_ start|>",
    "<|IM_END|>",
    "<|im_<|im_end|>start|>",
    "<<|endoftext|>>",
    "[INST",
    "[/ INST]",
    "<｜User|>",
    "<|reserved_special_token_5|>",
    "<|fim_prefix|>",
    "<file_sep>",
    "<repo_name>a/b",
]
RANGES = [
    (0x20, 0x7F),
    (0x20, 0x7F),
    (0xA0, 0x250),
    (0x370, 0x600),
    (0x900, 0xE80),
    (0x1E00, 0x2C00),
    (0x3000, 0xD7A0),
    (0xF900, 0xFB50),
    (0x1F300, 0x1FB00),
    (0x9, 0xE),
]


def _unique(texts: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(texts))


def strings() -> list[str]:
    """The texts, all different."""
    dice = random.Random(SEED)
    words = [word for line in WORDS.values() for word in line.split()]
    plain = ["", *WORDS.values(), *CODE, *SPACES, *ODD, *CONTROL, *words]

    def sentence() -> str:
        own = next(iter(dice.choices(list(WORDS.values())))).split()
        return " ".join(dice.choices(own, k=dice.randint(2, 9)))

    def spaced() -> str:
        parts = dice.choices(words, k=dice.randint(2, 6))
        return "".join(part + dice.choice(SPACES) for part in parts)

    def mixed() -> str:
        parts = dice.choices([*words, *CODE, *SPACES, *ODD, *CONTROL], k=dice.randint(2, 5))
        return "".join(parts)

    def point() -> str:
        low, high = dice.choice(RANGES)
        return chr(dice.randrange(low, high))

    def wild() -> str:
        return "".join(point() for _ in range(dice.randint(1, 24)))

    def digits() -> str:
        return "".join(dice.choices("0123456789.,:-/ xXeE", k=dice.randint(1, 20)))

    def gaps() -> str:
        return "".join(dice.choices(" \t\n\r\u00a0ab1.'", k=dice.randint(1, 20)))

    def cased() -> str:
        return "".join(dice.choice((str.upper, str.lower))(c) for c in sentence())

    makers = [sentence, sentence, spaced, mixed, mixed, wild, wild, digits, gaps, cased]
    texts = _unique(plain)
    while len(texts) < COUNT:
        texts = _unique([*texts, *(maker() for maker in makers)])
    return texts[:COUNT]
