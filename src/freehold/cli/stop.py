"""`freehold stop`: ends the server of this home, or takes one model out of its memory.

Room: cli. The server has no route that ends it: a signal needs the same user on the same machine.
"""

from __future__ import annotations

from typing import Annotated

import typer

from freehold.cli.options import AsJson

__all__ = ["stop"]

Model = Annotated[
    str | None,
    typer.Argument(metavar="[MODEL]", help="Unload this model and leave the server running."),
]
Now = Annotated[bool, typer.Option("--now", help="Do not wait for open answers.")]


def stop(model: Model = None, *, now: Now = False, as_json: AsJson = False) -> None:
    """End the server, after the answers that are under way.

    Where the server asks for a key, unloading needs one with the scope admin in FREEHOLD_API_KEY.
    """
    from freehold.cli.printing import print_json, say
    from freehold.cli.remote import ask, standing_here

    standing = standing_here()
    if model is not None:
        ask(standing, "POST", "/admin/models/unload", {"model": model})
        if as_json:
            print_json({"unloaded": model})
        else:
            say(f"{model} is out of memory")
        return
    if standing is not None:
        _end(standing.pid, standing.birth, now=now)
    if as_json:
        print_json({"stopped": standing is not None})
    else:
        say("stopped" if standing is not None else "no server runs for this home")


def _end(pid: int, birth: int, *, now: bool) -> None:
    """Signal the process and wait until it is gone."""
    import contextlib
    import os
    import signal
    import time

    from freehold.config import resolve_settings
    from freehold.errors import SetupError
    from freehold.server.standing import process_birth

    limit_s = resolve_settings().drain_s + 20.0
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)
        if now:
            # Two signals that come at once are one.
            time.sleep(0.3)
            os.kill(pid, signal.SIGTERM)
    until = time.monotonic() + limit_s
    while process_birth(pid) == birth:
        if time.monotonic() > until:
            raise SetupError(
                f"the server, process {pid}, has not ended within {limit_s:g} s",
                value=pid,
                hint="`freehold stop --now` does not wait for open answers",
            )
        time.sleep(0.05)
