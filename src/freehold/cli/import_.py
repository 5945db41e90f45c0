"""`freehold import`: take a model that is on this machine into the store.

Room: cli. Shows progress; what is taken and how it is checked is the library's business.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from freehold.cli.options import AsJson

if TYPE_CHECKING:
    from freehold.library.importing import Keep

__all__ = ["import_model"]

_LABELS = {"wait": "waiting for another import", "verify": "verifying"}


def import_model(
    source: Annotated[
        str,
        typer.Argument(
            metavar="PATH",
            help="A .gguf file, a directory of safetensors, ollama:NAME[:TAG], or a bundle.",
        ),
    ],
    *,
    name: Annotated[
        str | None, typer.Option("--name", help="What to call it; by its file's name if unset.")
    ] = None,
    copy: Annotated[bool, typer.Option("--copy", help="Copy the bytes in any case.")] = False,
    link: Annotated[
        bool, typer.Option("--link", help="Only refer to where the files are now.")
    ] = False,
    trust: Annotated[
        str | None, typer.Option("--trust", help="Take a bundle only if this public key signed it.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Take a model that is on this machine into the store, or all models of a bundle.

    Every file is hashed and opened first; pickles and other forms that can run code are refused.
    On one file system the store shares the bytes with the file, and either may be deleted. A bundle
    is taken in only after its whole list, its digests and its signature were verified.

    Example: freehold import model.gguf --name mine
    """
    from freehold.library.bundle_read import is_bundle

    if copy and link:
        raise typer.BadParameter("--copy and --link exclude each other")
    if is_bundle(Path(source).expanduser()):
        if name is not None or copy or link:
            raise typer.BadParameter("a bundle has its own names, and is always copied")
        _import_bundle(Path(source).expanduser(), trust, as_json=as_json)
        return
    if trust is not None:
        raise typer.BadParameter("--trust is for bundles, and this is none")
    keep: Keep = "copy" if copy else "link" if link else "share"
    _import_one(source, name, keep, as_json=as_json)


def _import_one(source: str, name: str | None, keep: Keep, *, as_json: bool) -> None:
    from freehold.cli.printing import print_json, say
    from freehold.cli.progress import progress_bar
    from freehold.config import resolve_settings
    from freehold.library.importing import import_model as take_in

    with progress_bar(_LABELS) as progress:
        held = take_in(source, settings=resolve_settings(), name=name, keep=keep, progress=progress)
    if as_json:
        print_json(
            {
                "name": held.ref,
                "path": str(held.path),
                "size_bytes": held.size_bytes,
                "sha256": held.weights.sha256.hex,
                "licence": held.licence,
                "files": [file.name.text for file in held.files],
                "source": held.origin.place,
            }
        )
        return
    count = len(held.files)
    files = "1 file" if count == 1 else f"{count} files"
    say(f"imported: {held.ref}, {files}, {held.size_bytes / 1e6:.1f} MB, each hashed and opened")
    say(f"  licence: {held.licence or 'not stated by the model'}; `freehold license {held.ref}`")
    say(f"  {held.path}")


def _import_bundle(path: Path, trust: str | None, *, as_json: bool) -> None:
    from freehold.cli.printing import print_json, say
    from freehold.cli.progress import progress_bar
    from freehold.config import resolve_settings
    from freehold.library.bundle_read import import_bundle
    from freehold.library.signing import read_public_key

    key = read_public_key(trust) if trust is not None else None
    with progress_bar(_LABELS) as progress:
        came = import_bundle(path, settings=resolve_settings(), trust=key, progress=progress)
    fingerprint = came.key.fingerprint if came.key is not None else None
    if as_json:
        print_json(
            {
                "imported": [model.ref for model in came.models],
                "present": [model.ref for model in came.present],
                "signed_by": fingerprint,
                "trusted": came.trusted,
                "wheels": list(came.wheels),
            }
        )
        return
    for models, what in ((came.models, "imported"), (came.present, "already here")):
        for model in models:
            say(
                f"{what}: {model.ref}, {model.size_bytes / 1e6:.1f} MB, sha256 of each file matches"
            )
    if came.trusted:
        say(f"  signed by the key you trust, {fingerprint}")
    elif fingerprint:
        say(f"  signed by the key {fingerprint}; --trust KEY would say that it must be")
    else:
        say("  not signed: its digests match, but who made it is not proven")
    if came.wheels:
        _say_wheels(path, len(came.wheels))


def _say_wheels(path: Path, count: int) -> None:
    """How the wheels of a bundle are installed: pip checks each digest again."""
    import shlex

    from freehold.cli.printing import say

    say(f"  {count} wheels are in it, each with the digest of the list; to install from them:")
    folder = path.absolute() / "wheels"
    if path.is_file():
        folder = Path("wheels")
        say(f"  tar -xf {shlex.quote(str(path.absolute()))} wheels")
    place = shlex.quote(str(folder))
    say(
        f"  python3 -m pip install --no-index --find-links {place} --require-hashes"
        f" -r {place}/requirements.txt"
    )
