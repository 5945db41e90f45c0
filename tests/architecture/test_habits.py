"""Habits of the code that a reader may rely on, each held by a test."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from importlib import import_module
from importlib.util import find_spec

import pytest

from tests.architecture.source_tree import (
    ROOT,
    SRC,
    module_of,
    name_of,
    nodes_of,
    parsed,
    python_files,
    source_files,
    tracked_files,
)

HEAVY = ("torch", "transformers", "numpy", "tokenizers", "freehold._core")

# Paths that exist on one machine only. Spelled in pieces, or this file would find itself.
MACHINE_PATH = re.compile(
    "|".join(
        (
            "/" + "work/",
            "/" + "root/",
            "/" + "home/" + r"\w",
            "/" + "tmp/" + r"(?!freehold\b)\w",
            "/" + "Users/" + r"\w",
        )
    )
)
TEXT = {".py", ".md", ".toml", ".txt", ".cpp", ".h", ".hpp", ".json", ".yml", ".yaml", ".cfg", ""}

BANNED_NAMES = {"utils", "helpers", "manager", "common", "misc", "util", "helper"}


def loaded_after(statement: str) -> set[str]:
    """The heavy modules a fresh interpreter holds after the statement."""
    script = f"import sys\n{statement}\nprint(*[m for m in {HEAVY!r} if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, text=True, cwd=ROOT
    )
    return set(done.stdout.splitlines()[-1].split())


HELP = """
from freehold.cli import main
sys.argv = ["freehold", "--help"]
try:
    main()
except SystemExit as end:
    assert end.code == 0, end.code
"""


@pytest.mark.parametrize("statement", ["import freehold", HELP], ids=["import", "help"])
def test_start_loads_nothing_heavy(statement: str) -> None:
    assert loaded_after(statement) == set()


def test_the_check_notices_a_heavy_module() -> None:
    assert loaded_after("import numpy") == {"numpy"}


def public_names(tree: ast.Module, *, is_face: bool) -> set[str]:
    """Public classes and functions a module defines; a package's face also has what it imports."""
    names = set()
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif is_face and isinstance(node, ast.ImportFrom) and node.module != "__future__":
            names |= {alias.asname or alias.name for alias in node.names}
    return {name for name in names if not name.startswith("_")}


def declared_all(tree: ast.Module) -> list[str] | None:
    for node in tree.body:
        if isinstance(node, ast.Assign) and any(
            isinstance(target, ast.Name) and target.id == "__all__" for target in node.targets
        ):
            value: list[str] = ast.literal_eval(node.value)
            return value
    return None


def drifted(tree: ast.Module, *, is_face: bool) -> bool:
    """Whether `__all__` lacks a public name, has one twice, or is not there on a room's face."""
    declared = declared_all(tree)
    if declared is None:
        return is_face and bool(public_names(tree, is_face=True))
    repeats = len(declared) != len(set(declared))
    return repeats or not public_names(tree, is_face=False) <= set(declared)


def test_all_has_not_drifted() -> None:
    found = [
        name_of(path)
        for path in source_files()
        if drifted(parsed(path), is_face=path.name == "__init__.py" and path.parent != SRC)
    ]
    assert found == []


@pytest.mark.parametrize(
    ("source", "is_face"),
    [
        ("from x import y", True),
        ("__all__ = ['f', 'f']\ndef f(): ...", False),
        ("__all__ = []\nclass C: ...", False),
    ],
)
def test_the_rule_catches_an_all_that_drifted(source: str, is_face: bool) -> None:
    assert drifted(ast.parse(source), is_face=is_face)


def test_every_name_in_all_exists() -> None:
    absent = {}
    for path in source_files():
        module = module_of(path)
        if path.name == "__main__.py":
            continue
        if find_spec("freehold._core") is None and module != "freehold.errors":
            pytest.skip("the core is not built")
        loaded = import_module(module)
        names = [name for name in declared_all(parsed(path)) or () if not hasattr(loaded, name)]
        if names:
            absent[module] = names
    assert absent == {}


def test_no_function_takes_double_star_arguments() -> None:
    taking = [
        f"{name_of(path)}:{node.lineno} {getattr(node, 'name', 'lambda')}"
        for path in source_files()
        for node in nodes_of(path)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        and node.args.kwarg is not None
    ]
    assert taking == []


def blind_handlers(tree: ast.Module) -> list[int]:
    """Lines of handlers that catch everything; one that ends in a bare `raise` swallows nothing."""
    lines = []
    for node in ast.walk(tree):
        if not isinstance(node, ast.ExceptHandler):
            continue
        kinds = node.type.elts if isinstance(node.type, ast.Tuple) else [node.type]
        blind = any(
            kind is None
            or (isinstance(kind, ast.Name) and kind.id in {"Exception", "BaseException"})
            for kind in kinds
        )
        last = node.body[-1]
        if blind and not (isinstance(last, ast.Raise) and last.exc is None):
            lines.append(node.lineno)
    return lines


def test_no_handler_swallows_everything() -> None:
    found = {name_of(path): blind_handlers(parsed(path)) for path in source_files()}
    assert {name: lines for name, lines in found.items() if lines} == {}


def test_the_rule_catches_a_blind_handler() -> None:
    assert blind_handlers(ast.parse("try: f()\nexcept (OSError, Exception): pass")) == [2]
    assert blind_handlers(ast.parse("try: f()\nexcept: pass")) == [2]


def test_files_open_with_a_docstring() -> None:
    assert [name_of(path) for path in source_files() if not ast.get_docstring(parsed(path))] == []


def test_file_names_say_what_is_inside() -> None:
    vague = [
        name_of(path) for path in python_files() if {path.stem, path.parent.name} & BANNED_NAMES
    ]
    assert vague == []


def test_no_machine_paths_in_the_repository() -> None:
    found = [
        f"{name_of(path)}:{number} {line.strip()[:100]}"
        for path in tracked_files()
        if path.suffix in TEXT and path.name != "LICENSE"
        for number, line in enumerate(path.read_text("utf-8").splitlines(), start=1)
        if MACHINE_PATH.search(line)
    ]
    assert found == []


def test_version_is_the_same_in_both_places() -> None:
    import freehold

    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert project["version"] == freehold.__version__


def test_every_dependency_has_an_upper_bound_and_a_reason() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    reasons = (ROOT / "ARCHITECTURE.md").read_text("utf-8")
    groups = [project["dependencies"], *project["optional-dependencies"].values()]
    for requirement in [line for group in groups for line in group]:
        name = re.split(r"[<>=!~\[ ]", requirement, maxsplit=1)[0]
        assert "<" in requirement or "==" in requirement, requirement
        assert f"`{name}`" in reasons, f"ARCHITECTURE.md gives no reason for {name}"


def test_package_is_typed() -> None:
    assert (SRC / "py.typed").is_file()
