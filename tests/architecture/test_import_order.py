"""A module imports only rooms above its own."""

from __future__ import annotations

import ast
from functools import cache

import pytest

from tests.architecture.source_tree import module_of, parsed, source_files

# From the top of the house down. A room may import any room before it in this list.
ROOMS = (
    "errors",
    "config",
    "_core",
    "ops",
    "formats",
    "tokenizer",
    "models",
    "loading",
    "engine",
    "chat",
    "store",
    "library",
    "inspection",
    "quantize",
    "fit",
    "privacy",
    "rag",
    "agents",
    "cluster",
    "local",
    "tune",
    "evals",
    "server",
    "cli",
)
RANK = {room: rank for rank, room in enumerate(ROOMS)}

# The two files outside the rooms: the public face and `python -m freehold`.
FACE = {"freehold": "server", "freehold.__main__": "cli"}

TORCH_ONLY_IN = "tune"


def room_of(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


def imports_of(tree: ast.Module, module: str, *, is_package: bool) -> list[tuple[int, str]]:
    """(line, absolute module name) of every import, wherever in the file it stands."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = module.split(".")
                above = above[: len(above) - node.level + (1 if is_package else 0)]
                base = ".".join([*above, *([base] if base else [])])
            # `from freehold import ops` imports the room, not a name of the face.
            if base == "freehold":
                found += [(node.lineno, f"freehold.{alias.name}") for alias in node.names]
            else:
                found.append((node.lineno, base))
    return found


@cache
def source_imports() -> tuple[tuple[str, str], ...]:
    """(importing module, imported module) of every import of the package."""
    return tuple(
        (module_of(path), imported)
        for path in source_files()
        for _, imported in imports_of(
            parsed(path), module_of(path), is_package=path.name == "__init__.py"
        )
    )


def violations(tree: ast.Module, module: str, *, is_package: bool) -> list[str]:
    own = FACE.get(module) or room_of(module)
    if own not in RANK:
        return [f"{module}: {own!r} is not a room; add it to the table with its rank"]
    wrong = []
    for line, imported in imports_of(tree, module, is_package=is_package):
        if imported.split(".")[0] != "freehold":
            continue
        room = room_of(imported)
        if room == own or room.startswith("__") or not room:
            continue
        if room not in RANK:
            wrong.append(f"{module}:{line} imports {imported}, which is in no known room")
        elif RANK[room] > RANK[own]:
            wrong.append(f"{module}:{line} ({own}) imports {imported}, a room below it")
    return wrong


def test_imports_only_rooms_above() -> None:
    wrong = [
        told
        for path in source_files()
        for told in violations(parsed(path), module_of(path), is_package=path.name == "__init__.py")
    ]
    assert wrong == []


def test_torch_is_imported_only_by_tune() -> None:
    importing = [
        (module, imported)
        for module, imported in source_imports()
        if room_of(module) != TORCH_ONLY_IN
        and imported.split(".")[0] in {"torch", "transformers", "peft", "trl"}
    ]
    assert importing == []


def test_compiled_core_is_imported_only_by_ops() -> None:
    importing = [
        (module, imported)
        for module, imported in source_imports()
        if room_of(module) != "ops" and imported.startswith("freehold._core")
    ]
    assert importing == []


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("freehold.ops.matvec", "from freehold.engine import step"),
        ("freehold.formats.gguf", "import freehold.loading.names"),
        ("freehold.engine.runner", "def f():\n    from freehold import library"),
        ("freehold.library.pull", "from ..cli import main"),
        ("freehold.attic.box", "import os"),
        ("freehold.cli.run", "from freehold.attic import box"),
    ],
)
def test_the_rule_catches_a_wrong_import(module: str, source: str) -> None:
    assert violations(ast.parse(source), module, is_package=False)


def test_relative_imports_inside_a_room_are_allowed() -> None:
    source = ast.parse("from .names import table\nfrom freehold.errors import LoadError")
    assert violations(source, "freehold.loading.gguf", is_package=False) == []
