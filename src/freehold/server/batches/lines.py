"""A batch's file, checked line by line before the first request is answered.

Room: server. Knows OpenAI's form of a line; must not know what an endpoint makes of its body.
"""

from __future__ import annotations

import json
from array import array
from dataclasses import dataclass, field
from typing import Any, BinaryIO

from freehold.errors import FreeholdError
from freehold.server.bodies import Limits, check_json

__all__ = ["ENDPOINTS", "Line", "Lines", "Problem", "read_line", "read_lines"]

ENDPOINTS = ("/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/responses")
MOST_LINES = 50_000
MOST_PROBLEMS = 100
_MOST_ID_CHARS = 512
_FIELDS = frozenset({"custom_id", "method", "url", "body"})


@dataclass(frozen=True)
class Problem:
    """What is wrong with a line (counted from 1); None: with the file."""

    code: str
    message: str
    line: int | None
    param: str | None = None


@dataclass(frozen=True)
class Line:
    """One request: its own name, and its body."""

    custom_id: str
    body: dict[str, Any]


@dataclass
class Lines:
    """Where the lines of a file are; the bytes stay on the disk."""

    starts: array[int] = field(default_factory=lambda: array("q"))
    lengths: array[int] = field(default_factory=lambda: array("q"))
    ids: list[str] = field(default_factory=list)
    model: str | None = None
    problems: list[Problem] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.starts)


def read_lines(handle: BinaryIO, endpoint: str, limits: Limits) -> Lines:
    """Judge every line of a file; up to 100 problems are told."""
    lines = Lines()
    seen: set[str] = set()
    number = at = 0
    while raw := handle.readline(limits.body_bytes + 1):
        number += 1
        if len(raw) > limits.body_bytes:
            lines.problems.append(
                Problem("line_too_long", f"a line has at most {limits.body_bytes} bytes", number)
            )
            return lines
        start, at = at, at + len(raw)
        if not raw.strip():
            continue
        if len(lines) == MOST_LINES:
            lines.problems.append(
                Problem("too_many_requests", f"a batch has at most {MOST_LINES} requests", number)
            )
            return lines
        problem = _judged(raw, number, endpoint, limits, lines, seen)
        if problem is not None:
            lines.problems.append(problem)
            if len(lines.problems) == MOST_PROBLEMS:
                return lines
        lines.starts.append(start)
        lines.lengths.append(len(raw))
    if not len(lines):
        lines.problems.append(Problem("empty_file", "the file has no request", None))
    return lines


def read_line(handle: BinaryIO, lines: Lines, number: int) -> Line:
    """The line with this number (from 0) of a file that was judged."""
    handle.seek(lines.starts[number])
    said = json.loads(handle.read(lines.lengths[number]))
    return Line(said["custom_id"], said["body"])


def _judged(
    raw: bytes, number: int, endpoint: str, limits: Limits, lines: Lines, seen: set[str]
) -> Problem | None:
    try:
        check_json(raw, limits)
    except FreeholdError as error:
        return Problem("invalid_json_line", str(error), number)
    said = json.loads(raw)
    if not isinstance(said, dict):
        return Problem("invalid_json_line", "a line is one JSON object", number)
    for name in said:
        if name not in _FIELDS:
            return Problem("invalid_request", f"unknown field {name[:100]!r}", number, name[:100])
    custom_id = said.get("custom_id")
    if not isinstance(custom_id, str) or not 0 < len(custom_id) <= _MOST_ID_CHARS:
        message = f"custom_id is a text of 1 to {_MOST_ID_CHARS} characters"
        return Problem("missing_required_parameter", message, number, "custom_id")
    if custom_id in seen:
        return Problem("duplicate_custom_id", "custom_id was used before", number, "custom_id")
    seen.add(custom_id)
    lines.ids.append(custom_id)
    if said.get("method") != "POST":
        return Problem("invalid_method", "method is POST", number, "method")
    if said.get("url") != endpoint:
        return Problem("mismatched_url", f"url is the batch's own, {endpoint}", number, "url")
    return _body_judged(said.get("body"), number, lines)


def _body_judged(body: object, number: int, lines: Lines) -> Problem | None:
    if not isinstance(body, dict):
        return Problem("missing_required_parameter", "body is an object", number, "body")
    if body.get("stream") not in (None, False):
        return Problem("invalid_request", "a batch streams nothing", number, "body.stream")
    model = body.get("model")
    if not isinstance(model, str) or not model:
        return Problem("missing_required_parameter", "body.model is a text", number, "body.model")
    lines.model = lines.model or model
    if model != lines.model:
        return Problem("mismatched_model", "a batch is for one model", number, "body.model")
    return None
