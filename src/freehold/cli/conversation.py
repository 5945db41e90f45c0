"""A conversation at the keyboard: history, multi-line editing, and a few slash commands.

Room: cli. Owns the list of turns; must not know how an answer is made.
"""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import TYPE_CHECKING

from freehold.cli.answer import SHOWN, Asking, ask, follow, stats_line
from freehold.cli.printing import print_error, safe_text, say
from freehold.config import Settings
from freehold.errors import FreeholdError

if TYPE_CHECKING:
    from prompt_toolkit import PromptSession
    from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent

    from freehold.local import Model

__all__ = ["Conversation", "converse"]

_HELP = """\
Enter sends, Alt+Enter starts a new line. Ctrl-C stops an answer, twice leaves; Ctrl-D leaves.
  /clear          forget the conversation
  /system TEXT    set the system message (empty: the model's own) and forget the conversation
  /help           this text
  /exit           leave"""


class Conversation:
    """The turns so far and what the next line does to them. No terminal in here."""

    def __init__(self, model: Model, asking: Asking) -> None:
        self.model = model
        self.asking = asking
        self.turns: list[dict[str, str]] = []

    def take(self, line: str) -> bool:
        """Act on one line; False when it asks to leave.

        Mutates: the turns, the system message.
        """
        word, _, rest = line.strip().partition(" ")
        if not word:
            return True
        if word.startswith("/"):
            return self._command(word, rest.strip())
        self._answer(line)
        return True

    def _command(self, word: str, rest: str) -> bool:
        if word == "/exit":
            return False
        if word == "/clear":
            self.turns.clear()
            say("forgotten")
        elif word == "/system":
            self.asking = dataclasses.replace(self.asking, system=rest or None)
            self.turns.clear()
            say("system message set" if rest else "the model's own system message")
        elif word == "/help":
            say(_HELP)
        else:
            say(f"unknown command {safe_text(word)}; /help lists them")
        return True

    def _answer(self, line: str) -> None:
        asked = [*self.turns, {"role": "user", "content": line}]
        try:
            completion = follow(ask(self.model, asked, self.asking))
        except FreeholdError as error:
            # The conversation is as it was before this line, so a person can go on from there.
            print_error(error)
            return
        say(stats_line(completion))
        self.turns = [*asked, {"role": "assistant", "content": completion.text}]


def converse(model: Model, asking: Asking, *, settings: Settings) -> None:
    """Talk until the person leaves."""
    from freehold import ops

    session = _session(settings)
    conversation = Conversation(model, asking)
    drawn = "".join(
        f" · {name.replace('_', ' ')} {getattr(asking.sampling, name):g}"
        for name in SHOWN
        if asking.origin.get(name) == "model"
    )
    say(f"{model.name} · context {model.context_tokens} tokens · {ops.isa_name()}{drawn} · /help")
    interrupted = False
    while True:
        try:
            line = session.prompt(">>> ")
        except EOFError:
            return
        except KeyboardInterrupt:
            if interrupted:
                return
            interrupted = True
            say("(Ctrl-C again or Ctrl-D leaves)")
            continue
        interrupted = False
        # A second Ctrl-C during an answer passes through here and ends the program.
        if not conversation.take(line):
            return


def _session(settings: Settings) -> PromptSession[str]:
    from prompt_toolkit import PromptSession
    from prompt_toolkit.history import FileHistory, InMemoryHistory

    history = (
        FileHistory(str(_private_file(settings.home / "history")))
        if settings.history
        else InMemoryHistory()
    )
    return PromptSession(
        history=history,
        key_bindings=_keys(),
        multiline=True,
        prompt_continuation="... ",
        enable_open_in_editor=True,
    )


def _keys() -> KeyBindings:
    from prompt_toolkit.key_binding import KeyBindings

    keys = KeyBindings()

    @keys.add("enter")
    def _send(event: KeyPressEvent) -> None:
        event.current_buffer.validate_and_handle()

    @keys.add("escape", "enter")
    def _new_line(event: KeyPressEvent) -> None:
        event.current_buffer.insert_text("\n")

    return keys


def _private_file(path: Path) -> Path:
    """Create the file for its owner alone; what people type is nobody else's."""
    path.parent.mkdir(parents=True, exist_ok=True)
    os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600))
    path.chmod(0o600)
    return path
