"""A conversation, first without a terminal, then at a real one."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from freehold.cli.answer import Asking
from freehold.cli.conversation import Conversation
from freehold.engine.sampler import Sampling
from tests.cli.conftest import ROOT, SCRIPTED
from tests.cli.scripted import Model
from tests.waiting import PATIENCE_S, soon


@pytest.fixture
def conversation(monkeypatch: pytest.MonkeyPatch) -> Conversation:
    monkeypatch.setenv("FREEHOLD_SCRIPT", "Good day")
    asking = Asking(system="Be kind.", raw=False, sampling=Sampling(), max_tokens=None)
    return Conversation(Model(), asking)  # type: ignore[arg-type]


def test_turns_accumulate(conversation: Conversation) -> None:
    assert conversation.take("hello")
    assert conversation.take("again")
    assert [turn["role"] for turn in conversation.turns] == ["user", "assistant"] * 2
    assert conversation.turns[2]["content"] == "again"


def test_clear_forgets(conversation: Conversation) -> None:
    conversation.take("hello")
    assert conversation.take("/clear")
    assert conversation.turns == []


def test_system_replaces_the_message_and_forgets(conversation: Conversation) -> None:
    conversation.take("hello")
    conversation.take("/system Be brief.")
    assert conversation.asking.system == "Be brief."
    assert conversation.turns == []
    conversation.take("/system")
    assert conversation.asking.system is None


def test_exit_leaves_and_unknown_commands_do_not_reach_the_model(
    conversation: Conversation, capsys: pytest.CaptureFixture[str]
) -> None:
    assert conversation.take("/nonesuch")
    assert "/help" in capsys.readouterr().err
    assert conversation.turns == []
    assert not conversation.take("/exit")


def test_refused_line_leaves_the_conversation_as_it_was(
    conversation: Conversation, capsys: pytest.CaptureFixture[str]
) -> None:
    conversation.take("hello")
    before = list(conversation.turns)
    assert conversation.take("x" * 500)
    assert "error[request.prompt_too_long]" in capsys.readouterr().err
    assert conversation.turns == before


class Terminal:
    """The scripted command at a pseudo-terminal."""

    def __init__(self, env: dict[str, str]) -> None:
        self.master, slave = pty.openpty()
        self.process = subprocess.Popen(
            [*SCRIPTED, "run", "model"],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            cwd=ROOT,
            # Without an answer to its question where the cursor is, prompt_toolkit would wait.
            env={**os.environ, "TERM": "xterm", "PROMPT_TOOLKIT_NO_CPR": "1", **env},
            start_new_session=True,
        )
        os.close(slave)
        self.seen = ""

    def type(self, text: str) -> None:
        os.write(self.master, text.encode())

    def wait_for(self, text: str, *, within_s: float = PATIENCE_S) -> None:
        """Read until the text appears, from where the last wait ended."""
        end = time.monotonic() + within_s
        while text not in self.seen:
            ready, _, _ = select.select([self.master], [], [], max(0.0, end - time.monotonic()))
            assert ready, f"{text!r} never came; the terminal showed {self.seen!r}"
            try:
                data = os.read(self.master, 65536)
            except OSError:  # the other side closed
                data = b""
            assert data, f"{text!r} never came; the terminal showed {self.seen!r}"
            self.seen += re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", data.decode(errors="replace"))
        self.seen = self.seen.partition(text)[2]

    def ended(self) -> int:
        """The exit status, once the command has ended by itself."""
        return self.process.wait(timeout=PATIENCE_S)


@contextmanager
def at_terminal(**env: str) -> Iterator[Terminal]:
    """A conversation that shows its prompt; what is left of it at the end is killed."""
    terminal = Terminal(env)
    try:
        terminal.wait_for(">>>")
        yield terminal
    finally:
        terminal.process.kill()
        terminal.process.wait(timeout=PATIENCE_S)
        os.close(terminal.master)


# Far longer than anybody takes to interrupt it.
SLOW = {"FREEHOLD_SCRIPT": "|".join(["piece "] * 5000), "FREEHOLD_SCRIPT_PAUSE": "0.02"}


@pytest.fixture
def terminal(home: Path) -> Iterator[Terminal]:
    with at_terminal(FREEHOLD_SCRIPT="|".join(["piece "] * 100)) as terminal:
        yield terminal


def test_enter_sends_and_history_is_private(terminal: Terminal, home: Path) -> None:
    terminal.type("hello\r")
    terminal.wait_for("generated 100 tokens")
    terminal.wait_for(">>>")
    terminal.type("\x04")
    assert terminal.ended() == 0
    history = home / "history"
    assert "hello" in history.read_text("utf-8")
    assert history.stat().st_mode & 0o777 == 0o600


def test_alt_enter_makes_a_second_line(terminal: Terminal, home: Path) -> None:
    terminal.type("one\x1b\rtwo\r")
    terminal.wait_for("tok/s")
    terminal.type("/exit\r")
    assert terminal.ended() == 0
    assert "+one\n+two\n" in (home / "history").read_text("utf-8")


def test_interrupt_stops_the_answer_and_keeps_the_conversation(home: Path) -> None:
    with at_terminal(**SLOW) as terminal:
        terminal.type("hello\r")
        terminal.wait_for("piece piece")
        os.killpg(terminal.process.pid, signal.SIGINT)
        terminal.wait_for("interrupted")
        terminal.wait_for(">>>")
        terminal.type("/exit\r")
        assert terminal.ended() == 0


def test_two_interrupts_at_the_prompt_leave(terminal: Terminal) -> None:
    terminal.type("\x03")
    terminal.wait_for("Ctrl-C again")
    terminal.wait_for(">>>")
    terminal.type("\x03")
    assert terminal.ended() == 0


def test_two_interrupts_during_an_answer_leave(home: Path, tmp_path: Path) -> None:
    with at_terminal(**SLOW, FREEHOLD_SCRIPT_STUBBORN=str(tmp_path / "first")) as terminal:
        terminal.type("hello\r")
        terminal.wait_for("piece piece")
        os.killpg(terminal.process.pid, signal.SIGINT)
        soon((tmp_path / "first").exists)
        os.killpg(terminal.process.pid, signal.SIGINT)
        assert terminal.ended() == 130


def test_history_can_be_switched_off(home: Path) -> None:
    with at_terminal(FREEHOLD_SCRIPT="Good day", FREEHOLD_HISTORY="0") as terminal:
        terminal.type("hello\r")
        terminal.wait_for("tok/s")
        terminal.type("/exit\r")
        assert terminal.ended() == 0
    assert not (home / "history").exists()


def test_answer_cannot_drive_the_terminal(home: Path) -> None:
    with at_terminal(FREEHOLD_SCRIPT="a\x1b]0;title\x07b") as terminal:
        terminal.type("hello\r")
        terminal.wait_for("a\N{REPLACEMENT CHARACTER}]0;title\N{REPLACEMENT CHARACTER}b")
