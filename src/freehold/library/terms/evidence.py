"""What a model says about its own terms: in its metadata, its card, its licence file.

Room: library. Reads a file's header and the small texts beside it, all of them untrusted and
bounded; must not know what a licence allows.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from freehold.formats.gguf import open_gguf
from freehold.formats.gguf_header import read_opening
from freehold.formats.json_file import read_json_object
from freehold.formats.mapped_file import MappedFile
from freehold.library.terms.texts import MAX_TEXT_BYTES

__all__ = ["NO_NAMES", "Claim", "Evidence", "evidence_of"]

_LICENCE_FILE = re.compile(
    r"(licen[cs]e|copying|use[-_]?policy)([-_]?(model|weights))?(\.(txt|md))?", re.IGNORECASE
)
_CARD = "README.md"
_MAX_LINES = 4000
_MAX_PARENTS = 64
_MAX_WORDS = 200
NO_NAMES = frozenset({"", "other", "unknown", "custom", "none"})
"""Values that name no licence; the real name is then under another key, if anywhere."""


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A licence's name as something states it, and what states it."""

    name: str
    where: str


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """All that a model says. `text` is its own licence file, `parents` what it was made from."""

    claims: tuple[Claim, ...] = ()
    text: str | None = None
    text_where: str = ""
    parents: tuple[str, ...] = ()
    link: str | None = None
    multimodal: bool | None = None
    title: str | None = None


def evidence_of(
    path: Path, *, own_folder: bool, metadata: Mapping[str, object] | None = None
) -> Evidence:
    """What the model at a path says of its terms.

    `own_folder`: the folder of a single file is the model's own, so texts beside it are about it.
    `metadata` of a file that is open already spare reading it once more.
    Raises: FormatError for a damaged header; OSError.
    """
    if path.is_dir():
        return _merged(_of_config(path), _of_folder(path))
    found = _of_gguf(path) if metadata is None else _of_metadata(metadata)
    return _merged(found, _of_folder(path.parent)) if own_folder else found


def _merged(first: Evidence, second: Evidence) -> Evidence:
    return Evidence(
        claims=first.claims + second.claims,
        text=first.text or second.text,
        text_where=first.text_where or second.text_where,
        parents=tuple(dict.fromkeys(first.parents + second.parents)),
        link=first.link or second.link,
        multimodal=second.multimodal if first.multimodal is None else first.multimodal,
        title=first.title or second.title,
    )


def _of_gguf(path: Path) -> Evidence:
    # The vocabulary is most of a header, and stands behind these words in most files.
    file = MappedFile(path)
    try:
        found = _of_metadata(read_opening(file, until="tokenizer."))
    finally:
        file.close()
    if found.claims:
        return found
    with open_gguf(path) as whole:
        return _of_metadata(whole.metadata)


def _of_metadata(metadata: Mapping[str, object]) -> Evidence:
    name = _name_from(_word(metadata, "general.license"), _word(metadata, "general.license.name"))
    title = _word(metadata, "general.name") or _word(metadata, "general.basename")
    hints = " ".join((title or "", *_words(metadata, "general.tags"))).lower()
    sees = any(".vision." in key for key in metadata)
    return Evidence(
        claims=() if name is None else (Claim(name=name, where="the file's metadata"),),
        parents=_gguf_parents(metadata),
        link=_word(metadata, "general.license.link"),
        multimodal=sees or "vision" in hints or "image-text-to-text" in hints,
        title=title,
    )


def _gguf_parents(metadata: Mapping[str, object]) -> tuple[str, ...]:
    count = metadata.get("general.base_model.count")
    number = count if isinstance(count, int) and 0 < count <= _MAX_PARENTS else 0
    found = []
    for n in range(number):
        key = f"general.base_model.{n}"
        link = _word(metadata, f"{key}.repo_url")
        if link is not None and link.count("/") >= 2:
            found.append("/".join(link.rstrip("/").split("/")[-2:]))
            continue
        maker, name = _word(metadata, f"{key}.organization"), _word(metadata, f"{key}.name")
        if name is not None:
            found.append(f"{maker}/{name}".replace(" ", "-") if maker else name)
    return tuple(found)


def _of_config(folder: Path) -> Evidence:
    path = folder / "config.json"
    if not path.is_file():
        return Evidence()
    config = read_json_object(path)
    return Evidence(multimodal=any(key in config for key in ("vision_config", "audio_config")))


def _of_folder(folder: Path) -> Evidence:
    card = _front_matter(folder / _CARD)
    name = _name_from(_first(card, "license"), _first(card, "license_name"))
    found = [path for path in sorted(folder.iterdir()) if _LICENCE_FILE.fullmatch(path.name)]
    # The one for the weights, where there are several; a policy of uses is no licence.
    found.sort(key=lambda path: ("model" not in path.name.lower(), "policy" in path.name.lower()))
    text = _bounded(found[0]) if found and "policy" not in found[0].name.lower() else None
    return Evidence(
        claims=() if name is None else (Claim(name=name, where="the model's card"),),
        text=text,
        text_where="" if text is None else found[0].name,
        parents=tuple(card.get("base_model", ())[:_MAX_PARENTS]),
        link=_first(card, "license_link"),
    )


def _front_matter(path: Path) -> dict[str, list[str]]:
    """The keys at the left edge of a card's front matter: texts, or lists of texts."""
    text = _bounded(path)
    lines = [] if text is None else text.splitlines()[:_MAX_LINES]
    if not lines or lines[0].strip() != "---":
        return {}
    found: dict[str, list[str]] = {}
    key = ""
    for line in lines[1:]:
        if line.strip() in ("---", "..."):
            return found
        if matched := re.match(r"([A-Za-z_]{1,40}):(.*)$", line):
            key = matched[1].lower()
            found[key] = [one for one in map(_plain, _items(matched[2])) if one]
        elif matched := re.match(r"\s*-\s+(.*)$", line):
            found.setdefault(key, []).append(_plain(matched[1]))
    return {}


def _items(value: str) -> list[str]:
    value = value.strip()
    if value.startswith("[") and value.endswith("]"):
        return value[1:-1].split(",")
    return [] if value[:1] in ("|", ">") else [value]


def _plain(value: str) -> str:
    return value.strip().strip("'\"").strip()[:_MAX_WORDS]


def _first(card: Mapping[str, list[str]], key: str) -> str | None:
    values = card.get(key)
    return values[0] if values else None


def _name_from(plain: str | None, named: str | None) -> str | None:
    """The licence's name: the hub's id, or the maker's where the id says "other"."""
    for name in (plain, named):
        if name is not None and name.strip().lower() not in NO_NAMES:
            return name.strip()
    return None


def _bounded(path: Path) -> str | None:
    """A small text file; None where there is none, or no such file could be a licence."""
    try:
        if not path.is_file() or path.stat().st_size > MAX_TEXT_BYTES:
            return None
        with path.open("rb") as file:
            raw = file.read(MAX_TEXT_BYTES + 1)
    except OSError:
        return None
    return raw.decode("utf-8", errors="replace") if len(raw) <= MAX_TEXT_BYTES else None


def _word(metadata: Mapping[str, object], key: str) -> str | None:
    value = metadata.get(key)
    return value[:_MAX_WORDS] if isinstance(value, str) and value.strip() else None


def _words(metadata: Mapping[str, object], key: str) -> list[str]:
    value = metadata.get(key)
    if not isinstance(value, tuple) or len(value) > _MAX_PARENTS:
        return []
    return [one[:_MAX_WORDS] for one in value]
