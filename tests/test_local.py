"""The in-process face, on the starter model."""

from __future__ import annotations

from pathlib import Path

import pytest

import freehold


@pytest.mark.weights
def test_an_open_stream_neither_blocks_nor_disturbs_another_answer(starter_path: Path) -> None:
    model = freehold.load(starter_path, context_tokens=512)
    messages = [{"role": "user", "content": "Name three rivers."}]
    alone = model.chat(messages, max_tokens=12).token_ids
    stream = model.chat(messages, max_tokens=12, stream=True)
    next(stream)
    model.generate("Once upon a time", max_tokens=4)
    for _ in stream:
        pass
    assert stream.completion.token_ids == alone
