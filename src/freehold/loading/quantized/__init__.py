"""Quantized safetensors: from `quantization_config` and parts of matrices to rows of blocks.

Room: loading. Must not know any family.
"""

from __future__ import annotations

from freehold.loading.quantized.report import Carried, LoadReport, report_on
from freehold.loading.quantized.rows import QuantizedRows
from freehold.loading.quantized.scheme import Gathered, Scheme, read_scheme

__all__ = [
    "Carried",
    "Gathered",
    "LoadReport",
    "QuantizedRows",
    "Scheme",
    "read_scheme",
    "report_on",
]
