"""`freehold eval`: what models can do, with intervals, side by side on the same items.

Room: cli. Flags only; the work is in `evaluating.py`, the tables in `eval_view.py`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from freehold.cli.options import AsJson, Context, Threads

__all__ = ["evaluate"]

_Models = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="MODEL...",
        help="References, MODEL+ADAPTER, or http://host/v1#model; the first is compared with.",
    ),
]
_Task = Annotated[
    list[str] | None,
    typer.Option("--task", metavar="NAME", help="A known data set (--list); may be repeated."),
]
_Data = Annotated[
    Path | None,
    typer.Option("--data", metavar="FILE", help="Your own questions and answers, as JSON lines."),
]
_Score = Annotated[
    str | None,
    typer.Option(
        "--score",
        metavar="HOW",
        help="Of --data: exact, normalised, contains, label, numeric, regex:PATTERN, schema:FILE,"
        " similarity:MEASURE, code, rubric:TEXT, perplexity.",
    ),
]
_Labels = Annotated[
    str | None,
    typer.Option("--labels", metavar="A,B", help="With --score label; else the answers' own."),
]
_Bayes = Annotated[
    Path | None,
    typer.Option("--bayes", metavar="FILE", help="Add naive Bayes, trained on these rows."),
]
_Judge = Annotated[
    str | None,
    typer.Option("--judge", metavar="MODEL", help="Who judges: rubrics, or with --prefer pairs."),
]
_Prefer = Annotated[
    bool, typer.Option("--prefer", help="Have the judge compare each model with the first.")
]
_Limit = Annotated[
    int | None,
    typer.Option("--limit", min=1, help="Only the first items; of MMLU, of each subject."),
]
_Shots = Annotated[
    int, typer.Option("--shots", min=0, help="Examples before each question, where there are any.")
]
_MaxTokens = Annotated[
    int, typer.Option("--max-tokens", min=1, help="How long an answer to --data may be.")
]
_Isolation = Annotated[
    str,
    typer.Option(
        "--isolation",
        metavar="full|limits",
        help="How code that models wrote is run; limits leaves files and network open.",
    ),
]
_Html = Annotated[
    Path | None, typer.Option("--html", metavar="FILE", help="Write a report with plots.")
]
_Items = Annotated[
    Path | None,
    typer.Option("--items", metavar="FILE", help="Write every item's outcome as JSON lines."),
]
_Again = Annotated[bool, typer.Option("--again", help="Measure anew what is known already.")]
_List = Annotated[bool, typer.Option("--list", help="List the known data sets and their terms.")]


def evaluate(
    models: _Models = None,
    *,
    task: _Task = None,
    data: _Data = None,
    score: _Score = None,
    labels: _Labels = None,
    bayes: _Bayes = None,
    judge: _Judge = None,
    prefer: _Prefer = False,
    limit: _Limit = None,
    shots: _Shots = 0,
    max_tokens: _MaxTokens = 256,
    isolation: _Isolation = "full",
    html: _Html = None,
    items: _Items = None,
    again: _Again = False,
    listing: _List = False,
    threads: Threads = None,
    context: Context = None,
    as_json: AsJson = False,
) -> None:
    """Measure models on a task, with 95 % intervals, and compare them on the same items.

    A run that was cut off goes on where it stopped. Results go into the models' record.

    Example: freehold eval starter --task arc-easy --limit 200 --html report.html
    """
    from freehold.cli.evaluating import Wanted, run_evaluation
    from freehold.config import resolve_settings

    if listing:
        from freehold.cli.eval_view import print_sets

        print_sets(as_json=as_json)
        return
    wanted = Wanted(
        models=tuple(models or ()),
        tasks=tuple(task or ()),
        data=data,
        score=score,
        labels=tuple(part.strip() for part in (labels or "").split(",") if part.strip()),
        bayes=bayes,
        judge=judge,
        prefer=prefer,
        limit=limit,
        shots=shots,
        max_tokens=max_tokens,
        isolation=isolation,
        again=again,
    )
    settings = resolve_settings({"threads": threads, "context_tokens": context})
    report = run_evaluation(wanted, settings)
    from freehold.cli.eval_view import show_report

    show_report(report, html=html, items=items, as_json=as_json)
