"""Files of examples for tests."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

__all__ = ["chat", "few", "jsonl"]

WORDS = (
    "harbour",
    "lantern",
    "meadow",
    "copper",
    "violin",
    "glacier",
    "pepper",
    "saddle",
    "thunder",
    "window",
    "orchard",
    "pebble",
    "kettle",
    "marble",
    "feather",
    "anchor",
    "blanket",
    "candle",
    "dragon",
    "engine",
)


def chat(asked: str, answer: str, **more: Any) -> dict[str, Any]:
    return {
        "messages": [
            {"role": "user", "content": asked},
            {"role": "assistant", "content": answer, **more},
        ]
    }


def few(count: int = 20, *, begin: str = "") -> list[dict[str, Any]]:
    """Examples that are not alike."""
    return [
        chat(f"{begin}{WORDS[i % 20]} beside {WORDS[(7 * i + i // 20 + 3) % 20]}?", WORDS[i % 5])
        for i in range(count)
    ]


def jsonl(path: Path, rows: Iterable[Any]) -> Path:
    said = (row if isinstance(row, str) else json.dumps(row) for row in rows)
    path.write_text("\n".join(said) + "\n", encoding="utf-8")
    return path
