"""An adapter in the other form: as PEFT loads it, or as the GGUF file that llama.cpp loads.

Room: tune. Knows names and scales of both forms; must not know licences or records.
"""

from __future__ import annotations

import json
import math
import shutil
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from freehold.errors import BadExport
from freehold.formats import gguf_writer as say
from freehold.formats.block_types import BlockType
from freehold.formats.gguf import open_gguf
from freehold.formats.gguf_writer import GgufWriter, NewTensor
from freehold.formats.safetensors_stream import NewFloats, SafetensorsFolder
from freehold.loading.adapters import gguf_names, peft_names, read_adapter
from freehold.loading.directory import open_directory
from freehold.loading.gguf import plan_gguf
from freehold.loading.gguf_words import architecture_of, places_of
from freehold.loading.hub_words import hub_model_type, hub_places
from freehold.loading.sources import Source
from freehold.models.adapting import LowRank

__all__ = ["write_gguf_lora", "write_peft"]

_PEFT_FILES = ("adapter_config.json", "adapter_model.safetensors")


@dataclass(frozen=True)
class _Pair:
    """A matrix's A and B by the tensor's name in a form, rows in that form's order."""

    tensor: str
    lower: NDArray[np.float32]
    upper: NDArray[np.float32]
    scale: float

    @property
    def rank(self) -> int:
        """r."""
        return len(self.lower)


def write_peft(base: Path, adapter: Path, target: Path, *, base_name: str) -> Path:
    """adapter_config.json and adapter_model.safetensors; an adapter of that form stays as it is.

    `target` is an empty directory. Raises: FormatError, LoadError, BadExport.
    """
    if adapter.is_dir():
        for name in _PEFT_FILES:
            shutil.copyfile(adapter / name, target / name)
        return target
    if base.is_dir():
        with open_directory(base) as opened:
            parts = read_adapter(adapter, opened.plan, opened.model_type)
            pairs = _pairs(parts, opened.plan.sources)
    else:
        with open_gguf(base) as file:
            plan = plan_gguf(file)
            parts = read_adapter(adapter, plan, file.architecture)
            pairs = _pairs(parts, hub_places(plan, hub_model_type(file.architecture)))
    halves = {}
    for pair in pairs:
        lower, upper = peft_names(pair.tensor)
        halves[lower], halves[upper] = pair.lower, pair.upper
    new = [NewFloats(name, half.shape, "F32") for name, half in halves.items()]
    with SafetensorsFolder(target, new) as folder:
        for name, half in halves.items():
            folder.write(name, 0, half)
    (target / "model.safetensors").rename(target / _PEFT_FILES[1])
    text = json.dumps(_peft_config(pairs, base_name), indent=2)
    (target / _PEFT_FILES[0]).write_text(text + "\n", "utf-8")
    return target


def write_gguf_lora(base: Path, adapter: Path, target: Path, notes: Mapping[str, str]) -> Path:
    """The GGUF form of an adapter; what one alpha cannot say is folded into B.

    Raises: FormatError, LoadError, BadConfig, DiskFull.
    """
    if base.is_dir():
        with open_directory(base) as opened:
            parts = read_adapter(adapter, opened.plan, opened.model_type)
            architecture, pairs = architecture_of(opened), _pairs(parts, places_of(opened))
    else:
        with open_gguf(base) as file:
            plan, architecture = plan_gguf(file), file.architecture
            pairs = _pairs(read_adapter(adapter, plan, architecture), plan.sources)
    alphas = {round(pair.scale * pair.rank, 9) for pair in pairs}
    alpha = alphas.pop() if len(alphas) == 1 else 0.0
    metadata = {
        "general.architecture": say.string(architecture),
        "general.type": say.string("adapter"),
        "general.file_type": say.u32(0),
        "adapter.type": say.string("lora"),
        "adapter.lora.alpha": say.f32(alpha),
    } | {f"freehold.adapter.{key}": say.string(value) for key, value in notes.items()}
    halves: dict[str, NDArray[np.float32]] = {}
    for pair in pairs:
        lower, upper = gguf_names(pair.tensor)
        halves[lower] = pair.lower
        halves[upper] = pair.upper if alpha else pair.upper * np.float32(pair.scale)
    tensors = [NewTensor(name, half.shape, BlockType.F32) for name, half in halves.items()]
    with GgufWriter(target, metadata, tensors) as writer:
        for name, half in halves.items():
            writer.write(name, 0, np.ascontiguousarray(half).view(np.uint8))
        return writer.publish()


def _pairs(parts: Mapping[str, LowRank], places: Mapping[str, Source]) -> list[_Pair]:
    """The matrices where the form has them. Raises: BadExport for one that it has not."""
    pairs = []
    for canonical, part in parts.items():
        place = places.get(canonical)
        if place is None or len(place.names) != 1:
            raise BadExport(
                "this adapter changes a matrix that the other form does not have alone",
                value=canonical,
                expected="a matrix that is a tensor of its own",
                found=canonical,
            )
        upper = part.upper
        if place.order is not None:
            if len(place.order) != len(upper):
                raise BadExport("this adapter changes a part of a matrix", value=canonical)
            ours, upper = upper, np.empty_like(upper)
            upper[place.order] = ours
        pairs.append(_Pair(place.names[0], part.lower, upper, part.scale))
    return pairs


def _peft_config(pairs: list[_Pair], base_name: str) -> dict[str, Any]:
    """LoraConfig's fields; ranks and alphas that are not the usual ones are named one by one."""
    rank = Counter(pair.rank for pair in pairs).most_common(1)[0][0]
    alphas = {pair.tensor: pair.scale * pair.rank for pair in pairs}
    alpha = Counter(alphas.values()).most_common(1)[0][0]
    modules = {pair.tensor: pair.tensor.removesuffix(".weight") for pair in pairs}
    return {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base_name,
        "inference_mode": True,
        "r": rank,
        "lora_alpha": alpha if not math.isclose(alpha, round(alpha)) else round(alpha),
        "lora_dropout": 0.0,
        "target_modules": sorted({module.rsplit(".", 1)[1] for module in modules.values()}),
        "rank_pattern": {modules[p.tensor]: p.rank for p in pairs if p.rank != rank},
        "alpha_pattern": {
            modules[tensor]: value for tensor, value in alphas.items() if value != alpha
        },
        "bias": "none",
        "fan_in_fan_out": False,
        "use_rslora": False,
        "use_dora": False,
        "modules_to_save": None,
        "init_lora_weights": True,
    }
