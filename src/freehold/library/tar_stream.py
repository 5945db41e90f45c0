"""The part of the tar format that a bundle uses: plain files, one after the other, and no more.

Room: library. Knows blocks of 512 bytes; must not know what a file is for. Links, devices, folders,
sparse files and extension headers, which is where archives play tricks, do not exist here.

Source: POSIX.1-2017, ustar; sizes past 8 GiB in base 256, as GNU tar writes and reads them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from freehold.errors import BadBundle
from freehold.library.names import SafeName

__all__ = ["BLOCK_BYTES", "END", "TarEntry", "entries_of", "header_of", "padding_of"]

BLOCK_BYTES = 512
END = bytes(2 * BLOCK_BYTES)
_MAX_OCTAL = 0o77777777777
_MAX_BYTES = 1 << 44
_CHUNK_BYTES = 1 << 20


def header_of(name: SafeName, size_bytes: int) -> bytes:
    """The block before a file's bytes. Raises: BadBundle for a name too long for the form."""
    prefix, last = _split(name.text.encode())
    size = b"%011o\0" % size_bytes
    if size_bytes > _MAX_OCTAL:
        size = b"\x80" + size_bytes.to_bytes(11, "big")
    head = last.ljust(100, b"\0") + b"0000644\0" + b"0000000\0" * 2 + size + b"00000000000\0"
    tail = b"0" + bytes(100) + b"ustar\x0000" + bytes(64) + b"0000000\0" * 2
    tail += prefix.ljust(155, b"\0") + bytes(12)
    total = sum(head) + 8 * 32 + sum(tail)
    return head + b"%06o\0 " % total + tail


def padding_of(size_bytes: int) -> bytes:
    """What follows a file's bytes."""
    return bytes(-size_bytes % BLOCK_BYTES)


def _split(name: bytes) -> tuple[bytes, bytes]:
    if len(name) <= 100:
        return b"", name
    for at in range(len(name) - 101, min(len(name), 156)):
        if at >= 0 and name[at : at + 1] == b"/":
            return name[:at], name[at + 1 :]
    raise BadBundle(
        "a file's name is too long for a bundle of one file",
        value=name.decode(),
        expected="at most 100 bytes, and 155 of folders before them",
        found=f"{len(name)} bytes",
        hint="write the bundle into a folder instead: --out FOLDER/",
    )


@dataclass(frozen=True, kw_only=True)
class TarEntry:
    """One file of an archive; `read` gives its next bytes, and none at its end."""

    name: SafeName
    size_bytes: int
    source: BinaryIO

    def chunks(self) -> Iterator[bytes]:
        """The file's bytes. Raises: BadBundle where the archive ends before it."""
        left = self.size_bytes
        while left:
            chunk = self.source.read(min(left, _CHUNK_BYTES))
            if not chunk:
                raise _broken(f"{left} more bytes of {self.name}", "the end of the archive")
            left -= len(chunk)
            yield chunk
        if self.source.read(-self.size_bytes % BLOCK_BYTES).strip(b"\0"):
            raise _broken("zeros after a file", "other bytes")


def entries_of(source: BinaryIO) -> Iterator[TarEntry]:
    """The files of an archive, in order; each one's bytes must be taken before the next.

    Raises: BadBundle for anything but plain files with safe names, BadReference for such a name.
    """
    while True:
        block = source.read(BLOCK_BYTES)
        if len(block) != BLOCK_BYTES:
            raise _broken("a header or the two empty blocks at the end", f"{len(block)} bytes")
        if not any(block):
            if source.read(BLOCK_BYTES) != bytes(BLOCK_BYTES):
                raise _broken("two empty blocks at the end", "one")
            return
        yield _entry(block, source)


def _entry(block: bytes, source: BinaryIO) -> TarEntry:
    total = sum(block[:148]) + 8 * 32 + sum(block[156:])
    if _octal(block[148:156], "a checksum") != total or block[257:262] != b"ustar":
        raise _broken("a header of the ustar form with its sum", "another block")
    if block[156:157] not in (b"0", b"\0"):
        raise _broken("plain files alone", f"an entry of type {block[156:157]!r}")
    if block[124] & 0x80:
        size = int.from_bytes(bytes([block[124] & 0x7F]) + block[125:136], "big")
    else:
        size = _octal(block[124:136], "a size")
    if size > _MAX_BYTES:
        raise _broken(f"at most {_MAX_BYTES} bytes", f"{size} bytes")
    prefix, last = (part.split(b"\0", 1)[0] for part in (block[345:500], block[:100]))
    name = (prefix + b"/" + last if prefix else last).decode("utf-8", "replace")
    return TarEntry(name=SafeName(name), size_bytes=size, source=source)


def _octal(field: bytes, what: str) -> int:
    digits = field.strip(b"\0 ")
    if not digits or digits.strip(b"01234567"):
        raise _broken(f"{what} in octal digits", repr(field)[:40])
    return int(digits, 8)


def _broken(expected: str, found: str) -> BadBundle:
    return BadBundle(
        "this is not the archive of a bundle",
        expected=expected,
        found=found,
        hint="it is damaged or hostile; make it again with `freehold bundle`",
    )
