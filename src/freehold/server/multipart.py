"""multipart/form-data, read piece by piece within limits.

Room: server. Knows the form's bytes; must not know what a field means or where a file goes.

One file at most is streamed on as it comes; every other field is a short text. What is over a limit
is refused, never shortened. Source: RFC 7578, and the escapes that browsers and clients write.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from freehold.errors import BadRequest, TooLarge, WrongMediaType

__all__ = ["Form", "FormReader", "boundary_of"]

MOST_PARTS = 16
MOST_HEAD_BYTES = 4096
MOST_TEXT_BYTES = 4096

_BOUNDARY = re.compile(r'boundary=(?:"([^"\r\n]{1,70})"|([^\s;,"]{1,70}))', re.IGNORECASE)
_PARAMETER = re.compile(r';\s*([a-z]+\*?)=(?:"((?:[^"\\]|\\.)*+)"|([^\s;"]*+))', re.IGNORECASE)
_ESCAPES = {"%22": '"', "%0D": "\r", "%0A": "\n"}

# What becomes of a file's bytes.
Sink = Callable[[bytes], Awaitable[None]]


@dataclass
class Form:
    """The fields that have come; `filename` is the file's own name, None before the file came."""

    texts: dict[str, str] = field(default_factory=dict)
    filename: str | None = None


def boundary_of(content_type: str) -> bytes:
    """What stands between the parts. Raises: WrongMediaType."""
    kind, _, parameters = content_type.partition(";")
    found = _BOUNDARY.search(parameters)
    if kind.strip().lower() != "multipart/form-data" or found is None:
        raise WrongMediaType(
            "the body is not declared as a form",
            expected="content-type: multipart/form-data; boundary=…",
            hint="curl: -F purpose=batch -F file=@lines.jsonl",
        )
    return (found.group(1) or found.group(2)).encode("latin-1", "replace")


class FormReader:
    """Takes the body's pieces in order; `form` fills up meanwhile.

    Raises: BadRequest, TooLarge; and what `sink` raises.
    """

    def __init__(self, boundary: bytes, *, file_field: str, sink: Sink) -> None:
        self.form = Form()
        self.finished = False
        self._between = b"\r\n--" + boundary
        self._file_field = file_field
        self._sink = sink
        # As if a part had ended before the first one.
        self._buffer = bytearray(b"\r\n")
        self._state = self._before
        self._name: str | None = None
        self._text = bytearray()
        self._skip = 0  # of the buffer's start: a line's end that is no content
        self._parts = 0

    async def feed(self, piece: bytes) -> None:
        """Read on."""
        self._buffer += piece
        while await self._state():
            pass

    def end(self) -> Form:
        """The whole form. Raises: BadRequest for a body that broke off."""
        if not self.finished:
            raise BadRequest("the form breaks off", expected="its closing boundary")
        return self.form

    async def _before(self) -> bool:
        """Up to the first boundary, before which nothing may stand."""
        if len(self._buffer) < len(self._between):
            return False
        if not self._buffer.startswith(self._between):
            raise BadRequest("the form does not begin with its boundary")
        del self._buffer[: len(self._between)]
        self._state = self._after_boundary
        return True

    async def _after_boundary(self) -> bool:
        if len(self._buffer) < 2:
            return False
        mark = bytes(self._buffer[:2])
        del self._buffer[:2]
        if mark == b"--":
            self.finished = True
            self._state = self._nothing
        elif mark == b"\r\n":
            self._state = self._head
        else:
            raise BadRequest("the form's boundary is followed by something else")
        return True

    async def _head(self) -> bool:
        at = self._buffer.find(b"\r\n\r\n")
        if at > MOST_HEAD_BYTES or (at < 0 and len(self._buffer) > MOST_HEAD_BYTES):
            raise TooLarge(
                "a field's headers are too long", expected=f"at most {MOST_HEAD_BYTES} bytes"
            )
        if at < 0:
            return False
        self._parts += 1
        if self._parts > MOST_PARTS:
            raise TooLarge("the form has too many fields", expected=f"at most {MOST_PARTS}")
        self._begin(bytes(self._buffer[:at]))
        # The line's end stays: an empty part's boundary needs it.
        del self._buffer[: at + 2]
        self._skip = 2
        self._state = self._content
        return True

    async def _content(self) -> bool:
        at = self._buffer.find(self._between)
        # What may be the beginning of a boundary waits for the rest.
        end = at if at >= 0 else len(self._buffer) - len(self._between) + 1
        if end < self._skip and at < 0:
            return False
        piece = bytes(self._buffer[self._skip : end]) if end > self._skip else b""
        if piece:
            await self._take(piece)
        if at < 0:
            del self._buffer[:end]
            self._skip = 0
            return False
        del self._buffer[: at + len(self._between)]
        self._close()
        self._state = self._after_boundary
        return True

    async def _nothing(self) -> bool:
        """After the end: clients may add a line's end, and no more."""
        if bytes(self._buffer) not in (b"", b"\r", b"\r\n"):
            raise BadRequest("something follows the form's end")
        return False

    def _begin(self, head: bytes) -> None:
        name, filename = _disposition(head)
        if name == self._file_field:
            if self.form.filename is not None or filename is None:
                raise BadRequest(
                    f"the field {name!r} is not one file", param=name, expected="one file"
                )
            self.form.filename = filename
            self._name = None
            return
        if filename is not None:
            raise BadRequest(f"only {self._file_field!r} may be a file", param=self._file_field)
        if name in self.form.texts:
            raise BadRequest("a field is in the form twice", param=name[:100])
        self._name = name

    async def _take(self, piece: bytes) -> None:
        if self._name is None:
            await self._sink(piece)
            return
        self._text += piece
        if len(self._text) > MOST_TEXT_BYTES:
            raise TooLarge(
                "a field is too long",
                param=self._name[:100],
                expected=f"at most {MOST_TEXT_BYTES} bytes",
            )

    def _close(self) -> None:
        if self._name is not None:
            self.form.texts[self._name] = _utf8(bytes(self._text))
            self._text.clear()


def _disposition(head: bytes) -> tuple[str, str | None]:
    """A part's name, and its file's name without any folder. Raises: BadRequest."""
    for line in _utf8(head).split("\r\n"):
        title, _, value = line.partition(":")
        kind, semicolon, rest = value.partition(";")
        if title.strip().lower() != "content-disposition" or kind.strip().lower() != "form-data":
            continue
        found = {
            key.lower(): quoted or bare
            for key, quoted, bare in _PARAMETER.findall(semicolon + rest)
        }
        if "name" in found:
            filename = found.get("filename")
            return _plain(found["name"]), None if filename is None else _last(_plain(filename))
    raise BadRequest("a part of the form has no name")


def _plain(text: str) -> str:
    text = re.sub(r"\\(.)", r"\1", text)
    for escape, character in _ESCAPES.items():
        text = text.replace(escape, character)
    return text


def _last(filename: str) -> str:
    return re.split(r"[/\\]", filename)[-1]


def _utf8(data: bytes) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        raise BadRequest("a field of the form is not UTF-8") from None
