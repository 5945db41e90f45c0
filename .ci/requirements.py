"""Print one group of pyproject.toml's requirements, so that the Makefile need not repeat them."""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path


def requirements(group: str) -> list[str]:
    """`dependencies`, or the name of an optional extra."""
    text = (Path(__file__).resolve().parents[1] / "pyproject.toml").read_text("utf-8")
    project = tomllib.loads(text)["project"]
    table = {"dependencies": project["dependencies"], **project["optional-dependencies"]}
    return list(table[group])


if __name__ == "__main__":
    sys.stdout.write("\n".join(requirements(sys.argv[1])) + "\n")
