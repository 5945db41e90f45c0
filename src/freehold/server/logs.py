"""What the server writes down: one line for each request and each event of its own, to stderr.

Room: server. A line has ids, counts, times and templates of paths; must never see the text of a
prompt or an answer, a query string or a header.
"""

from __future__ import annotations

import json
import sys
import traceback
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import UTC, datetime
from time import monotonic
from typing import Literal, TextIO

__all__ = ["Log", "LogForm", "RequestRecord", "current_record"]

LogForm = Literal["text", "json"]


@dataclass
class RequestRecord:
    """What is known about one request by the time its line is written.

    Units: `started` is of the monotonic clock; seconds are until the last byte was sent.
    """

    id: str
    method: str
    route: str = "-"
    status: int = 0
    key_id: str = "-"
    model: str = "-"
    prompt_tokens: int = 0
    completion_tokens: int = 0
    complete: bool = False
    started: float = field(default_factory=monotonic)

    def facts(self) -> dict[str, object]:
        """The fields of the line, in its order."""
        facts: dict[str, object] = {
            "request": self.id,
            "key": self.key_id,
            "method": self.method,
            "route": self.route,
            "status": self.status,
            "seconds": round(monotonic() - self.started, 4),
        }
        if self.model != "-":
            facts["model"] = self.model
            facts["prompt_tokens"] = self.prompt_tokens
            facts["completion_tokens"] = self.completion_tokens
        if not self.complete:
            facts["aborted"] = True
        return facts


# The request that the running task works for. The record is shared, so what a task started for
# the request adds to it is seen where the line is written.
current_record: ContextVar[RequestRecord | None] = ContextVar("current_record", default=None)


class Log:
    """Writes lines: `text` is time, event and key=value, `json` one object a line."""

    def __init__(self, form: LogForm = "text", *, to: TextIO | None = None) -> None:
        self._form = form
        self._to = to

    def request(self, record: RequestRecord) -> None:
        """The access line of a request that has ended."""
        self.event("request", record.facts())

    def bug(self, error: BaseException, *, request_id: str) -> None:
        """An unforeseen exception: its types and where it was raised.

        Its own words are left out, because they may quote a request.
        """
        facts = {"request": request_id, "kind": type(error).__name__, "trace": _trace(error)}
        self.event("bug", facts)

    def event(self, name: str, facts: Mapping[str, object]) -> None:
        """One line of any kind."""
        time = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        if self._form == "json":
            line = json.dumps({"time": time, "event": name, **facts}, separators=(",", ":"))
        else:
            pairs = (f"{key}={_plain(value)}" for key, value in facts.items())
            line = " ".join((time, name, *pairs))
        stream = self._to or sys.stderr
        stream.write(line + "\n")
        stream.flush()


def _plain(value: object) -> str:
    text = str(value).lower() if isinstance(value, bool) else str(value)
    plain = text.isprintable() and not any(mark in text for mark in ' "=')
    return text if plain and text else json.dumps(text)


def _trace(error: BaseException) -> list[str]:
    """Innermost first: each exception's type, and the places it came through."""
    lines: list[str] = []
    seen: BaseException | None = error
    while seen is not None and len(lines) < 100:
        lines.append(type(seen).__name__)
        frames = traceback.extract_tb(seen.__traceback__)
        lines += [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in reversed(frames)]
        seen = seen.__cause__ or (None if seen.__suppress_context__ else seen.__context__)
    return lines
