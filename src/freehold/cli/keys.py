"""`freehold keys`: make, list and revoke the keys of the server.

Room: cli. Works on the database, whether or not a server runs; one that runs notices in seconds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from freehold.cli.options import AsJson

if TYPE_CHECKING:
    from freehold.store import KeyRecord, Store

__all__ = ["create", "keys", "list_keys", "revoke"]

keys = typer.Typer(name="keys", help="Make, list and revoke the keys of the server.")

PerMinute = Annotated[
    int | None,
    typer.Option("--requests-per-minute", min=1, help="Requests in any 60 seconds; unset: any."),
]
TokensPerMinute = Annotated[
    int | None,
    typer.Option("--tokens-per-minute", min=1, help="Tokens in any 60 seconds; unset: any."),
]
Concurrent = Annotated[
    int | None, typer.Option("--concurrent", min=1, help="Requests at once; unset: any.")
]
Scope = Annotated[
    list[str] | None,
    typer.Option(
        "--scope",
        help="generate, embed, read, jobs, tune, metrics, admin or *; may be given again. "
        "Unset: generate, embed and read.",
    ),
]
Expires = Annotated[
    str | None,
    typer.Option(
        "--expires",
        metavar="WHEN",
        help="After a time such as 90d, 12h or 30m, or at a date (UTC); unset: never.",
    ),
]


@keys.command()
def create(
    name: Annotated[str, typer.Argument(help="What people will know the key by.")],
    *,
    scope: Scope = None,
    requests_per_minute: PerMinute = None,
    tokens_per_minute: TokensPerMinute = None,
    concurrent: Concurrent = None,
    expires: Expires = None,
    as_json: AsJson = False,
) -> None:
    """Make a key and show its secret, once: to stdout, everything else to stderr."""
    from freehold.cli.moments import moment_after
    from freehold.cli.printing import print_json, say
    from freehold.store import DEFAULT_SCOPES, Limits

    limits = Limits(
        requests_per_minute=requests_per_minute,
        tokens_per_minute=tokens_per_minute,
        concurrent=concurrent,
    )
    scopes = [word.strip() for part in scope or DEFAULT_SCOPES for word in part.split(",")]
    expires_at = None if expires is None else moment_after(expires)
    store = _open()
    try:
        record, secret = store.keys.create(name, scopes, limits, expires_at=expires_at)
    finally:
        store.close()
    if as_json:
        print_json({**_row(record), "secret": secret})
        return
    say(f"key {record.name} ({record.id}), good for {', '.join(sorted(record.scopes))}")
    say("Keep the secret now; it is not stored and cannot be shown again:")
    typer.echo(secret)


@keys.command(name="list")
def list_keys(*, as_json: AsJson = False) -> None:
    """Show every key ever made, revoked ones too; never a secret."""
    from freehold.cli.printing import print_json, safe_text, say, table_console

    store = _open()
    try:
        records = store.keys.list()
    finally:
        store.close()
    if as_json:
        for record in records:
            print_json(_row(record))
        return
    if not records:
        say("no keys: on this machine the server asks for none. `freehold keys create NAME`")
        return
    from rich.table import Table

    heads = ("id", "name", "secret", "state", "scopes", "limits", "expires", "last used")
    table = Table(*heads, box=None, pad_edge=False)
    for record in records:
        row = _row(record)
        table.add_row(
            record.id,
            safe_text(record.name),
            f"{record.prefix}…",
            str(row["state"]),
            ", ".join(sorted(record.scopes)),
            _limits(record),
            str(row["expires"] or "never"),
            str(row["last_used"] or "never"),
        )
    table_console().print(table)


@keys.command()
def revoke(
    key: Annotated[str, typer.Argument(help="A key's id or its name.")],
    *,
    as_json: AsJson = False,
) -> None:
    """End a key for good; a running server refuses it within seconds."""
    import time

    from freehold.cli.printing import print_json, safe_text, say

    store = _open()
    try:
        record = store.keys.revoke(key)
        left = sum(other.state(time.time()) == "valid" for other in store.keys.list())
    finally:
        store.close()
    if as_json:
        print_json(_row(record))
        return
    say(f"revoked {safe_text(record.name)} ({record.id})")
    if not left:
        say("no valid key is left: the server lets nobody in until there is a new one")


def _open() -> Store:
    from freehold.config import resolve_settings
    from freehold.store import open_store

    settings = resolve_settings()
    return open_store(settings.database, settings.home)


def _row(record: KeyRecord) -> dict[str, object]:
    import time

    from freehold.cli.moments import utc

    return {
        "id": record.id,
        "name": record.name,
        "prefix": record.prefix,
        "state": record.state(time.time()),
        "scopes": sorted(record.scopes),
        "requests_per_minute": record.limits.requests_per_minute,
        "tokens_per_minute": record.limits.tokens_per_minute,
        "concurrent": record.limits.concurrent,
        "created": utc(record.created_at),
        "expires": utc(record.expires_at),
        "revoked": utc(record.revoked_at),
        "last_used": utc(record.last_used_at),
    }


def _limits(record: KeyRecord) -> str:
    limits = record.limits
    shown = (
        (limits.requests_per_minute, "requests/min"),
        (limits.tokens_per_minute, "tokens/min"),
        (limits.concurrent, "at once"),
    )
    return ", ".join(f"{limit} {unit}" for limit, unit in shown if limit is not None) or "none"
