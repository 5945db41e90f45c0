"""The lines that an export is compared with its adapter on.

Room: tune. Reads texts and data sets; must not know models or records.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from freehold.chat.templates import ChatTemplate
from freehold.errors import BadDataset
from freehold.loading.text import TextSide
from freehold.quantize.texts import LEAST_TOKENS, built_in, read_texts
from freehold.tune.datasets import Example, Preference, read_examples
from freehold.tune.datasets.masking import Renderer
from freehold.tune.export.drift import Lines, Said
from freehold.tune.probes import CONVERSATIONS

__all__ = ["read_lines"]

_DATA = (".jsonl", ".json", ".csv", ".parquet")


def read_lines(
    text: TextSide, path: Path | None, *, tokens: int, system: str | None = None
) -> Lines:
    """At most so many tokens of a file, in whole lines; what comes with Freehold without one.

    `system` leads conversations that have no system message, as it did in training.
    Of a data set only what is learned is compared; of other texts every token.
    Raises: BadDataset naming the line, BadRecipe for a text that cannot be read.
    """
    if path is None:
        said = [*_own_conversations(text, system), *_prose(text, built_in(), tokens)]
        return Lines.of(_first(said, tokens), "built-in text")
    if path.suffix in _DATA:
        return Lines.of(_first(_conversations(text, path, system), tokens), path.name)
    return Lines.of(_first(_prose(text, path, tokens), tokens), path.name)


def _first(said: Iterable[Said], tokens: int) -> list[Said]:
    """The first lines that fit; at least one."""
    kept: list[Said] = []
    used = 0
    for line in said:
        if kept and used + len(line.ids) > tokens:
            break
        kept.append(line)
        used += len(line.ids)
    return kept


def _prose(text: TextSide, path: Path, tokens: int) -> list[Said]:
    texts = read_texts(
        text.tokenizer,
        (path,),
        path,
        calibration_tokens=0,
        held_out_tokens=max(tokens, LEAST_TOKENS),
    )
    return [Said(ids, (True,) * len(ids)) for ids in texts.held_out]


def _own_conversations(text: TextSide, system: str | None) -> Iterator[Said]:
    """Those of the fixed conversations that this template can render."""
    if not text.templates:
        return
    renderer = _renderer(text, system)
    for messages in CONVERSATIONS.values():
        if any(message.get("tool_calls") for message in messages):
            continue
        try:
            yield from _said(renderer, Example(messages=tuple(map(dict, messages))))
        except BadDataset:  # a form of conversation that the model was not taught
            continue


def _conversations(text: TextSide, path: Path, system: str | None) -> Iterator[Said]:
    renderer = _renderer(text, system)
    for one in read_examples(path):
        examples = one.answers[:1] if isinstance(one, Preference) else (one,)
        for example in examples:
            yield from _said(renderer, example)


def _renderer(text: TextSide, system: str | None) -> Renderer:
    template = (
        ChatTemplate.from_metadata(text.templates, text.tokenizer) if text.templates else None
    )
    return Renderer(template, text.tokenizer, system=system)


def _said(renderer: Renderer, example: Example) -> Iterator[Said]:
    for one in renderer.render(example):
        yield Said(tuple(one.ids.tolist()), tuple(one.learned.tolist()))
