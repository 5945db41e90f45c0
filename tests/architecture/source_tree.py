"""The repository as the architecture tests read it: its files, and its Python parsed once."""

from __future__ import annotations

import ast
import subprocess
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SRC = ROOT / "src" / "freehold"


@cache
def tracked_files() -> tuple[Path, ...]:
    """Every file git knows, or would know after `git add`: what a reader of the repository sees."""
    listing = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    names = (name for name in listing.stdout.split("\0") if name)
    return tuple(path for name in names if (path := ROOT / name).is_file())


@cache
def python_files() -> tuple[Path, ...]:
    return tuple(path for path in tracked_files() if path.suffix == ".py")


@cache
def source_files() -> tuple[Path, ...]:
    return tuple(path for path in python_files() if path.is_relative_to(SRC))


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text("utf-8"), filename=str(path))


@cache
def nodes_of(path: Path) -> tuple[ast.AST, ...]:
    return tuple(ast.walk(parsed(path)))


def module_of(path: Path) -> str:
    """`freehold.library.pull` for its file; a package for its __init__.py."""
    parts = path.relative_to(SRC.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))
