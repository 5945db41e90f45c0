"""A narrow task taught in minutes, and kept through export: `python -m benchmarks.section`.

Debian's package descriptions -> their section, one of six; 600 lines teach, 250 others judge. The
starter model is asked, taught, asked again, exported as GGUF and asked through Freehold and through
llama.cpp; naive Bayes on the same 600 lines, and a larger model that was taught nothing, stand
beside it. An answer counts that is the label to the letter.

Room: benchmarks. Every share has Wilson's 95 % interval.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.record import RESULTS, table, write_result
from benchmarks.workers import ROOT
from freehold import library, ops
from freehold.config import Settings, resolve_settings
from freehold.evals import Data, Generation, Item, LocalTarget, Metric, Task, compare, run_task
from freehold.evals.results import Result
from freehold.evals.scoring import exact_scorer
from freehold.evals.statistics import Estimate, share_estimate
from freehold.evals.target import Identity
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


def naive_bayes(train: Sequence[Line], heldout: Sequence[Line]) -> float:
    """How many held-out lines it gets right: words of the description, add-one smoothing."""
    counts: dict[str, Counter[str]] = {}
    for line in train:
        counts.setdefault(line.label, Counter()).update(_words(line.description))
    known = set().union(*counts.values())
    totals = {label: sum(words.values()) + len(known) for label, words in counts.items()}
    priors = Counter(line.label for line in train)

    def weight(label: str, words: list[str]) -> float:
        found = (counts[label][word] + 1 for word in words if word in known)
        return math.log(priors[label]) + sum(math.log(n / totals[label]) for n in found)

    right = sum(
        max(counts, key=lambda label: weight(label, _words(line.description))) == line.label
        for line in heldout
    )
    return float(right)


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())


def answers(task: Task, model: Path, adapter: Path | None, name: str) -> Result:
    """The task on a model in this process, with an adapter or without."""
    loaded = load_chat(model, adapters=None if adapter is None else {"taught": adapter})
    target = LocalTarget(
        loaded,
        Identity(name=name, digest=identity_of(model).digest),
        adapter="" if adapter is None else "taught",
    )
    return run_task(task, target)


def llama_cpp_answers(python: str, model: Path, heldout: Path) -> list[str]:
    """What llama.cpp answers, with its own tokenizer and its own reading of the template."""
    command = [python, "-m", "benchmarks.side_llama_answers", str(model), str(heldout)]
    command += ["--tokens", str(_ANSWER_TOKENS)]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    found: list[str] = json.loads(done.stdout)
    return found


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


class Report:
    """Rows as they come, told at once."""

    def __init__(self, n: int) -> None:
        self.n = n
        self.rows: list[tuple[str, Estimate, float]] = []

    def add(self, name: str, passed: float, seconds: float) -> None:
        """A row, by how many answers were right."""
        found = share_estimate(passed, self.n)
        self.rows.append((name, found, seconds))
        sys.stderr.write(f"{name}: {found.value:.3f} ({seconds:.0f} s)\n")

    def text(self) -> str:
        """The table."""
        rows = [
            [name, f"{found.value:.3f}", f"{found.low:.3f}-{found.high:.3f}", f"{seconds:.0f}"]
            for name, found, seconds in self.rows
        ]
        return table(["strict accuracy", "share", "95 %", "s"], rows)

    def facts(self) -> dict[str, Any]:
        """By name, as JSON."""
        return {
            name: found.as_dict() | {"seconds": round(seconds, 1)}
            for name, found, seconds in self.rows
        }


def measured(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Every row, in order; what the record keeps."""
    settings = own_home(options.model, options.home)
    task, base = task_of(options.heldout), library.resolve(options.model, settings=settings)
    lines = read_lines(options.heldout)
    report = Report(len(lines))

    def ask(name: str, model: Path, adapter: Path | None = None) -> Result:
        start = time.monotonic()
        result = answers(task, model, adapter, name)
        report.add(name, result.estimate.value * report.n, time.monotonic() - start)
        return result

    start = time.monotonic()
    found = naive_bayes(read_lines(options.train), lines)
    report.add("naive Bayes on the same lines", found, time.monotonic() - start)
    before = ask("before", base)
    for larger in options.larger:
        ask(f"{larger.stem}, taught nothing", larger)
    made, seconds = taught(options, f"section-{options.seed}", settings)
    sys.stderr.write(f"training: {seconds:.0f} s\n")
    adapter = made.result.adapter_dir
    assert adapter is not None, "the training ended"
    after = ask("after", base, adapter)
    exports = {}
    for label, how in (("F16", {}), (options.recipe, {"recipe": options.recipe})):
        target = folder / f"section-{label}.gguf"
        wanted = Wanted(form="gguf", output=target, held_out=options.heldout, **how)
        done = export(options.model, adapter, wanted, settings=settings)
        exports[label] = done.drift.as_dict() | {"size_bytes": done.size_bytes}
        ask(f"exported {label}, Freehold", target)
        if options.llama_python:
            start = time.monotonic()
            said = llama_cpp_answers(options.llama_python, target, options.heldout)
            right = sum(a.strip() == line.label for a, line in zip(said, lines, strict=True))
            report.add(f"exported {label}, llama.cpp", right, time.monotonic() - start)
    print(report.text())
    gain = compare(before, after)
    print(f"\ntraining took {seconds:.0f} s; {gain.verdict}")
    return {
        "rows": report.facts(),
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
        if key in ("model", "recipe", "rank", "lr", "epochs", "batch", "seed", "threads")
    }
    print(write_result("section", {"asked": asked, **found}, folder=options.results))


if __name__ == "__main__":
    main()
