"""From what a person names to a target: a model here, one with an adapter, one behind a server.

Room: evals. Joins library, local and HTTP; must not know terminals.
"""

from __future__ import annotations

from pathlib import Path

from freehold import library, local
from freehold.config import Settings
from freehold.errors import BadReference
from freehold.evals.http_target import HttpTarget
from freehold.evals.local_target import LocalTarget
from freehold.evals.target import Identity, Target
from freehold.library.gate import require
from freehold.library.identity import identity_of
from freehold.library.progress import Progress, silent

__all__ = ["open_target"]


def open_target(ref: str, *, settings: Settings, progress: Progress = silent) -> Target:
    """The target that `ref` names: a reference, REF+ADAPTER, or http://host/v1#model.

    A model of the catalogue is asked with the system message that the catalogue suggests, as a
    server asks it. What a record says of an adapter goes by the adapter's digest.
    Raises: UnknownModel, LicenceDenied, AcceptanceNeeded, FormatError, LoadError, BadReference.
    """
    if ref.startswith(("http://", "https://")):
        url, _, name = ref.partition("#")
        if not name:
            raise BadReference(
                "a server's model has to be named",
                value=ref,
                expected="http://host:port/v1#model",
            )
        return HttpTarget(url, name)
    base, adapter = _parts(ref)
    require(base, "run", settings=settings)
    path = library.resolve(base, settings=settings)
    weights = identity_of(path, home=settings.home, progress=progress)
    identity = Identity(name=ref, digest=weights.digest)
    if adapter is not None:
        over = identity_of(adapter, home=settings.home, progress=progress)
        identity = Identity(
            name=f"{base}+{adapter.name}", digest=over.digest, details={"base": weights.digest}
        )
    model = local.load_chat(
        base,
        context_tokens=settings.context_tokens,
        threads=settings.threads,
        kv_bits=settings.kv_bits,
        adapters={} if adapter is None else {adapter.name: adapter},
        adapter_bits=settings.adapter_bits,
        speculation=settings.speculation,
    )
    return LocalTarget(
        model,
        identity,
        adapter="" if adapter is None else adapter.name,
        system=library.suggested_system(base),
    )


def _parts(ref: str) -> tuple[str, Path | None]:
    """A reference and its adapter; a path may have a plus sign of its own."""
    base, plus, adapter = ref.rpartition("+")
    if not plus or Path(ref).exists():
        return ref, None
    if not Path(adapter).exists():
        raise BadReference(
            "there is no adapter at this path", value=adapter, expected="MODEL+PATH of an adapter"
        )
    return base, Path(adapter)
