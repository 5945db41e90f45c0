"""The generated pages are what the program would write now."""

from __future__ import annotations

from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import pytest

DOCS = Path(__file__).resolve().parents[2] / "docs"


def generator() -> ModuleType:
    spec = spec_from_file_location("generate", DOCS / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", ["cli.md", "configuration.md"])
def test_generated_page_is_fresh(name: str) -> None:
    assert (DOCS / name).read_text("utf-8") == generator().PAGES[name](), "run `make docs`"


def test_every_command_is_in_the_page() -> None:
    page = generator().cli_page()
    for command in ("run", "pull", "list", "rm", "bench", "doctor", "version"):
        assert f"\n## freehold {command}\n" in page
