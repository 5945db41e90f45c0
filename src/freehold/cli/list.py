"""`freehold list`: the catalogue, and what of it is here.

Room: cli.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from freehold.cli.options import AsJson

if TYPE_CHECKING:
    from freehold.library import Held

__all__ = ["list_models"]


def list_models(*, as_json: AsJson = False) -> None:
    """Show the known models and which are here."""
    from freehold.cli.printing import print_json, table_console
    from freehold.config import resolve_settings
    from freehold.library import held_models, shelf

    models_dir = resolve_settings().models_dir
    rows, held = shelf(models_dir), held_models(models_dir)
    if as_json:
        for row in rows:
            print_json(
                {
                    "name": row.entry.name,
                    "title": row.entry.title,
                    "kind": row.entry.kind,
                    "present": row.present,
                    "path": str(row.path),
                    "size_bytes": row.entry.size_bytes,
                    "sha256": row.entry.sha256,
                    "licence": row.entry.licence,
                    "source": row.entry.requirement,
                }
            )
        for model in held:
            print_json(_facts(model))
        return
    from rich.table import Table

    table = Table("name", "model", "size", "licence", "here", box=None, pad_edge=False)
    for row in rows:
        here = str(row.path) if row.present else f"no: freehold pull {row.entry.name}"
        size = f"{row.entry.size_bytes / 1e6:.1f} MB"
        table.add_row(row.entry.name, row.entry.title, size, row.entry.licence, here)
    for model in held:
        size = f"{model.size_bytes / 1e6:.1f} MB"
        table.add_row(
            model.ref, _source(model), size, model.licence or "not stated", str(model.path)
        )
    table_console().print(table)


def _source(model: Held) -> str:
    """Where a model is from, as short as it can be."""
    commit = model.origin.commit
    return f"at {commit.hex[:12]}" if commit is not None else f"from {model.origin.place}"


def _facts(model: Held) -> dict[str, object]:
    origin = model.origin
    return {
        "name": model.ref,
        "title": f"{origin.repo} {_source(model)}" if origin.repo else _source(model),
        "kind": None,
        "present": True,
        "path": str(model.path),
        "size_bytes": model.size_bytes,
        "sha256": model.weights.sha256.hex,
        "licence": model.licence,
        "source": f"{origin.repo}@{origin.commit}" if origin.repo else origin.place,
    }
