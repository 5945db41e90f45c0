"""That a model's files are what they say, by opening them as a reader would, before publication.

Room: library. Knows the formats' readers; must not know families or run anything.
"""

from __future__ import annotations

from pathlib import Path

from freehold.errors import BadReference
from freehold.formats.gguf import open_gguf
from freehold.formats.json_file import read_json_object
from freehold.formats.safetensors import open_safetensors

__all__ = ["check_opens", "weights_in"]

_WEIGHTS = ("model.safetensors.index.json", "model.safetensors")


def weights_in(directory: Path) -> Path | None:
    """The file that a safetensors directory is opened by, if it has one."""
    return next((directory / name for name in _WEIGHTS if (directory / name).is_file()), None)


def check_opens(path: Path) -> None:
    """Read the headers of every file of a model; no weight is looked at.

    Raises: FormatError, BadReference for a directory without weights or configuration.
    """
    if not path.is_dir():
        with open_gguf(path) as file:
            len(file.tensors)
        return
    weights = weights_in(path)
    if weights is None or not (path / "config.json").is_file():
        raise BadReference(
            "this directory is no model",
            value=str(path),
            expected="config.json, and model.safetensors or its index",
            found=", ".join(sorted(each.name for each in path.iterdir())[:12]) or "nothing",
            hint="weights in other forms can run code, and are never loaded",
        )
    read_json_object(path / "config.json")
    with open_safetensors(weights) as directory:
        len(directory.tensors)
