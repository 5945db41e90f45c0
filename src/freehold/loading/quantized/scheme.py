"""`quantization_config` -> which tensors form which matrix, and what became of each.

Room: loading. Must not know any family.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Protocol

from freehold.errors import BadConfig, UnexpectedTensor
from freehold.formats.safetensors import SafetensorsTensor
from freehold.loading.keys import Keys
from freehold.loading.quantized.compressed import read_compressed
from freehold.loading.quantized.methods import read_awq, read_gptq
from freehold.loading.quantized.minifloats import read_fp8, read_modelopt, read_mxfp4
from freehold.loading.quantized.parts import Parts, as_array
from freehold.loading.quantized.rows import QuantizedRows

__all__ = ["Gathered", "Reader", "Scheme", "read_scheme"]


class Reader(Protocol):
    """One way to quantize, as its configuration describes it."""

    @property
    def label(self) -> str:
        """The format in words."""

    def split(self, name: str) -> tuple[str, str] | None:
        """The matrix a tensor is part of, and which part; None when it is none."""

    def rows(self, parts: Parts) -> QuantizedRows | None:
        """The matrix, checked; None for one of plain floats."""


READERS: Mapping[str, Callable[[Keys], Reader]] = {
    "gptq": read_gptq,
    "awq": read_awq,
    "compressed-tensors": read_compressed,
    "fp8": read_fp8,
    "mxfp4": read_mxfp4,
    "modelopt": read_modelopt,
}


@dataclass(frozen=True)
class Gathered:
    """Quantized matrices by the names that a float checkpoint would have, and all else."""

    rows: Mapping[str, QuantizedRows]
    plain: Mapping[str, SafetensorsTensor]


@dataclass(frozen=True)
class Scheme:
    """How a checkpoint is quantized."""

    reader: Reader

    @property
    def label(self) -> str:
        """The format in words."""
        return self.reader.label

    def gather(self, tensors: Mapping[str, SafetensorsTensor], taken: Collection[str]) -> Gathered:
        """Checks all parts and puts them together; no weight is read.

        `taken` are the names that the family has a place for: biases of zeros that it has none
        for, which some packers add to every matrix, are left out.
        Raises: MissingTensor, UnexpectedTensor, ShapeMismatch, UnsupportedType, BadConfig.
        """
        plain: dict[str, SafetensorsTensor] = {}
        found: dict[str, dict[str, SafetensorsTensor]] = {}
        for name, tensor in tensors.items():
            place = self.reader.split(name)
            if place is None:
                plain[name] = tensor
                continue
            parts = found.setdefault(place[0], {})
            if place[1] in parts:
                raise UnexpectedTensor(
                    f"{name} says again what {parts[place[1]].name} says",
                    tensor=name,
                    expected="each part of a matrix once",
                    found=name,
                )
            parts[place[1]] = tensor
        rows = {}
        for name, parts in found.items():
            made = self.reader.rows(Parts(name, parts))
            if made is not None:
                rows[name] = made
            elif "weight" in parts:
                plain[parts["weight"].name] = parts["weight"]
        both = next((name for name in rows if name in plain), None)
        if both is not None:
            raise UnexpectedTensor(
                f"{both} is there as floats and quantized", tensor=both, expected="one of them"
            )
        return Gathered(rows, {k: v for k, v in plain.items() if not _idle_bias(k, v, rows, taken)})


def read_scheme(metadata: Mapping[str, object]) -> Scheme | None:
    """The scheme of a config.json, or None of floats. Raises: BadConfig, UnknownConfigKey."""
    found = metadata.get("quantization_config", metadata.get("compression_config"))
    if found is None:
        return None
    if not isinstance(found, Mapping):
        raise BadConfig(
            "quantization_config is no object", expected="an object", found=type(found).__name__
        )
    method = found.get("quant_method")
    if not isinstance(method, str) or method not in READERS:
        raise BadConfig(
            "the checkpoint is quantized in a way that is not carried",
            value=str(method)[:80],
            expected=" or ".join(sorted(READERS)),
            found=repr(method)[:80],
            hint="choose another quantization of the model, or its GGUF form",
        )
    at = "quantization_config"
    keys = Keys({f"{at}.{key}": value for key, value in found.items()}, at)
    keys.ignore("quant_method", "chose the reader")
    reader = READERS[method](keys)
    keys.finish()
    return Scheme(reader)


def _idle_bias(
    name: str,
    tensor: SafetensorsTensor,
    rows: Mapping[str, QuantizedRows],
    taken: Collection[str],
) -> bool:
    stem = name.removesuffix("bias")
    if stem == name or f"{stem}weight" not in rows or name in taken:
        return False
    return not as_array(tensor).any()
