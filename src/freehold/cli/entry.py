"""Starts the command line and turns every way it can end into a message and an exit status.

Room: cli. Must not know what any command does.
"""

from __future__ import annotations

import errno
import os
import sys
from types import TracebackType

from freehold.errors import FreeholdError, RequestError, SetupError

__all__ = ["FAILED", "INTERRUPTED", "USAGE", "main"]

FAILED = 1
USAGE = 2
INTERRUPTED = 130  # 128 + SIGINT, as a shell reports it


def main() -> None:
    """Run the command line and exit.

    Exit status: 0 done, 2 the request or its flags were wrong, 130 interrupted, 1 all else.
    """
    debug = os.environ.get("FREEHOLD_DEBUG", "") not in ("", "0")
    if not debug:
        sys.excepthook = _report_bug
    try:
        status = _run()
    except FreeholdError as error:
        if debug:
            raise
        from freehold.cli.printing import print_error

        print_error(error)
        status = USAGE if isinstance(error, RequestError | SetupError) else FAILED
    except OSError as error:
        if debug:
            raise
        status = _report_os_error(error)
    except KeyboardInterrupt:
        status = INTERRUPTED
    sys.exit(_flushed(status))


def _run() -> int:
    import typer.main

    from freehold.cli.app import app

    # Not `app()`: that would put typer's own traceback printer in place of ours.
    command = typer.main.get_command(app)
    try:
        command(prog_name="freehold")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else FAILED if end.code else 0
    return 0


def _flushed(status: int) -> int:
    # A reader that left early (`| head`) is no error of ours, and Python would print one at exit.
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return status or FAILED
    return status


def _report_os_error(error: OSError) -> int:
    if error.errno == errno.EPIPE:
        return FAILED
    where = f": {error.filename}" if error.filename else ""
    reason = error.strerror or type(error).__name__
    print(f"error[os]: {reason}{where}", file=sys.stderr)  # noqa: T201
    return FAILED


def _report_bug(
    kind: type[BaseException], value: BaseException, trace: TracebackType | None
) -> None:
    """Print an unforeseen exception in two lines.

    The exception's own text is left out, because it may quote a prompt.
    """
    del value
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    where = "an unknown place"
    if trace is not None:
        where = f"{trace.tb_frame.f_globals.get('__name__')}:{trace.tb_lineno}"
    print(  # noqa: T201
        f"error[internal]: {kind.__name__} in {where}\n"
        "  hint: this is a bug; FREEHOLD_DEBUG=1 shows the traceback to report",
        file=sys.stderr,
    )
