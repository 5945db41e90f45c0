"""A task from a person's own file: lines of JSON with questions and their right answers.

Room: evals. Rows in, a task out; must not know models.

A row is one of:

    {"messages": [..., {"role": "assistant", "content": "the right answer"}]}
    {"prompt": "...", "completion": "the right answer"}        continued as text
    {"question": "...", "answer": "..."}                       asked in a conversation
    {"prompt": "...", "choices": ["...", "..."], "gold": 0}    weighed
    {"text": "..."}                                            read for its perplexity

`answer`, `completion` and `reference` may be a list; `question` and `input` are one message.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from freehold.errors import BadTask
from freehold.evals.bayes import text_of
from freehold.evals.items import Data, Generation, Item, Pair, Prompt, Task
from freehold.evals.scoring import Scorer, exact_scorer
from freehold.evals.sets.rows import Row, json_rows
from freehold.evals.sets.tasks import PERPLEXITIES, choice_metrics

__all__ = ["Asking", "Judging", "labelled", "own_task"]

_MOST_ROWS = 1_000_000
_ANSWERS = ("completion", "answer", "reference", "references", "ideal")
_QUESTIONS = ("question", "input")
Judging = Literal["answer", "label", "text", "auto"]


@dataclass(frozen=True, kw_only=True)
class Asking:
    """How own rows are asked and judged. `labels` empty: those that occur as answers."""

    how: Judging = "auto"
    scorers: tuple[Scorer, ...] = ()
    labels: tuple[str, ...] = ()
    limit: int | None = None
    max_tokens: int = 256
    stop: tuple[str, ...] = ()
    licence: str = "the owner's"


def own_task(path: Path, asking: Asking) -> Task:
    """The task of a file. Raises: BadTask, with the line."""
    rows = _rows(path, asking.limit)
    name, data = path.stem, _data(path, asking.licence)
    how = asking.how
    if how == "auto":
        how = "text" if "text" in rows[0] else "answer"
    if how == "text":
        pieces = [Item(id=str(i), prompt=_text(row, "text", i)) for i, row in enumerate(rows)]
        return Task(
            name=name, items=pieces, asks="text", metrics=PERPLEXITIES, main="perplexity", data=data
        )
    items = [_item(number, row) for number, row in enumerate(rows)]
    if how == "label" or all(item.choices for item in items):
        weighed = _weighed(items, asking.labels)
        metrics = choice_metrics()
        return Task(name=name, items=weighed, asks="choice", metrics=metrics, main="acc", data=data)
    scorers = asking.scorers or (exact_scorer(),)
    metrics = tuple(metric for scorer in scorers for metric in scorer.metrics)
    return Task(
        name=name,
        items=items,
        asks="answer",
        metrics=metrics,
        main=metrics[0].name,
        data=data,
        scorers=scorers,
        generation=Generation(max_tokens=asking.max_tokens, stop=asking.stop),
    )


def labelled(path: Path) -> tuple[list[str], list[str]]:
    """The texts of a file's rows and their first right answers. Raises: BadTask."""
    items = [_item(number, row) for number, row in enumerate(_rows(path))]
    kept = [item for item in items if item.references]
    return [text_of(item.prompt) for item in kept], [item.references[0].strip() for item in kept]


def _rows(path: Path, limit: int | None = None) -> list[Row]:
    if not path.is_file():
        raise BadTask("there is no such file", value=str(path), expected="lines of JSON")
    rows: list[Row] = []
    for row in json_rows(path):
        if limit is not None and len(rows) >= limit:
            break
        rows.append(row)
        if len(rows) > _MOST_ROWS:
            raise BadTask("the file has too many rows", value=str(path), expected=str(_MOST_ROWS))
    if not rows:
        raise BadTask("the file has no rows", value=str(path), expected="at least one")
    return rows


def _data(path: Path, licence: str) -> Data:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return Data(name=path.name, digest=f"sha256:{digest}", licence=licence, source="a file")


def _item(number: int, row: Row) -> Item:
    fields = {str(key): row[key] for key in ("schema", "before", "after") if key in row}
    group = str(row.get("group", ""))
    item = Item(id=str(row.get("id", number)), fields=fields, group=group)
    if "messages" in row:
        prompt, references = _conversation(row["messages"], number)
        return replace(item, prompt=prompt, references=references)
    prompt = _prompt(row, number)
    if "choices" in row:
        return _with_choices(item, prompt, row, number)
    return replace(item, prompt=prompt, references=_references(row, number))


def _conversation(messages: object, number: int) -> tuple[Prompt, tuple[str, ...]]:
    said = [m for m in messages if isinstance(m, Mapping)] if isinstance(messages, list) else []
    last = said[-1] if said else {}
    answer = last.get("content")
    if len(said) < 2 or last.get("role") != "assistant" or not isinstance(answer, str):
        raise BadTask(
            f"row {number + 1}: messages must end with the right answer",
            expected="a question, and last a message of the assistant",
            found=f"{len(said)} messages",
        )
    return tuple(said[:-1]), (answer,)


def _prompt(row: Row, number: int) -> Prompt:
    for name in _QUESTIONS:
        if name in row:
            return ({"role": "user", "content": _text(row, name, number)},)
    return _text(row, "prompt", number)


def _text(row: Row, name: str, number: int) -> str:
    value = row.get(name)
    if not isinstance(value, str):
        raise BadTask(f"row {number + 1} has no text in {name!r}", found=type(value).__name__)
    return value


def _references(row: Row, number: int) -> tuple[str, ...]:
    for name in _ANSWERS:
        if name in row:
            value = row[name]
            every = value if isinstance(value, list) else [value]
            if not every or not all(isinstance(one, str | int | float) for one in every):
                raise BadTask(f"row {number + 1}: {name!r} is no answer", expected="a text")
            return tuple(map(str, every))
    if "schema" in row or "after" in row:
        return ()
    raise BadTask(f"row {number + 1} has no right answer", expected=" or ".join(_ANSWERS[:3]))


def _with_choices(item: Item, prompt: Prompt, row: Row, number: int) -> Item:
    choices, gold = row["choices"], row.get("gold", row.get("label"))
    texts = choices if isinstance(choices, list) else []
    whole = gold if isinstance(gold, int) and not isinstance(gold, bool) else -1
    if len(texts) < 2 or not 0 <= whole < len(texts):
        raise BadTask(
            f"row {number + 1}: choices need a right one",
            expected="at least two choices, and gold, the number of the right one from 0",
        )
    return replace(item, prompt=prompt, choices=_pairs(prompt, list(map(str, texts))), gold=whole)


def _pairs(prompt: Prompt, choices: Sequence[str]) -> tuple[Pair, ...]:
    # After text a choice is a word of its own; an answer in a conversation begins with it.
    joined = " " if isinstance(prompt, str) and not prompt[-1:].isspace() else ""
    return tuple(Pair(prompt, joined + choice) for choice in choices)


def _weighed(items: Sequence[Item], labels: Sequence[str]) -> list[Item]:
    """Items whose choices are the labels. Raises: BadTask where an answer is none of them."""
    known = list(labels) or sorted({reference for item in items for reference in item.references})
    made = []
    for number, item in enumerate(items):
        if item.choices:
            made.append(item)
            continue
        right = [known.index(r.strip()) for r in item.references if r.strip() in known]
        if not right or len(known) < 2:
            raise BadTask(
                f"row {number + 1}: the answer is none of the labels",
                expected=f"one of {len(known)} labels, of at least two",
            )
        made.append(replace(item, choices=_pairs(item.prompt, known), gold=right[0]))
    return made
