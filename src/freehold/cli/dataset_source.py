"""What the commands on datasets work with: a file or a named set, a model's text side, two parts.

Room: cli. Joins the registry, the library and the readers.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from freehold.errors import BadDataset

if TYPE_CHECKING:
    from freehold.store.datasets import Dataset
    from freehold.tokenizer import Tokenizer
    from freehold.tune.datasets import Example, Preference
    from freehold.tune.datasets.checking import Report
    from freehold.tune.datasets.masking import Renderer
    from freehold.tune.datasets.preview import PreviewPiece
    from freehold.tune.datasets.registry import Registry

__all__ = ["Shown", "Source", "check_source", "find_source", "previews", "split_in_two"]


@dataclass(frozen=True)
class Source:
    """Where examples come from, and what is recorded of them, if anything."""

    path: Path
    form: str
    mapping: Mapping[str, str] | None
    dataset: Dataset | None = None

    def examples(self) -> Iterator[Example | Preference]:
        """Each of them. Raises: BadDataset, naming the line."""
        from freehold.tune.datasets import read_examples

        return read_examples(self.path, form=self.form, mapping=self.mapping)


@dataclass(frozen=True)
class Shown:
    """One example, and its renderings where a model was named."""

    line: int
    example: Example | Preference
    renderings: tuple[list[PreviewPiece], ...] = ()


def find_source(
    registry: Registry, data: str, form: str, mapping: Mapping[str, str] | None
) -> Source:
    """The file at this path, or the dataset of this name. Raises: NotFound."""
    if Path(data).is_file():
        return Source(Path(data), form, mapping)
    found = registry.get(data)
    return Source(registry.path(found), found.form, found.facts.get("mapping"), found)


@dataclass(frozen=True)
class _Text:
    """A model as far as its text goes."""

    renderer: Renderer
    tokenizer: Tokenizer
    context_tokens: int


def _text_side(model: str) -> _Text:
    """Raises: UnknownModel, FormatError, LoadError."""
    from freehold import library
    from freehold.chat.templates import ChatTemplate
    from freehold.config import resolve_settings
    from freehold.library.catalogue import suggested_system
    from freehold.loading import read_text_side
    from freehold.tune.datasets.masking import Renderer

    path = library.resolve(model, settings=resolve_settings())
    text = read_text_side(path)
    template = None
    if text.templates:
        template = ChatTemplate.from_metadata(text.templates, text.tokenizer)
    renderer = Renderer(template, text.tokenizer, system=suggested_system(model))
    return _Text(renderer, text.tokenizer, _context_tokens(path))


def _context_tokens(path: Path) -> int:
    from freehold.formats.gguf import open_gguf
    from freehold.formats.json_file import read_json_object
    from freehold.loading import read_shapes

    if path.is_dir():
        return read_shapes(read_json_object(path / "config.json"), gguf=False).context_tokens
    with open_gguf(path) as file:
        return read_shapes(file.metadata, gguf=True).context_tokens


def check_source(
    source: Source, other: Source | None, model: str | None, max_tokens: int | None
) -> Report:
    """What is in a source; with a model, in its tokens and within its context."""
    from freehold.cli.progress import progress_bar
    from freehold.tune.datasets.checking import check

    text = None if model is None else _text_side(model)
    with progress_bar({"check": "reading"}) as progress:
        return check(
            source.path,
            form=source.form,
            mapping=source.mapping,
            renderer=None if text is None else text.renderer,
            most_tokens=max_tokens or (None if text is None else text.context_tokens),
            heldout=() if other is None else other.examples(),
            progress=progress,
        )


def previews(source: Source, model: str | None, line: int | None, count: int) -> Iterator[Shown]:
    """The example of a line, or the first ones, rendered for a model if one is named."""
    from freehold.tune.datasets import Preference
    from freehold.tune.datasets.preview import preview

    text = None if model is None else _text_side(model)
    wanted = islice(source.examples(), count)
    if line is not None:
        wanted = islice((one for one in source.examples() if one.line == line), 1)
    empty = True
    for one in wanted:
        empty = False
        made: tuple[list[PreviewPiece], ...] = ()
        if text is not None:
            examples = one.answers if isinstance(one, Preference) else (one,)
            every = [each for example in examples for each in text.renderer.render(example)]
            made = tuple(preview(each, text.tokenizer) for each in every)
        yield Shown(one.line, one, made)
    if empty:
        raise BadDataset("there is no example on this line", value=line, found="none")


def split_in_two(
    registry: Registry, name: str, heldout: float, seed: int
) -> tuple[Dataset, Dataset, int]:
    """Both parts, taken in on the grounds of the whole, and how many lines stayed together.

    Raises: BadDataset, NotAdmitted, NotFound.
    """
    from freehold.tune.datasets.registry import Grounds
    from freehold.tune.datasets.splitting import split, write_lines

    admitted, whole = registry.admitted(name), registry.get(name)
    source = Source(admitted.path, admitted.form, admitted.mapping, whole)
    parts = split(source.examples(), heldout=heldout, seed=seed)
    grounds = Grounds(
        basis=whole.basis,
        licence=whole.licence,
        provenance=whole.provenance,
        consent=whole.consent,
    )
    form = "text" if whole.form == "text" else "auto"
    made = []
    with tempfile.TemporaryDirectory() as folder:
        for part, examples in (("train", parts.train), ("heldout", parts.heldout)):
            path = Path(folder) / f"{name}-{part}.jsonl"
            write_lines(path, examples)
            facts = {"part_of": name, "seed": seed, "heldout": heldout}
            made.append(
                registry.add(
                    f"{name}-{part}",
                    path,
                    grounds,
                    form=form,
                    parents=(whole.digest,),
                    facts=facts,
                )
            )
    return made[0], made[1], parts.together
