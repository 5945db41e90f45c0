"""`freehold import`: take a model that is on this machine into the store.

Room: cli. Shows progress; what is taken and how it is checked is the library's business.
"""

from __future__ import annotations

from typing import Annotated

import typer

from freehold.cli.options import AsJson

__all__ = ["import_model"]


def import_model(
    source: Annotated[
        str,
        typer.Argument(
            metavar="PATH", help="A .gguf file, a directory of safetensors, or ollama:NAME[:TAG]."
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
    as_json: AsJson = False,
) -> None:
    """Take a model that is on this machine into the store.

    Every file is hashed and opened first; pickles and other forms that can run code are refused.
    On one file system the store shares the bytes with the file, and either may be deleted.

    Example: freehold import model.gguf --name mine
    """
    from freehold.cli.printing import print_json, say
    from freehold.cli.pull import progress_bar
    from freehold.config import resolve_settings
    from freehold.library.importing import import_model as take_in

    if copy and link:
        raise typer.BadParameter("--copy and --link exclude each other")
    keep = "copy" if copy else "link" if link else "share"
    with progress_bar() as progress:
        held = take_in(source, settings=resolve_settings(), name=name, keep=keep, progress=progress)
    if as_json:
        print_json(
            {
                "name": held.ref,
                "path": str(held.path),
                "size_bytes": held.size_bytes,
                "sha256": held.weights.sha256.hex,
                "files": [file.name.text for file in held.files],
                "source": held.origin.place,
            }
        )
        return
    count = len(held.files)
    files = "1 file" if count == 1 else f"{count} files"
    say(f"imported: {held.ref}, {files}, {held.size_bytes / 1e6:.1f} MB, each hashed and opened")
    say(f"  {held.path}")
