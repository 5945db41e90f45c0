"""Small files in a maker's own forms: ranked bytes, and sentence pieces."""

from __future__ import annotations

import base64
import struct
from typing import Any

from freehold.tokenizer.splits import SPLITS


def ranked(**config: Any) -> dict[str, Any]:
    """A tekken.json: the bytes, a few merged ones, the early control tokens."""
    tokens = [bytes([byte]) for byte in range(256)] + [b"he", b"ll", b"hell", b"hello", b" w"]
    vocab = [
        {"rank": rank, "token_bytes": base64.b64encode(token).decode(), "token_str": None}
        for rank, token in enumerate(tokens)
    ]
    (pattern,) = SPLITS["tekken"].patterns
    settings = {
        "pattern": pattern,
        "num_vocab_tokens": len(tokens),
        "default_vocab_size": len(tokens) + 24,
        "default_num_special_tokens": 24,
        "version": "v3",
    }
    return {"config": {**settings, **config}, "vocab": vocab}


def piece(text: str, score: float, kind: int) -> bytes:
    raw = text.encode()
    inner = b"\x0a" + bytes([len(raw)]) + raw + b"\x15" + struct.pack("<f", score)
    inner += b"\x18" + bytes([kind])
    return b"\x0a" + bytes([len(inner)]) + inner


def pieces() -> bytes:
    """A sentence-piece model file."""
    marks = ["[INST]", "[/INST]", "[AVAILABLE_TOOLS]", "[/AVAILABLE_TOOLS]", "[TOOL_CALLS]"]
    listed = [("<unk>", 2), ("<s>", 3), ("</s>", 3), *((mark, 3) for mark in marks)]
    listed += [(f"<0x{byte:02X}>", 6) for byte in range(256)]
    listed += [(text, 1) for text in ["▁t", "he", "▁the", "▁", "t", "h", "e"]]
    data = b"".join(piece(text, -float(i), kind) for i, (text, kind) in enumerate(listed))
    trainer = b"\x18\x02"  # BPE
    normalizer = b"\x0a\x08identity" + b"\x20\x00"  # spaces stay
    return (
        data
        + b"\x12"
        + bytes([len(trainer)])
        + trainer
        + b"\x1a"
        + bytes([len(normalizer)])
        + (normalizer)
    )
