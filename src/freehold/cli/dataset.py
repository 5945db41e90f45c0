"""`freehold dataset`: take in data with a reason to use it, look at it, check it, end it.

Room: cli. Asks and prints; what is found out is the room tune's.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from freehold.cli.options import AsJson

if TYPE_CHECKING:
    from freehold.tune.datasets.registry import Registry

__all__ = ["add", "check_data", "dataset", "list_datasets", "rm", "show", "split", "withdraw"]

dataset = typer.Typer(
    name="dataset", help="Data to train on: taken in with a basis, looked at, checked, withdrawn."
)

_Name = Annotated[str, typer.Argument(metavar="NAME", help="A data set of `dataset list`.")]
_Data = Annotated[
    str, typer.Argument(metavar="DATA", help="A file, or the name of a data set that was added.")
]
_File = Annotated[
    Path, typer.Argument(metavar="FILE", help="JSONL, CSV, TSV or Parquet: one example a row.")
]
_Form = Annotated[
    str,
    typer.Option("--form", help="chat, completion, text or preference; auto: by its fields."),
]
_Map = Annotated[
    list[str] | None,
    typer.Option(
        "--map",
        metavar="FIELD=COLUMN",
        help="Where a field comes from, as prompt=question; FIELD==TEXT is the same in every row.",
    ),
]
_Model = Annotated[
    str | None,
    typer.Option("--model", metavar="REF", help="Count and render tokens as this model has them."),
]


@dataset.command()
def add(
    file: _File,
    *,
    name: Annotated[str, typer.Option("--name", help="What the data set is called from now on.")],
    basis: Annotated[
        str,
        typer.Option(
            "--basis",
            help="Why it may be trained on: consent, contract, own, public, legitimate-interest.",
        ),
    ] = "",
    licence: Annotated[str, typer.Option("--licence", help="Its licence, or proprietary.")] = "",
    provenance: Annotated[
        str, typer.Option("--provenance", help="Where it is from, in a sentence.")
    ] = "",
    consent: Annotated[
        str | None, typer.Option("--consent", help="Where consent is written down.")
    ] = None,
    form: _Form = "auto",
    mapping: _Map = None,
    as_json: AsJson = False,
) -> None:
    """Take in a file. Nothing is admitted without a basis, a licence and where it is from.

    Example: freehold dataset add tickets.jsonl --name tickets --basis own --licence proprietary
    --provenance "our help desk, 2024"
    """
    from freehold.cli.dataset_view import print_added
    from freehold.cli.progress import progress_bar
    from freehold.tune.datasets.registry import Grounds

    grounds = Grounds(basis=basis, licence=licence, provenance=provenance, consent=consent)
    registry = _open()
    try:
        with progress_bar({"verify": "hashing"}) as progress:
            found = registry.add(
                name, file, grounds, form=form, mapping=_mapping(mapping), progress=progress
            )
    finally:
        registry.close()
    print_added(found, as_json=as_json)


@dataset.command(name="list")
def list_datasets(*, as_json: AsJson = False) -> None:
    """Show every data set: its size, its basis, and whether it may be trained on.

    Example: freehold dataset list
    """
    from freehold.cli.dataset_view import print_list

    registry = _open()
    try:
        found = registry.all()
    finally:
        registry.close()
    print_list(found, as_json=as_json)


@dataset.command()
def show(
    data: _Data,
    *,
    model: _Model = None,
    line: Annotated[
        int | None, typer.Option("--line", min=1, help="Show this line's example.")
    ] = None,
    count: Annotated[
        int, typer.Option("--count", min=0, help="Show so many examples from the beginning.")
    ] = 0,
    form: _Form = "auto",
    mapping: _Map = None,
    as_json: AsJson = False,
) -> None:
    """Show what is recorded of a data set, and with --model which tokens are learned, coloured.

    Example: freehold dataset show tickets --model starter --count 2
    """
    from freehold.cli.dataset_source import find_source, previews
    from freehold.cli.dataset_view import print_previews, print_shown

    registry = _open()
    try:
        source = find_source(registry, data, form, _mapping(mapping))
        taught = [] if source.dataset is None else registry.taught(source.dataset)
    finally:
        registry.close()
    wanted = count or (1 if line is None and (model or source.dataset is None) else 0)
    if source.dataset is not None and not (as_json and (line or wanted)):
        print_shown(source.dataset, taught, as_json=as_json)
    if line or wanted:
        print_previews(previews(source, model, line, wanted), as_json=as_json)


@dataset.command(name="check")
def check_data(
    data: _Data,
    *,
    heldout: Annotated[
        str | None,
        typer.Option("--heldout", metavar="DATA", help="What must not be among what is learned."),
    ] = None,
    model: _Model = None,
    max_tokens: Annotated[
        int | None,
        typer.Option("--max-tokens", min=1, help="The longest example; the model's context else."),
    ] = None,
    form: _Form = "auto",
    mapping: _Map = None,
    as_json: AsJson = False,
) -> None:
    """Read every line: what is wrong, how long, said twice, held out and learned, or personal.

    Ends with 1 when there is something that training would refuse, or held-out text is learned.
    Example: freehold dataset check train.jsonl --heldout test.jsonl --model starter
    """
    from freehold.cli.dataset_source import check_source, find_source
    from freehold.cli.dataset_view import print_report

    registry = _open()
    try:
        source = find_source(registry, data, form, _mapping(mapping))
        other = None if heldout is None else find_source(registry, heldout, form, _mapping(mapping))
    finally:
        registry.close()
    report = check_source(source, other, model, max_tokens)
    print_report(data, report, heldout=heldout, model=model, as_json=as_json)
    if not report.trainable or report.leaks:
        raise typer.Exit(1)


@dataset.command()
def split(
    name: _Name,
    *,
    heldout: Annotated[
        float, typer.Option("--heldout", help="A share, as 0.1, or a number of examples, as 250.")
    ] = 0.1,
    seed: Annotated[int, typer.Option("--seed", min=0, help="The same seed, the same parts.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Make NAME-train and NAME-heldout of a data set. What is alike stays on one side.

    Example: freehold dataset split tickets --heldout 0.1
    """
    from freehold.cli.dataset_source import split_in_two
    from freehold.cli.dataset_view import print_split

    registry = _open()
    try:
        parts = split_in_two(registry, name, heldout, seed)
    finally:
        registry.close()
    print_split(parts, as_json=as_json)


@dataset.command()
def withdraw(
    name: _Name,
    *,
    reason: Annotated[str, typer.Option("--reason", help="For the record.")] = "",
    as_json: AsJson = False,
) -> None:
    """From now on no job trains on it or its parts; show the models that learned from it.

    Example: freehold dataset withdraw tickets --reason "a customer withdrew consent"
    """
    from freehold.cli.dataset_view import print_withdrawn

    registry = _open()
    try:
        found, taught = registry.withdraw(name, reason=reason)
    finally:
        registry.close()
    print_withdrawn(found, taught, as_json=as_json)


@dataset.command()
def rm(name: _Name) -> None:
    """Delete a data set's bytes and its entry; what is on record of it stays.

    Example: freehold dataset rm tickets
    """
    from freehold.cli.printing import say

    registry = _open()
    try:
        found = registry.remove(name)
    finally:
        registry.close()
    kept = "; its entry stays, and refuses its bytes" if found.withdrawn_at is not None else ""
    say(f"removed {found.name}{kept}")


def _open() -> Registry:
    from freehold.config import resolve_settings
    from freehold.store import open_store
    from freehold.tune.datasets.registry import Registry

    settings = resolve_settings()
    return Registry(open_store(settings.database, settings.home), settings.home)


def _mapping(given: list[str] | None) -> dict[str, str] | None:
    from freehold.errors import BadSetting

    if not given:
        return None
    made = {}
    for part in given:
        field, equals, column = part.partition("=")
        if not equals or not field or not column:
            raise BadSetting(
                "--map names a field and its column",
                value=part,
                expected="FIELD=COLUMN, as prompt=question",
                found=part,
            )
        made[field] = column
    return made
