"""Models as small as they come: a header with words about its terms, and nothing to run."""

from __future__ import annotations

from pathlib import Path

from tests.formats.gguf_build import ARCHITECTURE, STRING, U32, Gguf, array, pair


def gguf(
    folder: Path,
    licence: str | None = None,
    *,
    name: str = "model.gguf",
    parents: tuple[str, ...] = (),
    words: dict[str, str] | None = None,
) -> Path:
    """A GGUF file whose metadata name a licence and parents."""
    pairs = [ARCHITECTURE]
    if licence is not None:
        pairs.append(pair("general.license", STRING, licence))
    if parents:
        pairs.append(pair("general.base_model.count", U32, len(parents)))
    for n, parent in enumerate(parents):
        pairs.append(pair(f"general.base_model.{n}.repo_url", STRING, f"https://host/{parent}"))
    pairs += [pair(key, STRING, value) for key, value in (words or {}).items()]
    folder.mkdir(parents=True, exist_ok=True)
    return Gguf(pairs=pairs).write(folder, name)


def directory(folder: Path, *, card: str | None = None, licence: str | None = None) -> Path:
    """A directory with a config.json, a card and a licence file."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text("{}")
    if card is not None:
        (folder / "README.md").write_text(f"---\n{card}\n---\n# A model\nlicense: nonsense\n")
    if licence is not None:
        (folder / "LICENSE").write_text(licence)
    return folder


__all__ = ["array", "directory", "gguf"]
