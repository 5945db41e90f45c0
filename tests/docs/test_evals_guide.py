"""What docs/evals.md tells a reader to do, works."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import venv
from pathlib import Path
from typing import Any

import pytest
from openai import OpenAI

from freehold.evals.likeness import MEASURES
from freehold.evals.sets import known_sets
from tests.cli.conftest import Run, freehold
from tests.server.live import LiveServer

__all__ = ["freehold"]

ROOT = Path(__file__).resolve().parents[2]
GUIDE = (ROOT / "docs" / "evals.md").read_text("utf-8")
NEEDS_DATA = "--task"


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", GUIDE, re.DOTALL | re.MULTILINE)


def commands() -> list[list[str]]:
    lines = [line[2:] for block in blocks("console") for line in block.splitlines()]
    return [shlex.split(line) for line in lines]


def with_marks(words: list[str]) -> Any:
    marks = [] if "--list" in words else [pytest.mark.weights]
    if NEEDS_DATA in words:
        here = all(one.is_here for one in known_sets() if one.name in words)
        marks.append(pytest.mark.skipif(not here, reason="needs the data set's package"))
    return pytest.param(words, id=" ".join(words[1:])[:60], marks=marks)


@pytest.mark.parametrize("words", [with_marks(words) for words in commands()])
def test_command_of_the_guide(
    words: list[str],
    home: Path,
    tmp_path: Path,
    freehold: Run,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> None:
    if "--list" not in words:
        starter: Path = request.getfixturevalue("starter_path")
        place = home / "models" / "starter" / starter.name
        place.parent.mkdir(parents=True)
        place.symlink_to(starter.absolute())
    (tmp_path / "capitals.jsonl").write_text(blocks("jsonl")[0])
    monkeypatch.chdir(tmp_path)
    ran = freehold(*words[1:])
    assert ran.status == 0, ran.err
    assert "starter" in ran.out or "--list" in words
    for flag in ("--html", "--items"):
        if flag in words:
            assert (tmp_path / words[words.index(flag) + 1]).stat().st_size


def test_the_guide_has_something_to_run_and_names_every_set_and_measure() -> None:
    assert len(commands()) >= 5
    for one in known_sets():
        assert f"`{one.name}`" in GUIDE or one.name.startswith("basic-skills")
    for name in MEASURES:
        assert f"`{name}`" in GUIDE or name.startswith("rouge_")


@pytest.mark.weights
def test_the_guides_evaluation_over_http(live_server: LiveServer) -> None:
    (code,) = blocks("python")
    code = code.replace("http://127.0.0.1:8000/v1", live_server.openai_url)
    code = code.replace('"starter"', json.dumps(live_server.model))
    names: dict[str, Any] = {}
    exec(code, names)
    client: OpenAI = names["client"]
    exam, run = names["exam"], names["run"]
    for _ in range(600):
        run = client.evals.runs.retrieve(run.id, eval_id=exam.id)
        if run.status not in {"queued", "in_progress"}:
            break
        client.models.list()
    assert run.status == "completed", run.error
    assert run.result_counts.total == 1
    (item,) = client.evals.runs.output_items.list(run.id, eval_id=exam.id)
    says_it = "paris" in str(item.sample.output[0].content).lower()
    assert item.results[0].passed is says_it
    assert run.result_counts.passed == says_it
    assert client.evals.list().data
    assert client.evals.runs.delete(run.id, eval_id=exam.id).deleted
    assert client.evals.delete(exam.id).deleted
    client.close()


ROWS = [
    {"question": "Which animal barks?", "choices": ["The dog", "The cat"], "gold": 0},
    {"question": "Which is a colour?", "choices": ["Seven", "Blue"], "gold": 1},
    {"question": "Where do fish live?", "choices": ["In water", "In a tree"], "gold": 0},
]
TASK = """
task: own
dataset_path: json
dataset_kwargs: {{data_files: {{test: {path}}}}}
output_type: multiple_choice
test_split: test
doc_to_text: "Question: {{{{question}}}}\\nAnswer:"
doc_to_target: gold
doc_to_choice: choices
metric_list:
  - {{metric: acc, aggregation: mean, higher_is_better: true}}
  - {{metric: acc_norm, aggregation: mean, higher_is_better: true}}
"""
INSPECT = """
from inspect_ai import Task, task
from inspect_ai.dataset import Sample
from inspect_ai.scorer import includes
@task
def capitals():
    ask = Sample(input="What is the capital of France?", target="Paris")
    return Task(dataset=[ask], scorer=includes())
"""


@pytest.mark.slow
@pytest.mark.network
@pytest.mark.weights
def test_other_harnesses_run_unchanged(live_server: LiveServer, tmp_path: Path) -> None:
    """lm-eval and inspect-ai of the versions that the guide names, in an environment of theirs."""
    from freehold.evals import Data, Item, Metric, Pair, Task, run_task
    from freehold.evals.http_target import HttpTarget

    wanted = [re.search(rf"{name}==[\d.]+", GUIDE) for name in ("lm-eval", "inspect-ai")]
    venv.create(tmp_path / "venv", with_pip=True)
    tools = tmp_path / "venv" / "bin"
    names = [found[0] for found in wanted if found is not None]
    subprocess.run([tools / "pip", "install", "-q", *names, "openai"], check=True, timeout=900)
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    (tmp_path / "own.yaml").write_text(TASK.format(path=rows))
    args = (
        f"model={live_server.model},base_url={live_server.openai_url}/completions,"
        "tokenizer_backend=remote"
    )
    offline = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "OPENAI_API_KEY": "none"}
    subprocess.run(
        [tools / "lm_eval", "--model", "local-completions", "--model_args", args, "--tasks", "own",
         "--include_path", tmp_path, "--batch_size", "4", "--output_path", tmp_path / "out"],
        check=True, env={**os.environ, **offline, "HF_HOME": str(tmp_path / "hf")}, timeout=300,
    )  # fmt: skip
    (found,) = (tmp_path / "out").rglob("results*.json")
    theirs = json.loads(found.read_text())["results"]["own"]
    items = []
    for number, row in enumerate(ROWS):
        prompt = f"Question: {row['question']}\nAnswer:"
        pairs = tuple(Pair(prompt, f" {choice}") for choice in row["choices"])  # type: ignore[attr-defined]
        gold = row["gold"]
        assert isinstance(gold, int)
        items.append(Item(id=str(number), prompt=prompt, choices=pairs, gold=gold))
    metrics = (Metric(name="acc"), Metric(name="acc_norm"))
    data = Data(name="own", digest="sha256:" + "0" * 64)
    task = Task(name="own", items=items, asks="choice", metrics=metrics, main="acc", data=data)
    ours = run_task(task, HttpTarget(live_server.openai_url, live_server.model))
    for name in ("acc", "acc_norm"):
        assert ours.estimates[name].value == pytest.approx(theirs[f"{name},none"])

    (tmp_path / "capitals.py").write_text(INSPECT)
    env = {"FREEHOLD_BASE_URL": live_server.openai_url, "FREEHOLD_API_KEY": "none"}
    done = subprocess.run(
        [tools / "inspect", "eval", "capitals.py", "--model",
         f"openai-api/freehold/{live_server.model}", "--display", "plain", "--temperature", "0"],
        cwd=tmp_path, env={**os.environ, **env}, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert re.search(r"accuracy\s+[01]\.", done.stdout), done.stdout
