"""A dataset's lines -> tokens to learn from, by the very rendering that serving uses.

Room: tune. Must not know torch. What is too long is refused or split, as was asked, and counted.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from freehold.chat.templates import ChatTemplate
from freehold.errors import BadTraining
from freehold.loading.text import TextSide, read_text_side
from freehold.tune.datasets import Example, Preference, read_examples
from freehold.tune.datasets.masking import Renderer
from freehold.tune.training.packing import Bundle, Tokens
from freehold.tune.training.spec import TrainSpec

__all__ = ["Lessons", "read_lessons"]


@dataclass(frozen=True)
class Lessons:
    """What is learned from, and what judges it.

    `split` counts the pieces that examples beyond `max_tokens` were cut into, beyond one each.
    """

    bundles: Sequence[Bundle]
    heldout: Sequence[Bundle] = ()
    split: int = 0

    @cached_property
    def digest(self) -> str:
        """Of every token and mask."""
        made = hashlib.sha256()
        for texts in (*self.bundles, *self.heldout):
            for text in texts:
                made.update(text.ids.tobytes() + b"|" + text.learned.tobytes() + b"\n")
        return made.hexdigest()


def read_lessons(spec: TrainSpec, context_tokens: int) -> Lessons:
    """Both files of a specification. Raises: BadTraining, and as the data's reader does."""
    text = read_text_side(Path(spec.base))
    limit = spec.max_tokens or context_tokens
    if limit > context_tokens:
        raise BadTraining(
            "examples cannot be longer than the model's context",
            value=limit,
            expected=f"at most {context_tokens} tokens",
            found=str(limit),
        )
    reader = _Reader(text, spec, limit)
    bundles = list(reader.bundles(Path(spec.data)))
    heldout = list(reader.bundles(Path(spec.heldout))) if spec.heldout else []
    return Lessons(bundles, heldout, reader.split)


class _Reader:
    """Renders lines with a model's text side."""

    def __init__(self, text: TextSide, spec: TrainSpec, limit: int) -> None:
        template = (
            ChatTemplate.from_metadata(text.templates, text.tokenizer) if text.templates else None
        )
        self._renderer = Renderer(template, text.tokenizer, system=spec.system)
        self._spec, self._limit = spec, limit
        self.split = 0

    def bundles(self, path: Path) -> Iterator[Bundle]:
        """What each line comes to. Raises: BadTraining, naming the line."""
        mapping: Mapping[str, str] | None = self._spec.mapping
        wanted = Preference if self._spec.method == "dpo" else Example
        for one in read_examples(path, form=self._spec.form, mapping=mapping):
            if not isinstance(one, wanted):
                raise BadTraining(
                    f"line {one.line} is not what {self._spec.method} learns from",
                    value=one.line,
                    expected="preferred and other answers" if wanted is Preference else "examples",
                    found=type(one).__name__.lower() + "s",
                    hint="--method sft or dpo says what is learned",
                )
            yield from self._preference(one) if isinstance(one, Preference) else self._example(one)

    def _example(self, example: Example) -> Iterator[Bundle]:
        for text in self._rendered(example):
            yield from ((piece,) for piece in self._pieces(text, example.line))

    def _preference(self, pair: Preference) -> Iterator[Bundle]:
        # Where history is rewritten there are several; the answer stands at the end of the last.
        chosen, rejected = (self._rendered(answer)[-1] for answer in pair.answers)
        for text in (chosen, rejected):
            if len(text.ids) > self._limit:
                raise self._too_long(pair.line, len(text.ids), "pairs are never split")
        yield chosen, rejected

    def _rendered(self, example: Example) -> list[Tokens]:
        return [Tokens(one.ids, one.learned) for one in self._renderer.render(example)]

    def _pieces(self, text: Tokens, line: int) -> Iterator[Tokens]:
        if len(text.ids) <= self._limit:
            yield text
            return
        if self._spec.on_long == "refuse":
            raise self._too_long(
                line, len(text.ids), "on_long=split (--on-long split) learns from it in pieces"
            )
        starts = range(0, len(text.ids), self._limit)
        self.split += len(starts) - 1
        for start in starts:
            learned = text.learned[start : start + self._limit].copy()
            learned[0] = False  # nothing before it predicts it
            piece = Tokens(text.ids[start : start + self._limit], learned)
            if piece.learned.any():
                yield piece

    def _too_long(self, line: int, tokens: int, hint: str) -> BadTraining:
        return BadTraining(
            f"line {line} is longer than is learned from at once",
            value=line,
            expected=f"at most {self._limit} tokens",
            found=f"{tokens} tokens",
            hint=hint,
        )
