"""The table of commands.

Room: cli. Each command is one file; importing it must load nothing heavy.
"""

from __future__ import annotations

from typing import Annotated

import typer

from freehold.cli.batch import batch
from freehold.cli.bench import bench
from freehold.cli.bundle import bundle
from freehold.cli.config import config
from freehold.cli.dataset import dataset
from freehold.cli.deed import deed
from freehold.cli.doctor import doctor
from freehold.cli.eval import evaluate
from freehold.cli.export import export, merge
from freehold.cli.fit import fit
from freehold.cli.import_ import import_model
from freehold.cli.inspect import inspect
from freehold.cli.keys import keys
from freehold.cli.license import license_group
from freehold.cli.list import list_models
from freehold.cli.promote import promote
from freehold.cli.ps import ps
from freehold.cli.pull import pull
from freehold.cli.quantize import quantize
from freehold.cli.rm import rm
from freehold.cli.run import run
from freehold.cli.serve import serve
from freehold.cli.stop import stop
from freehold.cli.tune import tune
from freehold.cli.usage import usage
from freehold.cli.version import version

__all__ = ["app"]

app = typer.Typer(
    name="freehold",
    help="Run open-weight language models on the machine you own.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback(invoke_without_command=True)
def _start(
    *,
    version_: Annotated[
        bool, typer.Option("--version", help="Print the version and leave.")
    ] = False,
) -> None:
    if version_:
        version()
        raise typer.Exit


app.command()(run)
app.command()(serve)
app.command()(ps)
app.command()(stop)
app.command()(pull)
app.command(name="import")(import_model)
app.add_typer(bundle)
app.command(name="list")(list_models)
app.command()(rm)
app.command()(deed)
app.command()(inspect)
app.command()(fit)
app.command()(quantize)
app.add_typer(dataset)
app.command(name="eval")(evaluate)
app.command()(merge)
app.command()(tune)
app.command()(export)
app.command()(promote)
app.command()(batch)
app.command()(bench)
app.command()(doctor)
app.add_typer(license_group)
app.add_typer(config)
app.add_typer(keys)
app.command()(usage)
app.command()(version)
