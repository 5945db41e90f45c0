"""Frames between the server and an engine's process: JSON with an optional tail of bytes.

Room: engine. Data only, never code: a frame is two lengths, a JSON object and raw bytes. Both
sides are ours, and still every length is bounded.
"""

from __future__ import annotations

import json
import struct
from dataclasses import asdict, fields
from typing import Any

from freehold import errors
from freehold.engine.request import Output, Request, TokenLogprob
from freehold.engine.sampler import Sampling
from freehold.errors import FreeholdError

__all__ = [
    "HEADER",
    "MAX_FRAME_BYTES",
    "Frames",
    "error_from",
    "error_to",
    "frame",
    "header_lengths",
    "output_from",
    "output_to",
    "request_from",
    "request_to",
]

HEADER = struct.Struct("<II")  # bytes of JSON, bytes of the tail
MAX_FRAME_BYTES = 1 << 28

_PLAIN = (str, int, float, bool, type(None))
# Both made once: one frame a token goes through them.
_encode = json.JSONEncoder(separators=(",", ":")).encode
_decode = json.JSONDecoder().raw_decode


def frame(message: dict[str, Any], tail: bytes = b"") -> bytes:
    """A message as bytes."""
    text = _encode(message).encode()
    assert len(text) + len(tail) <= MAX_FRAME_BYTES, "a frame of ours is too long"
    return HEADER.pack(len(text), len(tail)) + text + tail


def header_lengths(header: bytes) -> tuple[int, int]:
    """The lengths of JSON and tail. Raises: ValueError when they are beyond reason."""
    text, tail = HEADER.unpack(header)
    if text + tail > MAX_FRAME_BYTES:
        raise ValueError("a frame is too long")
    return text, tail


class Frames:
    """The frames in what comes through a socket, however it was cut."""

    def __init__(self) -> None:
        self._part = bytearray()  # of a frame that is not whole
        self._wanted = 0  # bytes before there is anything to see

    def push(self, data: bytes) -> list[tuple[dict[str, Any], bytes]]:
        """The messages and tails that are whole now. Raises: ValueError, as `header_lengths`."""
        if self._part:
            self._part += data
            if len(self._part) < self._wanted:
                return []
            data = bytes(self._part)
            self._part.clear()
        whole: list[tuple[dict[str, Any], bytes]] = []
        start, total = 0, len(data)
        while start < total:
            body = start + HEADER.size
            end = body
            if body <= total:
                text, tail = header_lengths(data[start:body])
                end += text + tail
            if end > total or body > total:
                self._part += data[start:]
                self._wanted = end - start
                break
            message, _ = _decode(data[body : body + text].decode())
            whole.append((message, data[body + text : end]))
            start = end
        return whole


def request_to(request: Request) -> dict[str, Any]:
    """A request as JSON holds it."""
    message = {f.name: getattr(request, f.name) for f in fields(Request)}
    return message | {
        "sampling": asdict(request.sampling),
        "stop_ids": sorted(request.stop_ids),
    }


def request_from(message: dict[str, Any]) -> Request:
    """The request that `request_to` wrote."""
    sampling = message["sampling"]
    bias = tuple((int(token), float(value)) for token, value in sampling["logit_bias"])
    return Request(
        **message
        | {
            "sampling": Sampling(**sampling | {"logit_bias": bias}),
            "stop_ids": frozenset(message["stop_ids"]),
            "weighed": tuple(message["weighed"]),
        }
    )


def output_to(request_id: str, output: Output) -> list[Any]:
    """An output in its shortest form: most hold one token and nothing else."""
    short: list[Any] = [request_id, list(output.tokens)]
    more: dict[str, Any] = {}
    if output.logprobs:
        more["logprobs"] = [_note_to(note) for note in output.logprobs]
    if output.prompt_logprobs is not None:
        more["prompt_logprobs"] = [note and _note_to(note) for note in output.prompt_logprobs]
    if output.cached_tokens:
        more["cached_tokens"] = output.cached_tokens
    if output.queue_s:
        more["queue_s"] = round(output.queue_s, 6)
    if output.finish_reason is not None:
        more |= {"finish_reason": output.finish_reason, "stop_id": output.stop_id}
    if output.stop_logprob is not None:
        more["stop_logprob"] = _note_to(output.stop_logprob)
    if output.weights:
        more["weights"] = list(output.weights)
    if output.error is not None:
        more["error"] = error_to(output.error)
    if more:
        short.append(more)
    return short


def output_from(short: list[Any]) -> tuple[str, Output]:
    """The request's id and the output that `output_to` wrote."""
    if len(short) == 2:
        return short[0], Output(tokens=tuple(short[1]))
    more = short[2]
    prompt = more.get("prompt_logprobs")
    return short[0], Output(
        tokens=tuple(short[1]),
        logprobs=tuple(_note_from(note) for note in more.get("logprobs", ())),
        prompt_logprobs=None if prompt is None else tuple(n and _note_from(n) for n in prompt),
        finish_reason=more.get("finish_reason"),
        stop_id=more.get("stop_id"),
        stop_logprob=_note_from(more["stop_logprob"]) if "stop_logprob" in more else None,
        cached_tokens=more.get("cached_tokens", 0),
        queue_s=more.get("queue_s", 0.0),
        error=error_from(more["error"]) if "error" in more else None,
        weights=tuple(more.get("weights", ())),
    )


def _note_to(note: TokenLogprob) -> list[Any]:
    return [note.token, note.logprob, [list(pair) for pair in note.top]]


def _note_from(note: list[Any]) -> TokenLogprob:
    return TokenLogprob(note[0], note[1], tuple((pair[0], pair[1]) for pair in note[2]))


def error_to(error: FreeholdError) -> dict[str, Any]:
    """An error's facts; a value that JSON cannot hold is given as its text."""
    facts: dict[str, Any] = {"code": error.code, "message": error.message}
    for name in ("expected", "found", "hint", "param", "retry_after_s", "value"):
        if (fact := getattr(error, name, None)) not in (None, ""):
            facts[name] = fact if isinstance(fact, _PLAIN) else repr(fact)
    return facts


def error_from(facts: dict[str, Any]) -> FreeholdError:
    """The error with these facts, of the class that has its code."""
    kinds = {
        kind.code: kind
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, FreeholdError)
    }
    kind = kinds.get(facts["code"], FreeholdError)
    error = kind(
        facts["message"],
        value=facts.get("value"),
        expected=facts.get("expected", ""),
        found=facts.get("found", ""),
        hint=facts.get("hint", ""),
    )
    for name in ("param", "retry_after_s"):
        if name in facts and hasattr(error, name):
            setattr(error, name, facts[name])
    return error
