"""Code that a model wrote runs shut in: each way out is tried, and each is closed."""

from __future__ import annotations

import socket
import sys
import time
from pathlib import Path

import pytest

from freehold.errors import BadTask, NoIsolation
from freehold.evals import Answer, Item, sandbox
from freehold.evals.running_code import code_scorer
from freehold.evals.sandbox import Isolation, Limits, Ran, run_program

SHORT = Limits(wall_s=5.0, memory_bytes=512 << 20)


def is_isolated() -> bool:
    try:
        return run_program("").passed
    except NoIsolation:
        return False


needs_isolation = pytest.mark.skipif(
    not is_isolated(), reason="needs user namespaces and Landlock of this kernel"
)


def ran(program: str, *, wall_s: float = 5.0) -> Ran:
    return run_program(program, limits=Limits(wall_s=wall_s, memory_bytes=512 << 20))


@needs_isolation
@pytest.mark.parametrize(
    ("program", "status"),
    [
        ("assert 1 + 1 == 2", "passed"),
        ("import json, math, random, re, typing, collections, hashlib", "passed"),
        ("assert False", "raised AssertionError"),
        ("def f(:", "syntax"),
        ("raise SystemExit(0)", "exit"),
        ("import os; os._exit(0)", "killed"),
        ("x = 'a' * (1 << 33)", "memory"),
        ("print('x' * 1_000_000)", "too much output"),
        ("open('/etc/passwd')", "raised PermissionError"),
        ("import os; os.listdir('/proc')", "raised PermissionError"),
        ("import os; os.listdir('/')", "raised PermissionError"),
        ("import subprocess; subprocess.run(['/bin/ls'])", "raised PermissionError"),
        ("import socket; socket.socket().bind(('127.0.0.1', 0))", "raised PermissionError"),
        ("open('big', 'wb').write(bytes(64 << 20))", "raised OSError"),
        ("open('own', 'w').write('x'); assert open('own').read() == 'x'", "passed"),
        ("import os; assert os.getpid() == 1", "passed"),
        ("import os, sys; assert 'PATH' not in os.environ; assert len(sys.argv) == 1", "passed"),
    ],
)
def test_a_program_ends_as_it_must(program: str, status: str) -> None:
    assert ran(program).status == status


@needs_isolation
def test_nothing_of_this_machine_can_be_read_or_changed(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("kept")
    assert ran(f"open({str(secret)!r}).read()").status == "raised PermissionError"
    assert ran(f"open({str(secret)!r}, 'w')").status == "raised PermissionError"
    assert ran(f"import os; os.remove({str(secret)!r})").status == "raised PermissionError"
    assert secret.read_text() == "kept"


@needs_isolation
def test_a_server_on_this_machine_cannot_be_reached() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        program = f"import socket; socket.create_connection(('127.0.0.1', {port}), 1)"
        assert not ran(program).passed
        server.settimeout(0.2)
        with pytest.raises(TimeoutError):
            server.accept()


@needs_isolation
def test_a_program_that_never_ends_is_ended_with_all_it_started() -> None:
    program = """
import os, time
for _ in range(3):
    if os.fork() == 0:
        os.setsid()
        time.sleep(600)
time.sleep(600)
"""
    started = time.monotonic()
    assert ran(program, wall_s=1.0).status == "timeout"
    assert time.monotonic() - started < 5


@needs_isolation
def test_what_a_program_leaves_running_is_gone_with_it() -> None:
    started = time.monotonic()
    found = ran("import os, time\nif os.fork() == 0:\n    os.setsid(); time.sleep(600)")
    assert found.passed
    assert time.monotonic() - started < 5


@needs_isolation
def test_the_output_is_kept_up_to_its_limit() -> None:
    assert ran("print('hello')").output == "hello\n"


@needs_isolation
def test_an_answer_passes_when_its_tests_do() -> None:
    item = Item(
        id="0",
        fields={"before": "def add(a, b):\n", "after": "assert add(2, 3) == 5"},
    )
    fenced = Item(id="1", fields={"after": "assert add(2, 3) == 5"})
    good, bad, quits = "    return a + b", "    return a - b", "    return 5\nraise SystemExit"
    scores = code_scorer(limits=SHORT).score(
        [
            *((item, Answer(text=text)) for text in (good, bad, quits)),
            (fenced, Answer(text="Here:\n```python\ndef add(a, b):\n    return a + b\n```\nDone.")),
        ]
    )
    assert [score.values["passed"] for score in scores] == [1, 0, 0, 1]
    assert scores[1].says == "raised AssertionError"


def test_without_isolation_nothing_runs_unless_it_was_asked_for(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    child = tmp_path / "child.py"
    text = sandbox._CHILD.read_text("utf-8")
    child.write_text(text.replace("_libc.unshare(every)", "ctypes.set_errno(1) or -1"))
    monkeypatch.setattr(sandbox, "_CHILD", child)
    mark = tmp_path / "ran"
    with pytest.raises(NoIsolation, match="namespaces"):
        run_program(f"open({str(mark)!r}, 'w')")
    with pytest.raises(NoIsolation):
        code_scorer()
    assert not mark.exists()
    assert run_program("print('x')", isolation=Isolation.limits, limits=SHORT).passed


def test_elsewhere_than_on_linux_nothing_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(NoIsolation, match="Linux"):
        run_program("")


def test_the_limits_alone_still_hold() -> None:
    limits = Limits(wall_s=1.0, memory_bytes=256 << 20)
    for program, status in (("while True: pass", "timeout"), ("x = 'a' * (1 << 32)", "memory")):
        found = run_program(program, isolation=Isolation.limits, limits=limits)
        assert found.status == status


def test_an_item_without_tests_is_an_error() -> None:
    scorer = code_scorer(isolation=Isolation.limits, limits=SHORT)
    with pytest.raises(BadTask):
        scorer.score([(Item(id="0"), Answer(text="pass"))])
