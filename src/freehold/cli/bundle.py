"""`freehold bundle`: models, their terms and deeds in one file, for machines without network.

Room: cli. How a bundle is written and signed is the library's business.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from typer.core import TyperGroup

from freehold.cli.options import AsJson

if TYPE_CHECKING:
    from typer._click.core import Context

    from freehold.library.bundle_write import Bundled

__all__ = ["Bundle", "bundle", "keygen", "make"]


class Bundle(TyperGroup):
    """Takes `freehold bundle REF` for `freehold bundle make REF`."""

    def parse_args(self, ctx: Context, args: list[str]) -> list[str]:
        """Puts `make` before whatever is no command and no call for help."""
        if args and args[0] not in {*self.commands, "-h", "--help"}:
            args = ["make", *args]
        return super().parse_args(ctx, args)


bundle = typer.Typer(
    name="bundle",
    cls=Bundle,
    help="Put models into one file or folder for machines without network.",
    no_args_is_help=True,
)


@bundle.command()
def make(
    refs: Annotated[list[str], typer.Argument(metavar="REF...", help="Models of the store.")],
    *,
    out: Annotated[Path, typer.Option("--out", help="One file if it ends in .tar, else a folder.")],
    key: Annotated[
        Path | None, typer.Option("--key", help="Sign with this secret key of `keygen`.")
    ] = None,
    wheels: Annotated[
        bool,
        typer.Option("--wheels", help="With the wheels that install this program, fetched by pip."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Write models with their terms and deeds; `make` may be left out.

    Every byte is hashed again on the way, and listed with its sha256. `freehold import` verifies
    all of it on the other machine before anything is taken in.

    Example: freehold bundle starter --out starter.tar --key release.key
    """
    from freehold.cli.printing import print_json, say

    made = _made(refs, out, key, wheels=wheels)
    names = [model.ref for model in made.manifest.models]
    fingerprint = made.key.fingerprint if made.key is not None else None
    if as_json:
        print_json(
            {
                "out": str(out),
                "models": names,
                "size_bytes": made.manifest.size_bytes,
                "files": len(made.manifest.files),
                "signed_by": fingerprint,
                "wheels": _wheels_in(made),
            }
        )
        return
    size = f"{made.manifest.size_bytes / 1e6:.1f} MB in {len(made.manifest.files)} files"
    say(f"bundled: {', '.join(names)}, {size}")
    if wheels:
        say(f"  {_wheels_in(made)} wheels, for the same Python on such a machine")
    say(f"  signed by the key {fingerprint}" if fingerprint else "  not signed: --key signs it")
    say(f"  {out}")


def _made(refs: list[str], out: Path, key: Path | None, *, wheels: bool) -> Bundled:
    from tempfile import TemporaryDirectory

    from freehold.cli.progress import progress_bar
    from freehold.config import resolve_settings
    from freehold.library.bundle_write import make_bundle
    from freehold.library.wheels import collect_wheels, installed_versions, own_source

    settings = resolve_settings()
    with (
        progress_bar({"verify": "writing", "wheels": "fetching wheels"}) as progress,
        TemporaryDirectory(prefix="freehold-wheels-") as folder,
    ):
        found = (
            collect_wheels(
                Path(folder), own=own_source(), versions=installed_versions(), progress=progress
            )
            if wheels
            else ()
        )
        return make_bundle(
            refs, out, settings=settings, key_file=key, progress=progress, wheels=found
        )


def _wheels_in(made: Bundled) -> int:
    return sum(file.name.text.endswith(".whl") for file in made.manifest.files)


@bundle.command()
def keygen(
    file: Annotated[Path, typer.Argument(metavar="KEYFILE", help="Where the secret key goes.")],
) -> None:
    """Make a pair of ed25519 keys: KEYFILE stays with you, KEYFILE.pub is for everybody.

    Example: freehold bundle keygen release.key
    """
    from freehold.cli.printing import say
    from freehold.library.signing import make_key

    public = make_key(file)
    say(f"{file}: secret, keep it")
    say(f"{file}.pub: {public}")
    say(f"  fingerprint {public.fingerprint}")
