"""Which family an architecture belongs to: one literal table, imported when asked.

Room: models. The only place, beside the families and their loading tables, that names them.
"""

from __future__ import annotations

__all__ = ["ENCODERS", "FAMILIES"]

# general.architecture of a file -> family: models/<family>.py and loading/names/<family>.py
FAMILIES = {"llama": "llama"}

# model_type of a directory's config.json -> family, likewise
ENCODERS = {"bert": "bert", "roberta": "bert", "xlm-roberta": "bert"}
