"""Model families appear by name only where families are defined: models/ and loading/."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.architecture.source_tree import SRC, name_of, parsed, source_files, tracked_files

# "ollama" names a program whose interface the server speaks, not a family.
FAMILY = re.compile(
    r"(?<!o)llama|mistral|mixtral|qwen|deepseek|gemma|phi-?[234]|smollm|falcon|starcoder|"
    r"command-?r|granite|olmo|gpt-?2|gpt_neox|chatglm|internlm|baichuan",
    re.IGNORECASE,
)

ROOMS_WITH_FAMILIES = ("models", "loading")

# Where a family's name is data that names something else, with the reason.
EXCEPTIONS = {
    "src/freehold/library/nearby.py": "the cache of the program llama.cpp",
    "src/freehold/library/catalogue.py": "titles and package names of what can be pulled",
    "src/freehold/chat/dialects": "tool dialects are named after the families that began them",
    "src/freehold/tokenizer": "GGUF names its pre-tokenizers after the families that began them",
}

NATIVE = {".cpp", ".h", ".hpp", ".c", ".cc", ".inc"}


def is_exempt(path: Path) -> bool:
    if path.relative_to(SRC).parts[0] in ROOMS_WITH_FAMILIES:
        return True
    return any(name_of(path).startswith(prefix) for prefix in EXCEPTIONS)


def names_and_strings(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Every identifier and every string that is not a docstring."""
    nodes = list(ast.walk(tree))
    docstrings = {
        id(node.body[0].value)
        for node in nodes
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    for node in nodes:
        match node:
            case ast.Name(id=text) | ast.arg(arg=text) | ast.Attribute(attr=text):
                yield node.lineno, text
            case ast.FunctionDef(name=text) | ast.ClassDef(name=text):
                yield node.lineno, text
            case ast.ImportFrom(module=str(text)):
                yield node.lineno, text
            case ast.alias(name=text):
                yield node.lineno, text
            case ast.Constant(value=str(text)) if id(node) not in docstrings:
                yield node.lineno, text
            case _:
                continue


def family_names(tree: ast.Module) -> list[str]:
    return [f"{line}: {text}" for line, text in names_and_strings(tree) if FAMILY.search(text)]


def test_no_family_name_outside_models_and_loading() -> None:
    found = [
        f"{name_of(path)}:{name}"
        for path in source_files()
        if not is_exempt(path)
        for name in family_names(parsed(path))
    ]
    assert found == []


def test_no_family_name_in_the_core() -> None:
    found = [
        f"{name_of(path)}:{number} {line.strip()}"
        for path in tracked_files()
        if path.suffix in NATIVE
        for number, line in enumerate(path.read_text("utf-8").splitlines(), start=1)
        # "llama.cpp" names a program, not a family.
        if FAMILY.search(line.replace("llama.cpp", ""))
    ]
    assert found == []


@pytest.mark.parametrize(
    "source", ['if arch == "qwen2": pass', "class LlamaBlock: ...", "import freehold.x.mistral"]
)
def test_the_rule_catches_a_family_name(source: str) -> None:
    assert family_names(ast.parse(source))


def test_a_docstring_may_name_a_family() -> None:
    assert family_names(ast.parse('"""As llama does it."""')) == []
