"""Names from outside, each parsed once into a type that can only hold a safe one.

Room: library. Pure text; must not touch a disk or a network. Whatever names a repository, a file in
it, a digest or a model goes through here before it is part of a path or an address.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NoReturn

from freehold.errors import BadReference

__all__ = [
    "DEFAULT_QUANT",
    "DIRECTORY",
    "Commit",
    "HubReference",
    "ModelName",
    "Quant",
    "RepoId",
    "Revision",
    "SafeName",
    "Sha256",
    "check_distinct",
    "is_hub_reference",
]

_PART = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,94}[A-Za-z0-9_-])?", re.ASCII)
_REVISION = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._/+-]{0,126}[A-Za-z0-9_+-])?", re.ASCII)
_QUANT = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,30}[A-Za-z0-9])?", re.ASCII)
_MODEL_NAME = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,62}[a-z0-9])?", re.ASCII)
_ANY = re.compile(r".+", re.DOTALL)
_HEX_40 = re.compile(r"[0-9a-f]{40}", re.ASCII)
_HEX_64 = re.compile(r"[0-9a-f]{64}", re.ASCII)
_PREFIXES = ("hf.co/", "https://hf.co/", "hf://")
_MAX_REPO_CHARACTERS = 96
_MAX_PARTS = 8
_MAX_PART_BYTES = 180
_MAX_NAME_BYTES = 400
# What Windows cannot have as a name; a bundle may be opened there.
_RESERVED = re.compile(r"(?:con|prn|aux|nul|com[0-9]|lpt[0-9])(?:\..*)?", re.IGNORECASE)
_FORBIDDEN = frozenset('\\:*?"<>|')

DIRECTORY = "safetensors"
"""The word after the colon that asks for the directory of safetensors instead of a GGUF file."""


def _refuse(what: str, found: object, expected: str, hint: str = "") -> NoReturn:
    shown = repr(found)
    shown = shown if len(shown) <= 120 else f"{shown[:100]}… ({len(shown)} characters)"
    raise BadReference(
        f"this is not {what}",
        value=shown,
        expected=expected,
        found=shown,
        hint=hint or "the name is damaged or hostile",
    )


def _fits(pattern: re.Pattern[str], text: object) -> bool:
    """What comes from JSON may be anything."""
    return isinstance(text, str) and pattern.fullmatch(text) is not None


@dataclass(frozen=True, slots=True)
class RepoId:
    """`org/name` of a repository, as the hub allows it. Raises: BadReference."""

    text: str

    def __post_init__(self) -> None:
        parts = str(self.text).split("/")
        good = len(parts) == 2 and all(_fits(_PART, part) for part in parts)
        bad_piece = good and any(piece in self.text for piece in ("--", ".."))
        if (
            not good
            or bad_piece
            or len(self.text) > _MAX_REPO_CHARACTERS
            or parts[1][-4:] == ".git"
        ):
            _refuse(
                "the name of a repository",
                self.text,
                "org/name of letters, digits, '-', '_' and '.', without '--' or '..'",
                "copy the name from the model's page",
            )

    def __str__(self) -> str:
        return self.text

    @property
    def key(self) -> str:
        """The same for two spellings that differ in case only, and without a slash."""
        return self.text.lower().replace("/", "--")


@dataclass(frozen=True, slots=True)
class Revision:
    """A branch, a tag or a commit of a repository. Raises: BadReference."""

    text: str

    def __post_init__(self) -> None:
        good = _fits(_REVISION, self.text)
        if not good or any(piece in self.text for piece in ("..", "//", "/.", "./")):
            _refuse("a revision", self.text, "a branch, a tag or a commit", "try main")

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True)
class Commit:
    """A commit by its whole hash. Raises: BadReference."""

    hex: str

    def __post_init__(self) -> None:
        if not _fits(_HEX_40, self.hex):
            _refuse("a commit", self.hex, "40 hexadecimal digits in lower case")

    def __str__(self) -> str:
        return self.hex


@dataclass(frozen=True, slots=True)
class Quant:
    """The word that tells the files of one repository apart: Q4_K_M. Raises: BadReference."""

    text: str

    def __post_init__(self) -> None:
        if not _fits(_QUANT, self.text):
            _refuse("a quantization", self.text, "a word such as Q4_K_M, Q8_0 or BF16")

    def __str__(self) -> str:
        return self.text

    @property
    def key(self) -> str:
        """The same for two spellings that differ in case only."""
        return self.text.lower()


DEFAULT_QUANT = Quant("Q4_K_M")
"""What `org/name` means in a repository of several GGUF files."""


@dataclass(frozen=True, slots=True)
class Sha256:
    """A sha256 digest; `sha256:` or `sha256-` may stand before it. Raises: BadReference."""

    hex: str

    def __post_init__(self) -> None:
        if not _fits(_HEX_64, self.hex):
            _refuse("a sha256 digest", self.hex, "64 hexadecimal digits in lower case")

    @classmethod
    def parse(cls, text: object) -> Sha256:
        """The digest that a text spells, with or without the algorithm's name before it."""
        if not isinstance(text, str):
            _refuse("a sha256 digest", text, "64 hexadecimal digits in lower case")
        return cls(text[7:] if text[:7] in ("sha256:", "sha256-") else text)

    def __str__(self) -> str:
        return self.hex


@dataclass(frozen=True, slots=True)
class ModelName:
    """A short name that a person gives to a model they bring. Raises: BadReference."""

    text: str

    def __post_init__(self) -> None:
        good = _fits(_MODEL_NAME, self.text)
        if not good or ".." in self.text or _RESERVED.fullmatch(self.text):
            _refuse(
                "a name for a model",
                self.text,
                "1 to 64 lower-case letters, digits, '-', '_' and '.'",
                "pass --name with such a name",
            )

    @classmethod
    def from_file(cls, stem: str) -> ModelName:
        """The name that a file's own name suggests. Raises: BadReference when nothing is left."""
        return cls(re.sub(r"[^a-z0-9._-]+|\.\.+", "-", stem.lower())[:64].strip("._-"))

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True)
class SafeName:
    """A relative path that stays below where it is put, on any file system. Raises: BadReference.

    No `..`, no absolute path, no backslash, colon or control character, nothing hidden, nothing
    that another normal form or another system would read as something else; at most 400 bytes.
    """

    text: str

    def __post_init__(self) -> None:
        text = self.text
        good = (
            _fits(_ANY, text)
            and text.isprintable()
            and not _FORBIDDEN & set(text)
            and unicodedata.normalize("NFC", text) == text
            and len(text.encode("utf-8", "replace")) <= _MAX_NAME_BYTES
            and text.count("/") < _MAX_PARTS
            and all(_is_plain(part) for part in text.split("/"))
        )
        if not good:
            _refuse(
                "a file name to put in a folder", text, "a plain relative path of printable text"
            )

    def __str__(self) -> str:
        return self.text

    @property
    def last(self) -> str:
        """The name without its folders."""
        return self.text.rsplit("/", 1)[-1]


def _is_plain(part: str) -> bool:
    if not part or part[0] in ". ~" or part[-1] in ". " or _RESERVED.fullmatch(part):
        return False
    return len(part.encode("utf-8", "replace")) <= _MAX_PART_BYTES


def check_distinct(names: Iterable[SafeName]) -> None:
    """That no two names are the same but for case, and no file is another one's folder.

    Raises: BadReference.
    """
    files: set[str] = set()
    folders: set[str] = set()
    for name in names:
        folded = unicodedata.normalize("NFC", name.text.casefold())
        parts = folded.split("/")
        above = {"/".join(parts[:count]) for count in range(1, len(parts))}
        if folded in files or folded in folders or above & files:
            _refuse("a set of files that one folder can hold", name.text, "names told apart by all")
        files.add(folded)
        folders |= above


@dataclass(frozen=True, slots=True)
class HubReference:
    """`org/name[:quant][@revision]`, as people write it; `hf.co/` may stand before it."""

    repo: RepoId
    quant: Quant | None = None
    revision: Revision | None = None

    @classmethod
    def parse(cls, text: str) -> HubReference:
        """The parts of a reference. Raises: BadReference."""
        for prefix in _PREFIXES:
            text = text.removeprefix(prefix)
        rest, at, revision = text.partition("@")
        repo, colon, quant = rest.partition(":")
        return cls(
            repo=RepoId(repo),
            quant=Quant(quant) if colon else None,
            revision=Revision(revision) if at else None,
        )

    def __str__(self) -> str:
        quant = f":{self.quant}" if self.quant else ""
        return f"{self.repo}{quant}" + (f"@{self.revision}" if self.revision else "")


def is_hub_reference(text: str) -> bool:
    """Whether a text is meant as `org/name…`, be it well formed or not."""
    if text.startswith(_PREFIXES):
        return True
    head = re.split(r"[:@]", text, maxsplit=1)[0]
    return head.count("/") == 1 and not text.startswith(("/", ".", "~")) and " " not in text
