"""What a model's configuration alone says: its slots, where they lie, what it keeps of a text.

Room: loading. Reads no weights, so that a model larger than memory can be looked at.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from freehold.errors import UnknownFamily
from freehold.loading.directory import text_config
from freehold.loading.sources import Source, Table
from freehold.models.base import KvSpec, Slot
from freehold.models.registry import DECODERS, FAMILIES

__all__ = ["ModelShapes", "read_shapes"]


@dataclass(frozen=True)
class ModelShapes:
    """A decoder's shapes, and by canonical name where its tensors lie in the file."""

    context_tokens: int
    kv_spec: KvSpec
    slots: Mapping[str, Slot]
    sources: Mapping[str, Source]
    table: Table
    config: Any

    def may_leave(self, name: str) -> bool:
        """Whether a checkpoint may hold this tensor although no slot takes it."""
        return self.table.may_leave(name, self.config)


def read_shapes(
    metadata: Mapping[str, Any], names: Container[str] = (), *, gguf: bool
) -> ModelShapes:
    """Of a GGUF file's metadata, or of a directory's config.json; `names` are its tensors.

    Raises: UnknownFamily, BadConfig, UnknownConfigKey.
    """
    said = metadata if gguf else text_config(metadata)
    architecture = str(said.get("general.architecture" if gguf else "model_type"))
    family = (FAMILIES if gguf else DECODERS).get(architecture)
    module = None if family is None else import_module(f"freehold.loading.names.{family}")
    table: Table | None = None if module is None else (module.GGUF if gguf else module.HUB)
    if module is None or table is None:
        raise UnknownFamily(
            "no decoder for this architecture",
            family=architecture[:80],
            value=architecture[:80],
            found=repr(architecture)[:80],
        )
    config = table.read_config(said)
    slots = module.Model.slots(config)
    sources = table.sources(slots, config, names)
    return ModelShapes(
        config.context_tokens, module.Model.keeps(config), slots, sources, table, config
    )
