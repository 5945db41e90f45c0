"""A narrow task taught in minutes, and kept through export: `python -m benchmarks.section`.

Debian's package descriptions -> their section, one of six; 600 lines teach, 250 others judge. The
starter model is asked, taught, asked again, exported as GGUF and asked through Freehold and through
llama.cpp; naive Bayes on the same 600 lines, and a larger model that was taught nothing, stand
beside it. An answer counts that is the label to the letter; the larger model is judged once more
by the one label that its longer answer names.

Room: benchmarks. Every share has Wilson's 95 % interval; report.html of its home shows them.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.record import RESULTS, table, write_result
from benchmarks.workers import ROOT
from freehold import library, ops
from freehold.config import Settings, resolve_settings
from freehold.errors import BadTask
from freehold.evals import Data, Generation, Item, LocalTarget, Metric, Task, compare, run_task
from freehold.evals.bayes import BayesTarget, NaiveBayes
from freehold.evals.items import Pair, Prompt
from freehold.evals.page import Report, report_page
from freehold.evals.results import Result
from freehold.evals.scoring import exact_scorer
from freehold.evals.target import Answer, Identity, Scored, Target
from freehold.library.identity import identity_of
from freehold.local import load_chat
from freehold.store import open_store
from freehold.tune.datasets.registry import LOCAL, Grounds, Registry, digest_of
from freehold.tune.export.publishing import Wanted, export
from freehold.tune.running import Tuned, tune
from freehold.tune.training.spec import TrainSpec

DATA = ROOT / "tests" / "data" / "section"
HOME = ROOT / "build" / "section"  # a person's own store stays as it is
_ANSWER_TOKENS = 8
_NAMING_TOKENS = 24  # "The section of Debian that the package belongs to is games."


@dataclass(frozen=True)
class Line:
    """What is asked, as messages, and the one right answer."""

    asked: tuple[dict[str, str], ...]
    label: str

    @property
    def description(self) -> str:
        """The package's."""
        return self.asked[-1]["content"]


def read_lines(path: Path) -> list[Line]:
    """The lines of a file of conversations."""
    said = [json.loads(line)["messages"] for line in path.read_text("utf-8").splitlines()]
    return [Line(tuple(each[:-1]), each[-1]["content"]) for each in said]


def task_of(path: Path) -> Task:
    """The held-out lines as a task, judged to the letter."""
    items = [
        Item(
            id=str(number),
            prompt=line.asked,
            references=(line.label,),
            group=line.label,
        )
        for number, line in enumerate(read_lines(path))
    ]
    return Task(
        name="section",
        items=items,
        asks="answer",
        metrics=(Metric(name="exact", about="the label to the letter"),),
        main="exact",
        data=Data(name=path.name, digest=identity_digest(path), licence="package descriptions"),
        scorers=(exact_scorer(),),
        generation=Generation(max_tokens=_ANSWER_TOKENS),
    )


def identity_digest(path: Path) -> str:
    """The sha256 of a file that is no model."""
    import hashlib

    return "sha256:" + hashlib.sha256(path.read_bytes()).hexdigest()


def naive_bayes(train: Path) -> BayesTarget:
    """What counting the words of the same lines comes to."""
    lines = read_lines(train)
    texts, labels = [line.description for line in lines], [line.label for line in lines]
    return BayesTarget(NaiveBayes.fit(texts, labels), trained_on=train.name)


def target_of(model: Path, adapter: Path | None, name: str) -> LocalTarget:
    """A model in this process, with an adapter or without."""
    loaded = load_chat(model, adapters=None if adapter is None else {"taught": adapter})
    return LocalTarget(
        loaded,
        Identity(name=name, digest=identity_of(model).digest),
        adapter="" if adapter is None else "taught",
    )


def llama_cpp_answers(python: str, model: Path, heldout: Path) -> list[str]:
    """What llama.cpp answers, with its own tokenizer and its own reading of the template."""
    command = [python, "-m", "benchmarks.side_llama_answers", str(model), str(heldout)]
    command += ["--tokens", str(_ANSWER_TOKENS)]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    found: list[str] = json.loads(done.stdout)
    return found


@dataclass(frozen=True)
class Elsewhere:
    """A model that another program asked the same items, as a target."""

    name: str
    said: Callable[[], list[str]]

    @property
    def identity(self) -> Identity:
        """Its name; whose weights they are says the row before it."""
        return Identity(name=self.name, via="llama.cpp")

    def generate(self, prompts: Iterable[Prompt], how: Generation) -> Iterator[tuple[int, Answer]]:
        """What it answered, in the order of the file."""
        del how
        for number, (_, text) in enumerate(zip(prompts, self.said(), strict=True)):
            yield number, Answer(text=text.strip(), finish_reason="stop")

    def score(self, pairs: Iterable[tuple[Pair, ...]]) -> Iterator[tuple[int, list[Scored]]]:
        """Raises: BadTask, since it was asked for words only."""
        del pairs
        raise BadTask("llama.cpp is asked for answers only", expected="a task that generates")

    def read(self, texts: Iterable[str]) -> Iterator[tuple[int, Scored]]:
        """Raises: BadTask, since it was asked for words only."""
        del texts
        raise BadTask("llama.cpp is asked for answers only", expected="a task that generates")


@dataclass(frozen=True)
class Kindly:
    """A model taught nothing, judged by the one label that its longer answer names."""

    asked: Target
    labels: frozenset[str]

    @property
    def identity(self) -> Identity:
        """The model's, with how it was judged."""
        return replace(self.asked.identity, name=f"{self.asked.identity.name}, the label it names")

    def generate(self, prompts: Iterable[Prompt], how: Generation) -> Iterator[tuple[int, Answer]]:
        """The label where an answer names exactly one, else the whole answer."""
        for number, answer in self.asked.generate(prompts, replace(how, max_tokens=_NAMING_TOKENS)):
            named = set(re.findall(r"[a-z]+", answer.text.lower())) & self.labels
            yield number, replace(answer, text=named.pop()) if len(named) == 1 else answer

    def score(self, pairs: Iterable[tuple[Pair, ...]]) -> Iterator[tuple[int, list[Scored]]]:
        """As the model does."""
        return self.asked.score(pairs)

    def read(self, texts: Iterable[str]) -> Iterator[tuple[int, Scored]]:
        """As the model does."""
        return self.asked.read(texts)


def admit(path: Path, settings: Settings) -> None:
    """Takes the lines in with why they may be learned from, unless they are in already."""
    store = open_store(settings.database, settings.home)
    try:
        if not store.datasets.find(digest_of(path), owner=LOCAL):
            grounds = Grounds(
                basis="public",
                licence="facts of package lists",
                provenance="first lines of Debian's package descriptions",
            )
            Registry(store, settings.home).add("section-lines", path, grounds)
    finally:
        store.close()


def own_home(ref: str, home: Path) -> Settings:
    """A home for this alone, in which the model lies where it lies in the person's own."""
    person = resolve_settings()
    model = library.resolve(ref, settings=person)
    if model.is_relative_to(person.home):
        place = home / model.relative_to(person.home)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.unlink(missing_ok=True)
        place.symlink_to(model)
    return replace(person, home=home, database=None)


def taught(options: argparse.Namespace, name: str, settings: Settings) -> tuple[Tuned, float]:
    """The training, by the very function behind `freehold tune`, and its seconds."""
    admit(options.train, settings)
    spec = TrainSpec(
        base="",
        data=str(options.train.absolute()),
        rank=options.rank,
        alpha=2.0 * options.rank,
        lr=options.lr,
        epochs=options.epochs,
        batch_examples=options.batch,
        seed=options.seed,
        threads=options.threads,
    )
    start = time.monotonic()
    made = tune(options.model, spec, name, settings=settings, again=not options.reuse)
    return made, time.monotonic() - start


class Rows:
    """What each asked model came to, told at once."""

    def __init__(self, task: Task) -> None:
        self.task = task
        self.found: list[tuple[Result, float]] = []

    def ask(self, target: Target) -> Result:
        """All items, judged."""
        start = time.monotonic()
        result = run_task(self.task, target)
        seconds = time.monotonic() - start
        self.found.append((result, seconds))
        sys.stderr.write(f"{result.target.name}: {result.estimate.value:.3f} ({seconds:.0f} s)\n")
        return result

    def text(self) -> str:
        """The table."""
        rows = [
            [result.target.name, f"{e.value:.3f}", f"{e.low:.3f}-{e.high:.3f}", f"{seconds:.0f}"]
            for result, seconds in self.found
            for e in (result.estimate,)
        ]
        return table(["strict accuracy", "share", "95 %", "s"], rows)

    def page(self, first: Result) -> str:
        """All of them with their intervals, and how far each is from the first."""
        results = [result for result, _ in self.found]
        compared = [(self.task.name, compare(first, r)) for r in results if r is not first]
        return report_page(
            Report(
                title="Sections of Debian's packages, before and after",
                results=results,
                comparisons=compared,
            )
        )

    def facts(self) -> dict[str, Any]:
        """By name, as JSON."""
        return {
            result.target.name: result.estimate.as_dict() | {"seconds": round(seconds, 1)}
            for result, seconds in self.found
        }


def measured(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Every row, in order; what the record keeps."""
    settings = own_home(options.model, options.home)
    base = library.resolve(options.model, settings=settings)
    rows = Rows(task_of(options.heldout))
    before = rows.ask(target_of(base, None, "before"))
    rows.ask(naive_bayes(options.train))
    labels = frozenset(line.label for line in read_lines(options.train))
    for larger in options.larger:
        untaught = target_of(larger, None, f"{larger.stem}, taught nothing")
        rows.ask(untaught)
        rows.ask(Kindly(untaught, labels))
    made, seconds = taught(options, f"section-{options.seed}", settings)
    sys.stderr.write(f"training: {seconds:.0f} s\n")
    adapter = made.result.adapter_dir
    assert adapter is not None, "the training ended"
    after = rows.ask(target_of(base, adapter, "after"))
    exports = {}
    for label, how in (("F16", {}), (options.recipe, {"recipe": options.recipe})):
        target = folder / f"section-{label}.gguf"
        wanted = Wanted(form="gguf", output=target, held_out=options.heldout, **how)
        done = export(options.model, adapter, wanted, settings=settings)
        exports[label] = done.drift.as_dict() | {"size_bytes": done.size_bytes}
        rows.ask(target_of(target, None, f"exported {label}, Freehold"))
        if options.llama_python:
            said = partial(llama_cpp_answers, options.llama_python, target, options.heldout)
            rows.ask(Elsewhere(f"exported {label}, llama.cpp", said))
    print(rows.text())
    page = options.home / "report.html"
    page.write_text(rows.page(before), encoding="utf-8")
    gain = compare(before, after)
    print(f"\ntraining took {seconds:.0f} s; {gain.verdict}; as a page: {page}")
    return {
        "rows": rows.facts(),
        "training_s": round(seconds, 1),
        "tokens_per_s": made.result.tokens_per_s,
        "heldout_loss": made.result.heldout_loss,
        "gain": gain.as_dict(),
        "exports": exports,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="starter")
    parser.add_argument("--train", type=Path, default=DATA / "train.jsonl")
    parser.add_argument("--heldout", type=Path, default=DATA / "heldout.jsonl")
    parser.add_argument("--larger", type=Path, nargs="*", default=[], help="files to ask as well")
    parser.add_argument("--llama-python", help="a Python that has llama_cpp")
    parser.add_argument("--reuse", action="store_true", help="a training that has ended already")
    parser.add_argument("--recipe", default="Q8_0")
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--lr", type=float)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--home", type=Path, default=HOME, help="for data, adapter and record")
    parser.add_argument("--results", type=Path, default=RESULTS)
    options = parser.parse_args()
    ops.set_threads(options.threads)
    with tempfile.TemporaryDirectory() as folder:
        found = measured(options, Path(folder))
    asked = {
        key: str(value) if isinstance(value, Path) else value
        for key, value in vars(options).items()
        if key in ("model", "recipe", "rank", "lr", "epochs", "batch", "seed", "threads", "reuse")
    }
    print(write_result("section", {"asked": asked, **found}, folder=options.results))


if __name__ == "__main__":
    main()
