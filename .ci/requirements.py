"""Print one group of pyproject.toml's requirements, so that the Makefile need not repeat them."""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path


def requirements(group: str) -> list[str]:
    """`dependencies`, `build`, or the name of an optional extra."""
    text = (Path(__file__).resolve().parents[1] / "pyproject.toml").read_text("utf-8")
    document = tomllib.loads(text)
    project = document["project"]
    table = {
        "dependencies": project["dependencies"],
        "build": document["build-system"]["requires"],
        **project["optional-dependencies"],
    }
    return list(table[group])


if __name__ == "__main__":
    sys.stdout.write("\n".join(requirements(sys.argv[1])) + "\n")
