"""A small model, an adapter of it that is as Freehold trains one, and lines to compare on."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from freehold.library.identity import identity_of
from freehold.loading.text import read_text_side
from freehold.tune.export.drift import Bound
from freehold.tune.export.publishing import Exported, Wanted, export
from freehold.tune.fingerprint import fingerprint_of
from freehold.tune.provenance import Provenance, write_provenance
from tests.chat.small_templates import CHATML
from tests.loading.small import Checkpoint, Dims, small
from tests.loading.small_adapter import small_adapter

# With the control tokens that the vocabulary has.
TEMPLATE = CHATML.replace("<|im_start|>", "<|begin|>").replace("<|im_end|>", "<|end|>")
DIMS = Dims(L=2, D=64, H=4, G=2, A=16, F=96, V=300, kind="F16", context_tokens=512)


@dataclass(frozen=True)
class Trained:
    """A base, an adapter of it, and a way to export it with few words."""

    base: Path
    adapter: Path
    folder: Path
    export: Callable[..., Exported]


def checkpoint(dims: Dims = DIMS) -> Checkpoint:
    """A file's contents, with a template and a licence."""
    made = small(dims)
    made.keys["tokenizer.chat_template"] = TEMPLATE
    made.keys["general.license"] = "apache-2.0"
    made.keys["general.name"] = "toy"
    return made


def provenance(base: Path, adapter: Path) -> None:
    """Writes beside the adapter what training on the base would have written."""
    said = Provenance(
        base=identity_of(base).digest,
        base_name=base.name,
        datasets=("sha256:" + "1" * 64,),
        fingerprint=fingerprint_of(read_text_side(base)),
    )
    write_provenance(adapter, said)


@pytest.fixture
def lines(tmp_path: Path) -> Path:
    """A few conversations as a data set has them."""
    path = tmp_path / "lines.jsonl"
    said = [
        {"messages": [{"role": "user", "content": f"{n} plus {n}?"}, _answer(2 * n)]}
        for n in range(6)
    ]
    path.write_text("\n".join(map(json.dumps, said)) + "\n")
    return path


def _answer(number: int) -> dict[str, str]:
    return {"role": "assistant", "content": f"that is {number}, of course"}


@pytest.fixture
def trained(tmp_path: Path, lines: Path) -> Trained:
    """The base, and an adapter of every matrix."""
    base = checkpoint().write(tmp_path / "base.gguf")
    adapter = small_adapter(DIMS).write(tmp_path / "adapter")
    provenance(base, adapter)

    def run(form: str, name: str, **how: Any) -> Exported:
        model = Path(how.pop("base", base))
        how = {"held_out": lines, "bound": Bound(mean_kl=0.01)} | how
        wanted = Wanted(form=form, output=tmp_path / name, **how)  # type: ignore[arg-type]
        return export(model, adapter, wanted)

    return Trained(base, adapter, tmp_path, run)
