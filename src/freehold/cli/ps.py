"""`freehold ps`: what the server of this home has in memory.

Room: cli.
"""

from __future__ import annotations

from freehold.cli.options import AsJson

__all__ = ["ps"]


def ps(*, as_json: AsJson = False) -> None:
    """Show the running server's models.

    Where the server asks for a key, FREEHOLD_API_KEY holds one with the scope read.
    """
    import time

    from freehold.cli.printing import print_json, say, table_console
    from freehold.cli.remote import ask, standing_here

    standing = standing_here()
    if standing is None:
        if not as_json:
            say("no server runs for this home: freehold serve")
        return
    state = ask(standing, "GET", "/v1/health")
    if as_json:
        server = {"url": standing.url, "pid": standing.pid, "status": state["status"]}
        for model in state["models"]:
            print_json({**model, "server": server})
        return
    from rich.table import Table

    up = _span(time.time() - standing.started)
    say(f"{standing.url} is {state['status']}: process {standing.pid}, up {up}")
    table = Table(
        "model", "kind", "memory", "context", "running", "waiting", "for", box=None, pad_edge=False
    )
    for model in state["models"]:
        table.add_row(
            model["model"],
            model["kind"],
            f"{model['memory_bytes'] / 1e6:.0f} MB",
            str(model["context_tokens"]),
            str(model["running"]),
            str(model["waiting"]),
            _span(time.time() - model["since"]),
        )
    table_console().print(table)


def _span(seconds: float) -> str:
    minutes, seconds = divmod(int(max(0, seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    parts = ((days, "d"), (hours, "h"), (minutes, "m"), (int(seconds), "s"))
    shown = [f"{count}{unit}" for count, unit in parts if count]
    return " ".join(shown[:2]) or "0s"
