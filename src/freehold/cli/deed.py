"""`freehold deed`: a model's chain of record, to read, to prove and to hand on.

Room: cli. How it looks is in `deed_view.py`; what is true is the library's business.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from freehold.cli.options import AsJson

if TYPE_CHECKING:
    from freehold.library.deed import Deed
    from freehold.library.deed_verify import Check
    from freehold.store import Head

__all__ = ["Form", "deed"]


class Form(StrEnum):
    """What a deed can be exported as."""

    cyclonedx = "cyclonedx"
    json = "json"


def deed(
    ref: Annotated[
        str, typer.Argument(metavar="REF", help="A model here, a name of the record, or a digest.")
    ],
    *,
    verify: Annotated[
        bool, typer.Option("--verify", help="Hash the files and the whole record again.")
    ] = False,
    anchor: Annotated[
        str | None,
        typer.Option(
            "--anchor", metavar="N:HASH", help="With --verify: a head that was kept elsewhere."
        ),
    ] = None,
    export: Annotated[
        Form | None,
        typer.Option(
            "--export", metavar="FORM", help="Write it to stdout as cyclonedx (1.6) or json."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show what is on record about a model.

    Where its weights came from, under which licence and who accepted it, what they were made from
    at what measured loss, and where they were served. `freehold deed starter --verify` proves it.
    """
    from freehold.cli.printing import print_error

    shown, head, checks = _looked_up(ref, verify=verify, anchor=anchor)
    failed = [check.error for check in checks if check.error is not None]
    if export is None or not failed:
        _show(shown, head, checks if verify else None, export=export, as_json=as_json)
    for error in failed[:-1]:
        print_error(error)
    if failed:
        raise failed[-1]


def _looked_up(ref: str, *, verify: bool, anchor: str | None) -> tuple[Deed, Head, list[Check]]:
    from freehold.cli.progress import progress_bar
    from freehold.config import resolve_settings
    from freehold.errors import BadSetting, FreeholdError
    from freehold.library.deed import find_deed
    from freehold.library.deed_verify import check_chain, check_deed
    from freehold.library.identity import identity_of
    from freehold.library.record import open_record
    from freehold.store import Head

    if anchor is not None and not verify:
        raise BadSetting(
            "--anchor is compared by --verify", value=anchor, expected="both", found="one"
        )
    kept = None if anchor is None else Head.parse(anchor)
    settings = resolve_settings()
    with open_record(settings) as events, progress_bar({"verify": "hashing"}) as progress:
        chain = check_chain(events, kept) if verify else None
        try:
            found, head = find_deed(
                ref,
                events,
                settings=settings,
                identify=lambda path: identity_of(path, home=settings.home, progress=progress),
            )
        except FreeholdError:
            # Whoever altered the record may be why it does not know the model.
            if chain is not None and chain.error is not None:
                raise chain.error from None
            raise
        checks = [] if chain is None else [chain, *check_deed(found, progress)]
    return found, head, checks


def _show(
    shown: Deed, head: Head, checks: list[Check] | None, *, export: Form | None, as_json: bool
) -> None:
    import json
    import sys

    from freehold.cli.printing import error_lines, print_json
    from freehold.library.cyclonedx import bill_of_materials
    from freehold.library.deed_export import deed_document

    if export is not None:
        make = bill_of_materials if export is Form.cyclonedx else deed_document
        text = json.dumps(make(shown, head), indent=2, ensure_ascii=False)
        sys.stdout.write(text + "\n")
        return
    if as_json:
        document = deed_document(shown, head)
        if checks is not None:
            document["verified"] = all(check.error is None for check in checks)
            document["checks"] = [
                {
                    "what": check.what,
                    "finding": check.finding,
                    "error": None if check.error is None else error_lines(check.error),
                }
                for check in checks
            ]
        print_json(document)
        return
    from freehold.cli.deed_view import print_deed

    print_deed(shown, head, checks)
