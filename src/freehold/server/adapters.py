"""The adapters that may be asked for: a name, the model they are for, and where their files are.

Room: server. A request names an adapter, never a path; only the administrator's route takes one,
below directories that the settings name. Must not know what an adapter's files hold.
"""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from freehold.errors import BadRequest, BadSetting, Forbidden
from freehold.server.cards import ModelCard

__all__ = ["AdapterSpec", "Adapters", "NamedAdapter", "parse_adapter", "permitted"]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/-]{0,199}", re.ASCII)
_numbers = itertools.count(1)


@dataclass(frozen=True)
class AdapterSpec:
    """An adapter named at the start; without a `base` it is for the only chat model named there."""

    name: str
    path: Path
    base: str | None = None


@dataclass(frozen=True)
class NamedAdapter:
    """An adapter by its card; `handle` is the engine's id of it, never used twice."""

    card: ModelCard
    path: Path
    handle: str


def parse_adapter(text: str) -> AdapterSpec:
    """NAME=PATH, or NAME=PATH,base=MODEL. Raises: BadSetting."""
    name, equals, rest = text.partition("=")
    path, comma, base = rest.rpartition(",base=")
    if not comma:
        path, base = rest, ""
    if not equals or not _NAME.fullmatch(name) or not path:
        raise BadSetting(
            "an adapter is named in another way",
            value=text,
            expected="NAME=PATH, or NAME=PATH,base=MODEL; a name of letters, digits and . _ : / -",
            found=repr(text),
        )
    return AdapterSpec(name, Path(path).expanduser().absolute(), base or None)


def permitted(path: str, folders: Sequence[str]) -> Path:
    """The real place of a path that a running server was given. Raises: Forbidden, BadRequest.

    What is outside is refused in one way, whether or not it exists.
    """
    if not folders:
        raise Forbidden(
            "this server loads no adapters by path",
            hint="name directories in the setting adapter_dirs, or adapters with --adapter",
        )
    if "\0" in path or not Path(path).is_absolute():
        raise BadRequest("lora_path is no absolute path", param="lora_path", value=path[:200])
    real = Path(os.path.realpath(path))
    if not any(Path(os.path.realpath(folder)) in real.parents for folder in folders):
        raise Forbidden(
            "lora_path is outside the directories that adapters may be loaded from",
            value=path[:200],
            expected="a path below a directory of the setting adapter_dirs",
        )
    return real


class Adapters:
    """Adapters by name."""

    def __init__(self) -> None:
        self._named: dict[str, NamedAdapter] = {}

    def name_all(
        self, specs: Iterable[AdapterSpec], cards: Mapping[str, ModelCard], started: Sequence[str]
    ) -> None:
        """Takes those named at the start. Raises: BadSetting."""
        for spec in specs:
            base = cards.get(spec.base) if spec.base else _only_chat(cards, started)
            if base is None or base.kind != "chat" or spec.name in cards:
                raise BadSetting(
                    f"the adapter {spec.name!r} cannot be served",
                    value=spec.name,
                    expected="one chat model beside it, or ,base=MODEL; a name no model has",
                    found=spec.base or f"{len(started)} models named at the start",
                )
            try:
                self.add(self.made(spec.name, spec.path, base))
            except BadRequest as error:
                raise BadSetting(error.message, value=spec.name, found="the name twice") from None

    def made(self, name: str, path: Path, base: ModelCard) -> NamedAdapter:
        """An adapter that is not here yet. Raises: BadRequest for a name that cannot be."""
        if not _NAME.fullmatch(name) or name in self._named:
            raise BadRequest(
                f"the name {name[:200]!r} cannot be given to an adapter",
                param="lora_name",
                value=name[:200],
                expected="a name that no other has, of letters, digits and . _ : / -",
                hint="unload the other first" if name in self._named else "",
            )
        created = int(path.stat().st_mtime) if path.exists() else base.created
        card = replace(base, id=name, parent=base.id, created=created, sha256=None, loaded=False)
        return NamedAdapter(card, path, f"{name}#{next(_numbers)}")

    def add(self, adapter: NamedAdapter) -> None:
        """From now on it may be asked for."""
        self._named[adapter.card.id] = adapter

    def find(self, name: str) -> NamedAdapter | None:
        """The adapter of this name."""
        return self._named.get(name)

    def pop(self, name: str) -> NamedAdapter | None:
        """Forgets an adapter."""
        return self._named.pop(name, None)

    def of(self, base: str) -> list[NamedAdapter]:
        """The adapters of a model."""
        return [one for one in self._named.values() if one.card.parent == base]

    def cards(self) -> list[ModelCard]:
        """The cards of all."""
        return [one.card for one in self._named.values()]


def _only_chat(cards: Mapping[str, ModelCard], started: Sequence[str]) -> ModelCard | None:
    chats = [cards[name] for name in started if cards[name].kind == "chat"]
    return chats[0] if len(chats) == 1 else None
