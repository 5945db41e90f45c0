"""A form is read alike however it is cut, and what is over a limit is refused."""

from __future__ import annotations

import asyncio
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from freehold.errors import BadRequest, FreeholdError, TooLarge, WrongMediaType
from freehold.server.multipart import Form, FormReader, boundary_of

BOUNDARY = b"cut-here"


def part(name: str, content: bytes, filename: str | None = None) -> bytes:
    more = "" if filename is None else f'; filename="{filename}"\r\nContent-Type: x/y'
    head = f'--cut-here\r\nContent-Disposition: form-data; name="{name}"{more}\r\n\r\n'
    return head.encode() + content + b"\r\n"


END = b"--cut-here--\r\n"


def read(body: bytes, cuts: list[int] | None = None) -> tuple[Form, bytes]:
    """The form and the file's bytes, from a body that comes in pieces."""
    taken = bytearray()

    async def sink(piece: bytes) -> None:
        taken.extend(piece)

    async def run() -> Form:
        reader = FormReader(BOUNDARY, file_field="file", sink=sink)
        places = [0, *sorted(cuts or []), len(body)]
        for start, stop in pairwise(places):
            await reader.feed(body[start:stop])
        return reader.end()

    return asyncio.run(run()), bytes(taken)


NASTY = b"\r\n--cut-her\r\n--cut-herE\r\r\n\n--"
WHOLE = part("purpose", b"batch") + part("file", NASTY, "a.jsonl") + part("empty", b"") + END


@given(st.lists(st.integers(0, len(WHOLE)), max_size=40))
def test_is_the_same_however_it_is_cut(cuts: list[int]) -> None:
    form, content = read(WHOLE, cuts)
    assert content == NASTY
    assert form == Form({"purpose": "batch", "empty": ""}, "a.jsonl")


def test_is_the_same_byte_by_byte() -> None:
    assert read(WHOLE, list(range(len(WHOLE)))) == read(WHOLE)


def test_an_empty_file_is_a_file() -> None:
    assert read(part("file", b"", "x") + END) == (Form({}, "x"), b"")


@pytest.mark.parametrize(
    ("given", "kept"),
    [("../../etc/passwd", "passwd"), (r"C:\\new\\a.txt", "a.txt"), ("a%22b", 'a"b'), ("ü", "ü")],
)
def test_a_files_name_has_no_folder(given: str, kept: str) -> None:
    form, _ = read(part("file", b"x", given) + END)
    assert form.filename == kept


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"", BadRequest),
        (WHOLE[:-8], BadRequest),
        (b"preamble\r\n" + WHOLE, BadRequest),
        (WHOLE + b"more", BadRequest),
        (b"--cut-here\r\n\r\nno name\r\n" + END, BadRequest),
        (part("a", b"1") + part("a", b"2") + END, BadRequest),
        (part("file", b"1", "x") + part("file", b"2", "y") + END, BadRequest),
        (part("file", b"no file") + END, BadRequest),
        (part("other", b"1", "x") + END, BadRequest),
        (part("a", b"\xff") + END, BadRequest),
        (part("a", b"x" * 5000) + END, TooLarge),
        (part("a" * 5000, b"x") + END, TooLarge),
        (b"--cut-here\r\n" + b"x" * 9000, TooLarge),
        (b"".join(part(f"f{n}", b"") for n in range(17)) + END, TooLarge),
        (b"--cut-hereX\r\n", BadRequest),
    ],
)
def test_what_is_no_form_or_too_much_is_refused(body: bytes, kind: type[FreeholdError]) -> None:
    for cuts in (None, list(range(len(body)))):
        with pytest.raises(kind):
            read(body, cuts)


@pytest.mark.parametrize(
    "said", ["", "application/json", "multipart/form-data", "multipart/form-data; boundary="]
)
def test_another_type_is_refused(said: str) -> None:
    with pytest.raises(WrongMediaType):
        boundary_of(said)


def test_a_boundary_may_be_quoted() -> None:
    assert boundary_of('multipart/form-data; charset=x; boundary="a b"') == b"a b"
    assert boundary_of("Multipart/Form-Data;boundary=ab") == b"ab"
