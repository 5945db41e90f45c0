"""`freehold list`: the catalogue, and what of it is here.

Room: cli.
"""

from __future__ import annotations

from freehold.cli.options import AsJson

__all__ = ["list_models"]


def list_models(*, as_json: AsJson = False) -> None:
    """Show the known models and which are here."""
    from freehold.cli.printing import print_json, table_console
    from freehold.config import resolve_settings
    from freehold.library import shelf

    rows = shelf(resolve_settings().models_dir)
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
        return
    from rich.table import Table

    table = Table("name", "model", "size", "licence", "here", box=None, pad_edge=False)
    for row in rows:
        here = str(row.path) if row.present else f"no: freehold pull {row.entry.name}"
        size = f"{row.entry.size_bytes / 1e6:.1f} MB"
        table.add_row(row.entry.name, row.entry.title, size, row.entry.licence, here)
    table_console().print(table)
