"""Files and functions stay small enough to read in one sitting. Ceilings only go down."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

from tests.architecture.source_tree import name_of, nodes_of, python_files, tracked_files

PYTHON_FILE_LINES = 400
NATIVE_FILE_LINES = 600
FUNCTION_LINES = 60
FUNCTION_LINES_P90 = 30

NATIVE = {".cpp", ".h", ".hpp", ".c", ".cc", ".inc"}

# Files that are one long list, with the reason. Nothing else is exempt.
LONG_LISTS: dict[str, str] = {}


def native_files() -> list[Path]:
    return [path for path in tracked_files() if path.suffix in NATIVE]


@cache
def function_lengths() -> dict[str, int]:
    """Lines from `def` to the end, docstring included; decorators are not counted."""
    lengths = {}
    for path in python_files():
        for node in nodes_of(path):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                assert node.end_lineno is not None
                lengths[f"{name_of(path)}:{node.lineno} {node.name}"] = (
                    node.end_lineno - node.lineno + 1
                )
    return lengths


def line_count(path: Path) -> int:
    return len(path.read_text("utf-8").splitlines())


def test_python_files_are_at_most_400_lines() -> None:
    lines = {name_of(path): line_count(path) for path in python_files()}
    too_long = {name: n for name, n in lines.items() if n > PYTHON_FILE_LINES}
    assert too_long.keys() <= LONG_LISTS.keys()


def test_native_files_are_at_most_600_lines() -> None:
    too_long = {name_of(path): line_count(path) for path in native_files()}
    assert {name: n for name, n in too_long.items() if n > NATIVE_FILE_LINES} == {}


def test_functions_are_at_most_60_lines() -> None:
    assert {name: n for name, n in function_lengths().items() if n > FUNCTION_LINES} == {}


def test_nine_functions_of_ten_are_at_most_30_lines() -> None:
    lengths = sorted(function_lengths().values())
    assert lengths[int(0.9 * len(lengths))] <= FUNCTION_LINES_P90


def test_every_exemption_still_exists_and_is_still_needed() -> None:
    for name in LONG_LISTS:
        path = next(path for path in python_files() if name_of(path) == name)
        assert line_count(path) > PYTHON_FILE_LINES
