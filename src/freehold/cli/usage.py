"""`freehold usage`: how many tokens each key used of each model.

Room: cli.
"""

from __future__ import annotations

from typing import Annotated

import typer

from freehold.cli.options import AsJson

__all__ = ["usage"]

Since = Annotated[
    str | None,
    typer.Option(
        "--since", metavar="WHEN", help="From a day on (UTC): 2030-01-31 or 7d; unset: everything."
    ),
]


def usage(*, since: Since = None, as_json: AsJson = False) -> None:
    """Show the requests and tokens of each key and model."""
    from freehold.cli.moments import day_since
    from freehold.cli.printing import print_json, safe_text, table_console
    from freehold.config import resolve_settings
    from freehold.store import open_store

    first_day = None if since is None else day_since(since)
    settings = resolve_settings()
    store = open_store(settings.database, settings.home)
    try:
        names = {record.id: record.name for record in store.keys.list()}
        totals = store.usage.totals(since=first_day)
    finally:
        store.close()
    if as_json:
        for total in totals:
            print_json(
                {
                    "key_id": total.key_id,
                    "key": names.get(total.key_id),
                    "model": total.model,
                    "requests": total.requests,
                    "prompt_tokens": total.prompt_tokens,
                    "completion_tokens": total.completion_tokens,
                    "cached_tokens": total.cached_tokens,
                }
            )
        return
    from rich.table import Table

    table = Table("key", "model", box=None, pad_edge=False)
    for head in ("requests", "prompt tokens", "of them cached", "answer tokens"):
        table.add_column(head, justify="right")
    for total in totals:
        counts = (
            total.requests,
            total.prompt_tokens,
            total.cached_tokens,
            total.completion_tokens,
        )
        name = safe_text(names.get(total.key_id, total.key_id))
        table.add_row(name, safe_text(total.model), *(f"{count:,}" for count in counts))
    table_console().print(table)
