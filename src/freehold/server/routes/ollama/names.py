"""Model names with the tag that Ollama's clients expect.

Room: server. Pure; must not know which models there are.
"""

from __future__ import annotations

__all__ = ["ref_of", "tagged"]

_TAG = ":latest"


def ref_of(name: str) -> str:
    """What our residents call a model that a client calls `name`; the tag may be left out."""
    return name.removesuffix(_TAG) or name


def tagged(ref: str) -> str:
    """What a client calls a model; our own names have a tag only where they name a file form."""
    return ref if ":" in ref.rsplit("/", 1)[-1] else ref + _TAG
