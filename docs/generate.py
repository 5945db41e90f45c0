"""Writes docs/cli.md and docs/configuration.md from the program itself: `make docs`.

A test fails when either file differs from what this script would write.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, get_args, get_type_hints

import typer
from typer.models import ArgumentInfo

from freehold.cli.app import app
from freehold.config import settings_table

HERE = Path(__file__).parent

CLI_HEAD = """\
# Command line

Written by `make docs` from the commands themselves; do not edit.

Answers, tables and JSON go to stdout, everything else to stderr. Exit status: 0 done, 2 the request
or its flags were wrong, 130 interrupted, 1 anything else. An error is
`error[code]: message`, then what was expected, what was found and a hint; the code is stable.
"""

SETTINGS_HEAD = """\
# Configuration

Written by `make docs` from the settings themselves; do not edit.

Flags win over environment variables, these over the TOML file, that over the defaults. The file is
`$XDG_CONFIG_HOME/freehold/config.toml` (`~/.config` if unset). A name that is not in this
table is an error. `freehold doctor` shows each setting and where its value came from.
"""

OTHER_VARIABLES = """
Three variables are no settings: two concern how the program itself runs, one is a secret.

| variable | meaning |
|---|---|
| `FREEHOLD_ISA` | force the core's instruction set; `freehold doctor` lists those available |
| `FREEHOLD_DEBUG` | 1 shows a traceback instead of the two-line error |
| `FREEHOLD_API_KEY` | the key that `freehold ps` and `freehold stop` show to the server |
"""


def row_of(parameter: inspect.Parameter, annotation: Any) -> str:
    """One line of a command's table, read from its function: typer's own objects keep changing."""
    kind, declared = get_args(annotation)
    types = get_args(kind) or (kind,)
    default = "" if parameter.default in (None, False) else f"`{parameter.default}`"
    if isinstance(declared, ArgumentInfo):
        required = parameter.default is inspect.Parameter.empty
        default = "required" if required else "optional"
        shown = f"`{declared.metavar or parameter.name.upper()}`"
    else:
        word = declared.metavar or {int: "N", float: "X"}.get(types[0], "TEXT")
        # Inside Annotated, typer keeps the first flag name where a default would stand.
        flag = next(text for text in (*declared.param_decls, declared.default) if text)
        shown = f"`{flag}`" + ("" if types[0] is bool else f" {word}")
    return f"| {shown} | {declared.help} | {default} |"


def command_part(name: str, command: Callable[..., None]) -> str:
    """The section of one command."""
    hints = get_type_hints(command, include_extras=True)
    parameters = inspect.signature(command).parameters
    rows = [row_of(parameter, hints[key]) for key, parameter in parameters.items()]
    table = "\n| | | default |\n|---|---|---|\n" + "\n".join(rows) + "\n" if rows else ""
    return f"\n## freehold {name}\n\n{inspect.getdoc(command)}\n{table}"


def cli_page() -> str:
    """The text of docs/cli.md."""
    parts = [CLI_HEAD]
    parts += [command_part(name, command) for name, command in commands_of(app, "")]
    for group in app.registered_groups:
        assert group.typer_instance is not None
        prefix = f"{group.typer_instance.info.name} "
        parts += [command_part(*named) for named in commands_of(group.typer_instance, prefix)]
    return "".join(parts)


def commands_of(group: typer.Typer, prefix: str) -> Iterator[tuple[str, Callable[..., None]]]:
    """(what one types, function) of each command."""
    for command in group.registered_commands:
        assert command.callback is not None
        yield prefix + (command.name or command.callback.__name__), command.callback


def configuration_page() -> str:
    """The text of docs/configuration.md."""
    rows = [f"| `{name}` | `{env}` | {doc} |" for name, env, doc in settings_table()]
    table = "\n| in the file | environment | meaning |\n|---|---|---|\n" + "\n".join(rows) + "\n"
    return SETTINGS_HEAD + table + OTHER_VARIABLES


PAGES = {"cli.md": cli_page, "configuration.md": configuration_page}

if __name__ == "__main__":
    for file_name, page in PAGES.items():
        (HERE / file_name).write_text(page(), "utf-8")
