"""A task from a data set's name: its rows, asked and judged as the field does.

Room: evals. Joins the catalogue, the rows and the prompts; must not know models.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby, islice
from pathlib import Path
from typing import Any

from freehold.errors import BadTask
from freehold.evals.items import Data, Generation, Item, Metric, Pair, Task
from freehold.evals.running_code import code_scorer
from freehold.evals.sandbox import Isolation
from freehold.evals.scoring import Scorer, exact_scorer, numeric_scorer
from freehold.evals.sets.catalogue import DataSet, located, set_named
from freehold.evals.sets.procedural import PREFIX, procedural_task
from freehold.evals.sets.prompts import ASKED, mmlu_item, mmlu_shots
from freehold.evals.sets.rows import arrow_rows, json_rows, text_pieces

__all__ = ["PERPLEXITIES", "choice_metrics", "task_named"]

PERPLEXITIES = (
    Metric(name="byte_perplexity", kind="perplexity", over="bytes", about="whatever the tokenizer"),
    Metric(name="word_perplexity", kind="perplexity", over="words", about="words between spaces"),
    Metric(name="perplexity", kind="perplexity", over="tokens", about="per token of this model"),
)
_STOPS = {
    "nq-open": ("\n", ".", ","),
    "triviaqa": ("\n", ".", ","),
    "gsm8k": ("Question:", "</s>", "<|im_end|>", "\n\n"),
    "humaneval": ("\nclass", "\ndef", "\n#", "\nif", "\nprint"),
}
_MOST_TOKENS = {"nq-open": 32, "triviaqa": 32, "gsm8k": 512, "humaneval": 512}


def task_named(
    name: str,
    *,
    limit: int | None = None,
    shots: int = 0,
    isolation: Isolation = Isolation.full,
) -> Task:
    """The task over a known data set, or its first `limit` items; of groups, of each the first.

    `shots` puts as many examples first, where the data set has any for that.
    Raises: BadTask, MissingData, DigestMismatch, SetupError, NoIsolation.
    """
    if name.startswith(PREFIX):
        return procedural_task(name, limit=limit)
    one = set_named(name)
    if not 0 <= shots <= one.shots:
        raise BadTask(
            "the data set has no such number of examples to put first",
            value=shots,
            expected=f"0 to {one.shots}",
        )
    items = list(_items(one, located(one), shots, limit))
    data = Data(
        name=one.name,
        digest=f"sha256:{one.sha256}",
        licence=one.licence,
        source=f"{one.package}, {one.split}",
    )
    scorers = _scorers(one, isolation)
    return Task(
        name=one.name if not shots else f"{one.name}, {shots} examples first",
        items=items,
        asks=_asks(one),
        metrics=_metrics(one, scorers),
        main=one.main,
        data=data,
        scorers=scorers,
        generation=Generation(
            max_tokens=_MOST_TOKENS.get(one.prompt, 256), stop=_STOPS.get(one.prompt, ())
        ),
        about=one.about,
    )


def _items(one: DataSet, paths: Sequence[Path], shots: int, limit: int | None) -> Iterator[Item]:
    if one.prompt == "mmlu":
        yield from _mmlu(paths, shots, limit)
        return
    (path,) = paths
    if one.form == "text":
        pieces = enumerate(text_pieces(path))
        found: Iterable[Item] = (Item(id=str(i), prompt=piece) for i, piece in pieces)
    elif one.prompt == "choices":
        found = _weighed(json_rows(path))
    else:
        rows = arrow_rows(path) if one.form == "arrow" else json_rows(path)
        found = (ASKED[one.prompt](number, row) for number, row in enumerate(rows))
    try:
        yield from islice(found, limit)
    except (KeyError, ValueError, TypeError, IndexError) as error:
        raise BadTask(
            "a row of the data set is not as expected", value=one.name, found=type(error).__name__
        ) from error


def _weighed(rows: Iterable[Mapping[str, Any]]) -> Iterator[Item]:
    """Requests with a line for each choice; those without a question are left out."""
    for number, (_, lines) in enumerate(groupby(rows, key=lambda row: row["doc_id"])):
        group = list(lines)
        asked = [line["request"] for line in group]
        if asked[0]["context"] == "Answer:":
            return
        pairs = tuple(Pair(each["context"], each["continuation"]) for each in asked)
        yield Item(
            id=str(number), prompt=pairs[0].prompt, choices=pairs, gold=int(group[0]["label"])
        )


def _mmlu(paths: Sequence[Path], shots: int, limit: int | None) -> Iterator[Item]:
    """Subject by subject; `limit` items of each, so that every subject is there."""
    tests = {path.parent.parent.name: path for path in paths if path.parent.name == "test"}
    examples = {path.parent.parent.name: path for path in paths if path.parent.name == "dev"}
    for subject in sorted(tests):
        before = mmlu_shots(subject, list(islice(arrow_rows(examples[subject]), shots)))
        rows = islice(arrow_rows(tests[subject]), limit)
        for number, row in enumerate(rows):
            yield mmlu_item(number, row, subject.replace("_", " "), before)


def _asks(one: DataSet) -> Any:
    if one.form == "text":
        return "text"
    if one.prompt == "lambada":
        return "continuation"
    return "answer" if one.prompt in _STOPS else "choice"


def _scorers(one: DataSet, isolation: Isolation) -> tuple[Scorer, ...]:
    if one.prompt == "gsm8k":
        return (numeric_scorer(),)
    if one.prompt == "humaneval":
        return (code_scorer(isolation=isolation),)
    return (exact_scorer(strict=False),) if one.prompt in _STOPS else ()


def choice_metrics() -> tuple[Metric, ...]:
    """What choices that are weighed give."""
    return (
        Metric(name="acc", about="the likeliest choice is the right one"),
        Metric(name="acc_norm", about="the likeliest choice per character is the right one"),
    )


def _metrics(one: DataSet, scorers: Sequence[Scorer]) -> tuple[Metric, ...]:
    asks = _asks(one)
    if asks == "text":
        return PERPLEXITIES
    if asks == "continuation":
        return (
            Metric(name="acc", about="the model would have written just this"),
            Metric(name="perplexity", kind="perplexity", over="items", about="of the last word"),
        )
    if asks == "choice":
        return choice_metrics()
    return tuple(metric for scorer in scorers for metric in scorer.metrics)
