"""What can go wrong with a request to a hub, in words that say what to do.

Room: library. Knows the errors of huggingface_hub and of its HTTP client; makes no request.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from freehold.errors import DownloadFailed
from freehold.library.names import HubReference

__all__ = ["explained"]

_TOKEN = "set HF_TOKEN to a token of an account that may read it"  # noqa: S105 - advice


@contextmanager
def explained(reference: HubReference, endpoint: str) -> Iterator[None]:
    """Raises DownloadFailed, with a hint, for whatever the hub or the way to it refuses."""
    import httpx2
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

    try:
        yield
    except HfHubHTTPError as error:
        raise _refused(reference, endpoint, error) from error
    except OfflineModeIsEnabled as error:
        raise _failed(
            reference, "leave to ask the hub", "HF_HUB_OFFLINE is set", "unset HF_HUB_OFFLINE"
        ) from error
    except (httpx2.HTTPError, httpx2.InvalidURL) as error:
        raise _failed(
            reference,
            f"an answer from {endpoint}",
            f"{type(error).__name__}: {error}"[:200],
            "check the network, the proxy (HTTPS_PROXY) and HF_ENDPOINT; "
            "pull again to go on where it stopped",
        ) from error
    except (KeyError, TypeError, ValueError) as error:
        # What huggingface_hub trips over when an answer lacks what every hub's has.
        raise _failed(
            reference,
            "an answer in the form of a hub",
            f"{type(error).__name__} while reading it",
            f"check HF_ENDPOINT: {endpoint} may not be a hub",
        ) from error


def _refused(reference: HubReference, endpoint: str, error: Exception) -> DownloadFailed:
    from huggingface_hub import errors

    response = getattr(error, "response", None)
    status = response.status_code if response is not None else 0
    repo = reference.repo
    if isinstance(error, errors.GatedRepoError):
        return _failed(
            reference,
            "access to a gated repository",
            f"status {status}: its owner grants access person by person",
            f"ask for access on its page, {endpoint}/{repo}, then {_TOKEN}",
        )
    if isinstance(error, errors.RevisionNotFoundError):
        return _failed(
            reference,
            f"the revision {reference.revision or 'main'}",
            f"status {status}: {repo} has no such branch, tag or commit",
            "leave out the part after @, or copy a commit from the repository's history",
        )
    if isinstance(error, errors.EntryNotFoundError):
        return _failed(
            reference,
            "a file that the hub itself lists",
            f"status {status}: it is gone",
            "pull again: the repository may have changed meanwhile",
        )
    if isinstance(error, errors.RepositoryNotFoundError) or status in (401, 404):
        return _failed(
            reference,
            "a repository that you may read",
            f"status {status}: there is none of this name, or it is private",
            f"check the spelling; for a private one, {_TOKEN}",
        )
    if status == 403:
        return _failed(
            reference,
            "leave to read it",
            "status 403: the token, or this network, may not",
            f"{_TOKEN}, and accept its terms at {endpoint}/{repo}",
        )
    if status == 429:
        return _failed(
            reference,
            "an answer",
            "status 429: too many requests for now",
            "wait some minutes; with HF_TOKEN the limits are higher",
        )
    return _failed(
        reference, "an answer", f"status {status}", "pull again later to go on where it stopped"
    )


def _failed(reference: HubReference, expected: str, found: str, hint: str) -> DownloadFailed:
    return DownloadFailed(
        f"{reference} could not be fetched",
        value=str(reference),
        expected=expected,
        found=found,
        hint=hint,
    )
