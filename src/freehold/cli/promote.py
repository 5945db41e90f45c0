"""`freehold promote`: let a name stand for a better model, and go back.

Room: cli. Flags and words; what may be promoted is `promoting.py`'s.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from freehold.cli.options import AsJson

if TYPE_CHECKING:
    from freehold.cli.promoting import Promoted
    from freehold.store import Promotion, Store

__all__ = ["promote"]

_Model = Annotated[
    str | None,
    typer.Argument(metavar="[MODEL]", help="A model of the store, or one that fine-tuning made."),
]
_As = Annotated[
    str | None, typer.Option("--as", metavar="NAME", help="The name that requests ask for.")
]
_Rollback = Annotated[
    str | None,
    typer.Option("--rollback", metavar="NAME", help="Instead: what the name stood for before."),
]
_Despite = Annotated[
    str | None,
    typer.Option(
        "--despite", metavar="REASON", help="Promote without a proven gain; the record keeps why."
    ),
]


def promote(
    model: _Model = None,
    *,
    name: _As = None,
    rollback: _Rollback = None,
    despite: _Despite = None,
    as_json: AsJson = False,
) -> None:
    """Let a name stand for a model that is better on held-out data than the one before.

    Both must have been evaluated on the same items, which the new one was not trained on. A running
    server follows within a second, and requests in flight end as they began. Without arguments:
    what each name stands for.

    Example:

    freehold eval starter starter+tuned/desk/adapter --data held-out.jsonl --score exact

    freehold promote starter:ft-desk --as desk

    freehold promote --rollback desk
    """
    from freehold.cli.printing import print_json
    from freehold.cli.progress import progress_bar
    from freehold.config import resolve_settings
    from freehold.store import open_store

    _check_flags(model, name, rollback, despite)
    settings = resolve_settings()
    store = open_store(settings.database, settings.home)
    try:
        if model is None and rollback is None:
            _list(store, as_json=as_json)
            return
        from freehold.cli.promoting import promote_model, roll_back

        if rollback is not None:
            done = roll_back(rollback, why=despite or "", settings=settings, store=store)
        else:
            with progress_bar({"verify": "hashing"}) as progress:
                done = promote_model(
                    model or "",
                    name or "",
                    settings=settings,
                    store=store,
                    despite=despite,
                    progress=progress,
                )
    finally:
        store.close()
    if as_json:
        print_json(vars(done))
    else:
        _say(done)


def _check_flags(
    model: str | None, name: str | None, rollback: str | None, despite: str | None
) -> None:
    from freehold.errors import BadSetting

    asked = (model is not None, name is not None, rollback is not None)
    if asked not in ((True, True, False), (False, False, True), (False, False, False)) or (
        despite is not None and not any(asked)
    ):
        raise BadSetting(
            "this says no promotion",
            expected="MODEL --as NAME, or --rollback NAME, or nothing",
            found=", ".join(
                flag
                for flag, given in zip(("MODEL", "--as", "--rollback"), asked, strict=True)
                if given
            )
            or "--despite alone",
        )


def _say(done: Promoted) -> None:
    import sys

    from freehold.cli.printing import safe_text

    before = "" if done.before is None else f" (before: {done.before})"
    lines = [f"{done.alias} now stands for {done.model}{before}; event {done.event} of the record"]
    compared = done.evidence.get("comparisons", [])
    lines += [
        f"  {one['task']}, {one['metric']}: {one['verdict']}, {one['value']:+.3g}"
        f" (95 % {one['low']:+.3g} to {one['high']:+.3g}, p {one['p']:.2g})"
        for one in compared
    ]
    lines += [
        f"  {one['task']}, {one['metric']}: {one['value']:.3g}"
        f" (95 % {one['low']:.3g} to {one['high']:.3g}); nothing stood there before"
        for one in done.evidence.get("evaluations", ())
        if not compared
    ]
    sys.stdout.write(safe_text("\n".join(lines)) + "\n")


def _list(store: Store, *, as_json: bool) -> None:
    import sys

    from freehold.cli.printing import print_json, safe_text

    found = sorted(store.promotions.all_current().values(), key=lambda one: one.name)
    if as_json:
        print_json({"names": [_facts(one) for one in found]})
        return
    if not found:
        sys.stderr.write("no model was promoted yet: freehold promote MODEL --as NAME\n")
    for one in found:
        facts = _facts(one)
        words = f"{facts['name']}  {facts['model']}  {facts['action']} {facts['at']}"
        sys.stdout.write(safe_text(words) + "\n")


def _facts(one: Promotion) -> dict[str, object]:
    from freehold.cli.moments import utc

    return {
        "name": one.name,
        "model": one.model,
        "action": one.action.replace("_", " "),
        "at": utc(one.created_at),
    }
