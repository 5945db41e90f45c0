"""`freehold batch`: a file in, answers out, each once, whatever breaks it off."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Run


def requests(path: Path, model: str, count: int, **more: Any) -> Path:
    with path.open("w") as file:
        for number in range(count):
            body = {"model": model, "prompt": f"{number} and", "max_tokens": 2, **more}
            said = {"custom_id": f"n{number}", "method": "POST", "url": "/v1/completions"}
            file.write(json.dumps(said | {"body": body}) + "\n")
    return path


def ids(path: Path) -> list[str]:
    return [json.loads(line)["custom_id"] for line in path.read_text().splitlines()]


def test_a_file_that_is_not_valid_is_refused_by_its_line(freehold: Run, tmp_path: Path) -> None:
    file = requests(tmp_path / "in.jsonl", "m", 2)
    file.write_text(file.read_text() + "{}\n")
    ran = freehold("batch", str(file))
    assert ran.status == 2
    assert "line 3" in ran.err
    assert freehold("batch", str(tmp_path / "none")).status == 2


def test_lines_that_have_an_answer_are_left_alone(freehold: Run, tmp_path: Path) -> None:
    file = requests(tmp_path / "in.jsonl", "m", 2)
    done = tmp_path / "in.jsonl.output.jsonl"
    done.write_text('{"custom_id": "n0"}\n{"custom_id": "n1"}\n{"custom_id": "cut o')
    ran = freehold("batch", str(file))
    assert ran.status == 0
    assert "2 were before" in ran.err
    assert ids(done) == ["n0", "n1"]


def test_a_file_of_something_else_is_not_written_to(freehold: Run, tmp_path: Path) -> None:
    file = requests(tmp_path / "in.jsonl", "m", 2)
    other = tmp_path / "notes.txt"
    other.write_text("my notes\n")
    assert freehold("batch", str(file), "--output", str(other)).status == 2
    assert other.read_text() == "my notes\n"


@pytest.mark.weights
def test_answers_every_line_and_goes_on_after_a_kill(
    freehold: Run, tmp_path: Path, starter_path: Path
) -> None:
    model = starter_path.stem
    file = requests(tmp_path / "in.jsonl", model, 40)
    output = tmp_path / "out.jsonl"
    said = ["batch", str(file), "--model", str(starter_path), "--output", str(output)]
    child = subprocess.Popen(
        [sys.executable, "-m", "freehold", *said],
        env=os.environ,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and (not output.exists() or len(ids_whole(output)) < 5):
        time.sleep(0.02)
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    before = ids_whole(output)
    assert before
    ran = freehold(*said, "--json")
    assert ran.status == 0
    told = json.loads(ran.out)
    assert (told["total"], told["failed"]) == (40, 0)
    assert told["before"] == len(before)
    assert sorted(ids(output)) == sorted(f"n{number}" for number in range(40))


def ids_whole(path: Path) -> list[str]:
    lines = path.read_bytes().splitlines(keepends=True)
    return [json.loads(line)["custom_id"] for line in lines if line.endswith(b"\n")]
