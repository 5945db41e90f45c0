"""Does what `freehold eval` was asked: tasks, targets, comparisons, under bars.

Room: cli. Joins the flags with the room evals.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from freehold.cli.printing import say
from freehold.cli.progress import progress_bar
from freehold.errors import BadSetting, BadTask

if TYPE_CHECKING:
    from freehold.config import Settings
    from freehold.evals import Result, Target, Task
    from freehold.evals.judging import Preference
    from freehold.evals.page import Report
    from freehold.evals.sandbox import Isolation
    from freehold.evals.scoring import Scorer

__all__ = ["Wanted", "run_evaluation"]

_UNASKED = ("label", "perplexity")  # not judged from what a model writes


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What the flags say."""

    models: tuple[str, ...]
    tasks: tuple[str, ...]
    data: Path | None
    score: str | None
    labels: tuple[str, ...]
    bayes: Path | None
    judge: str | None
    prefer: bool
    limit: int | None
    shots: int
    max_tokens: int
    isolation: str
    again: bool


def run_evaluation(wanted: Wanted, settings: Settings) -> Report:
    """Every model on every task, model by model, so that one is in memory at a time.

    Raises: BadSetting, BadTask and whatever measuring raises.
    """
    from freehold.evals.page import Report
    from freehold.evals.results import compare

    _check(wanted)
    judge = _opened(wanted.judge, settings) if wanted.judge is not None else None
    tasks = _tasks(wanted, judge)
    by_task: dict[str, list[Result]] = {task.name: [] for task in tasks}
    for ref in wanted.models:
        _measure_all(tasks, _opened(ref, settings), settings, wanted, by_task)
    if wanted.bayes is not None:
        _measure_all(tasks, _bayes(wanted.bayes), settings, wanted, by_task)
    compared = [
        (name, compare(results[0], other))
        for name, results in by_task.items()
        for other in results[1:]
    ]
    preferences = [] if judge is None or not wanted.prefer else _judged(tasks, by_task, judge)
    return Report(
        title="Evaluation of " + ", ".join(wanted.models),
        results=[result for results in by_task.values() for result in results],
        comparisons=compared,
        preferences=preferences,
    )


def _check(wanted: Wanted) -> None:
    """Flags that do not go together, before anything is loaded."""
    problem = ""
    if not wanted.models:
        problem = "name a model to measure"
    elif not wanted.tasks and wanted.data is None:
        problem = "say on what: --task NAME or --data FILE"
    elif wanted.data is None and (wanted.score or wanted.labels or wanted.bayes):
        problem = "--score, --labels and --bayes go with --data"
    elif wanted.prefer and (wanted.judge is None or len(wanted.models) < 2):
        problem = "--prefer needs --judge MODEL and at least two models"
    if problem:
        raise BadSetting(problem, hint="freehold eval starter --task arc-easy --limit 200")


def _opened(ref: str, settings: Settings) -> Target:
    from freehold.evals.opening import open_target

    with progress_bar({"verify": f"hashing {ref}"}) as progress:
        return open_target(_tuned(ref, settings), settings=settings, progress=progress)


def _tuned(ref: str, settings: Settings) -> str:
    """A name that fine-tuning gave, as MODEL+ADAPTER; any other as it is."""
    if ref.startswith("http") or ":" not in ref or Path(ref).exists():
        return ref
    from freehold.store import open_store

    store = open_store(settings.database, settings.home)
    try:
        for job in store.jobs.succeeded("fine_tuning"):
            if job.spec["fine_tuned_model"] == ref and job.state.get("adapter"):
                place = settings.home / "tuned" / job.id / job.state["adapter"]
                return f"{job.spec['model']}+{place}"
    finally:
        store.close()
    return ref


def _tasks(wanted: Wanted, judge: Target | None) -> list[Task]:
    from freehold.evals.sets import task_named

    isolation = _isolation(wanted.isolation)
    tasks = [
        task_named(name, limit=wanted.limit, shots=wanted.shots, isolation=isolation)
        for name in wanted.tasks
    ]
    if wanted.data is not None:
        tasks.append(_own(wanted, wanted.data, judge, isolation))
    names = [task.name for task in tasks]
    if len(set(names)) != len(names):
        raise BadSetting("a task is named twice", value=", ".join(names))
    return tasks


def _isolation(name: str) -> Isolation:
    from freehold.evals.sandbox import Isolation

    try:
        return Isolation(name)
    except ValueError as error:
        raise BadSetting(
            "there is no such isolation", value=name, expected="full or limits"
        ) from error


def _own(wanted: Wanted, path: Path, judge: Target | None, isolation: Isolation) -> Task:
    from freehold.evals.own import Asking, Judging, own_task

    name = (wanted.score or "").partition(":")[0]
    how: Judging = "auto"
    if name == "label":
        how = "label"
    elif name == "perplexity":
        how = "text"
    scored = bool(wanted.score) and name not in _UNASKED
    scorers = (_scorer(wanted.score or "", judge, isolation),) if scored else ()
    asking = Asking(
        how=how,
        scorers=scorers,
        labels=wanted.labels,
        limit=wanted.limit,
        max_tokens=wanted.max_tokens,
    )
    return own_task(path, asking)


def _scorer(score: str, judge: Target | None, isolation: Isolation) -> Scorer:
    from freehold.evals import scoring
    from freehold.evals.judging import rubric_scorer
    from freehold.evals.running_code import code_scorer

    name, _, argument = score.partition(":")
    match name:
        case "exact" | "normalised":
            return scoring.exact_scorer(name, strict=name == "exact")
        case "contains":
            return scoring.contains_scorer()
        case "numeric":
            return scoring.numeric_scorer()
        case "regex":
            return scoring.regex_scorer(argument)
        case "similarity":
            return scoring.similarity_scorer(argument or "f1")
        case "schema":
            return scoring.schema_scorer(_schema(argument) if argument else None)
        case "code":
            return code_scorer(isolation=isolation)
        case "rubric" if judge is not None:
            return rubric_scorer(judge, argument)
        case "rubric":
            raise BadSetting("a rubric needs a judge", expected="--judge MODEL")
        case _:
            raise BadSetting(
                "there is no such way to judge answers",
                value=score,
                expected="exact, normalised, contains, label, numeric, regex:PATTERN, schema:FILE,"
                " similarity:MEASURE, code, rubric:TEXT or perplexity",
            )


def _schema(path: str) -> dict[str, object]:
    from freehold.formats.json_file import read_json_object

    return dict(read_json_object(Path(path)))


def _bayes(path: Path) -> Target:
    from freehold.evals.bayes import BayesTarget, NaiveBayes
    from freehold.evals.own import labelled

    texts, labels = labelled(path)
    return BayesTarget(NaiveBayes.fit(texts, labels), trained_on=path.name)


def _measure_all(
    tasks: list[Task],
    target: Target,
    settings: Settings,
    wanted: Wanted,
    by_task: dict[str, list[Result]],
) -> None:
    """One target on every task. Mutates: by_task."""
    from freehold.evals.measuring import measure

    for task in tasks:
        label = f"{target.identity.name}, {task.name}"
        with progress_bar({"items": label}, counts=True) as progress:
            found = measure(task, target, settings=settings, again=wanted.again, progress=progress)
        if found.known:
            say(f"{label}: {found.known} items were known already (--again measures anew)")
        by_task[task.name].append(found.result)


def _judged(tasks: list[Task], by_task: dict[str, list[Result]], judge: Target) -> list[Preference]:
    from freehold.evals.judging import judge_pairs

    written = [task for task in tasks if task.asks == "answer"]
    if not written:
        raise BadTask("there are no written answers to prefer", expected="a task with answers")
    preferences = []
    with progress_bar({"judging": "judging"}, counts=True) as progress:
        for task in written:
            first, *others = by_task[task.name]
            preferences += [
                judge_pairs(task, first, other, judge, progress=progress) for other in others
            ]
    return preferences
