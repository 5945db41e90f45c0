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
    as_json: AsJson = False,
) -> None:
    """Write models with their terms and deeds; `make` may be left out.

    Every byte is hashed again on the way, and listed with its sha256. `freehold import` verifies
    all of it on the other machine before anything is taken in.

    Example: freehold bundle starter --out starter.tar --key release.key
    """
    from freehold.cli.printing import print_json, say
    from freehold.cli.progress import progress_bar
    from freehold.config import resolve_settings
    from freehold.library.bundle_write import make_bundle

    with progress_bar({"verify": "writing"}) as progress:
        made = make_bundle(refs, out, settings=resolve_settings(), key_file=key, progress=progress)
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
            }
        )
        return
    size = f"{made.manifest.size_bytes / 1e6:.1f} MB in {len(made.manifest.files)} files"
    say(f"bundled: {', '.join(names)}, {size}")
    say(f"  signed by the key {fingerprint}" if fingerprint else "  not signed: --key signs it")
    say(f"  {out}")


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
