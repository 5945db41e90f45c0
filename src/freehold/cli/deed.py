"""`freehold deed`: a model's chain of record, to read, to prove and to hand on.

Room: cli. How it looks is in `deed_view.py`; what is true is the library's business.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from freehold.cli.options import AsJson

if TYPE_CHECKING:
    from freehold.library.deed import Deed
    from freehold.library.deed_verify import Check
    from freehold.store import Events, Head

__all__ = ["Form", "deed"]


class Form(StrEnum):
    """What a deed can be exported as."""

    cyclonedx = "cyclonedx"
    json = "json"


def deed(
    ref: Annotated[
        str | None,
        typer.Argument(
            metavar="[REF]", help="A model here, a name of the record, or a digest; none: all."
        ),
    ] = None,
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
    """Show what is on record about a model, or which models are on record.

    Where its weights came from, under which licence and who accepted it, what they were made from
    at what measured loss, and where they were served. `freehold deed starter --verify` proves it,
    `freehold deed --verify` proves all that is here.
    """
    from freehold.cli.printing import print_error

    _check_flags(ref, verify=verify, anchor=anchor, export=export)
    deeds, head, checks = _looked_up(ref, verify=verify, anchor=anchor)
    failed = [check.error for check in checks if check.error is not None]
    proof = checks if verify else None
    if export is not None and not failed:
        _write_export(deeds[0], head, export)
    elif export is None and as_json:
        _write_json(deeds, head, proof, one=ref is not None)
    elif export is None:
        from freehold.cli.deed_view import print_deed, print_deeds

        if ref is None:
            print_deeds(deeds, head, proof)
        else:
            print_deed(deeds[0], head, proof)
    for error in failed[:-1]:
        print_error(error)
    if failed:
        raise failed[-1]


def _check_flags(ref: str | None, *, verify: bool, anchor: str | None, export: Form | None) -> None:
    from freehold.errors import BadSetting

    if anchor is not None and not verify:
        raise BadSetting(
            "--anchor is compared by --verify",
            value=anchor,
            expected="both",
            found="--anchor alone",
        )
    if export is not None and ref is None:
        raise BadSetting(
            "--export writes the deed of one model",
            value=export.value,
            expected="a model's name",
            found="none",
        )


def _looked_up(
    ref: str | None, *, verify: bool, anchor: str | None
) -> tuple[Sequence[Deed], Head, list[Check]]:
    from freehold.cli.progress import progress_bar
    from freehold.config import resolve_settings
    from freehold.errors import FreeholdError
    from freehold.library.deed import all_deeds, find_deed
    from freehold.library.identity import identity_of
    from freehold.library.record import open_record
    from freehold.store import Head

    kept = None if anchor is None else Head.parse(anchor)
    settings = resolve_settings()
    with open_record(settings) as events, progress_bar({"verify": "hashing"}) as progress:
        chain = _chain(events, kept) if verify else None
        try:
            if ref is None:
                deeds, head = all_deeds(events)
            else:
                found, head = find_deed(
                    ref,
                    events,
                    settings=settings,
                    identify=lambda path: identity_of(path, home=settings.home, progress=progress),
                )
                deeds = (found,)
        except FreeholdError:
            # Whoever altered the record may be why it does not know the model.
            if chain is not None and chain.error is not None:
                raise chain.error from None
            raise
        checks = [] if chain is None else [chain, *_files(deeds, progress)]
    return deeds, head, checks


def _chain(events: Events, anchor: Head | None) -> Check:
    # To read a deed shall not cost the reading of file headers.
    from freehold.library.deed_verify import check_chain

    return check_chain(events, anchor)


def _files(deeds: Sequence[Deed], progress: Callable[[str, int, int], None]) -> list[Check]:
    from freehold.library.deed_verify import check_deeds

    return check_deeds(deeds, progress)


def _write_export(deed: Deed, head: Head, form: Form) -> None:
    import json
    import sys

    from freehold.library.cyclonedx import bill_of_materials
    from freehold.library.deed_export import deed_document

    make = bill_of_materials if form is Form.cyclonedx else deed_document
    sys.stdout.write(json.dumps(make(deed, head), indent=2, ensure_ascii=False) + "\n")


def _write_json(
    deeds: Sequence[Deed], head: Head, checks: list[Check] | None, *, one: bool
) -> None:
    from freehold.cli.printing import error_lines, print_json
    from freehold.library.deed_export import deed_document

    documents = [deed_document(deed, head) for deed in deeds]
    proof: dict[str, object] = {}
    if checks is not None:
        proof["verified"] = all(check.error is None for check in checks)
        proof["checks"] = [
            {
                "what": check.what,
                "finding": check.finding,
                "error": None if check.error is None else error_lines(check.error),
            }
            for check in checks
        ]
    if one:
        print_json(documents[0] | proof)
        return
    print_json({"models": documents, "record": str(head), **proof})
