"""Errors of the set-up and of getting and owning weights.

Room: errors. The tree is drawn in the package's own words.
"""

# ruff: noqa: N818 - all of these are errors; the suffix would say nothing at the raise

from __future__ import annotations

from freehold.errors.base import FreeholdError

__all__ = [
    "AcceptanceNeeded",
    "BadBundle",
    "BadRecipe",
    "BadReference",
    "BadSetting",
    "DigestMismatch",
    "DiskFull",
    "DownloadFailed",
    "LibraryError",
    "LicenceDenied",
    "OutOfReach",
    "QuantizeError",
    "SetupError",
    "UnknownLicence",
]


class SetupError(FreeholdError, code="setup"):
    """Freehold, as set up on this machine, cannot do what it was asked."""


class BadSetting(SetupError, code="setup.bad_setting"):
    """A flag, an environment variable or a line of the settings file is unusable."""


class LibraryError(FreeholdError, code="library"):
    """Weights could not be fetched or kept."""


class DownloadFailed(LibraryError, code="library.download_failed"):
    """The index did not deliver."""


class DigestMismatch(LibraryError, code="library.digest_mismatch"):
    """The bytes are not the ones that were pinned."""


class DiskFull(LibraryError, code="library.disk_full"):
    """There is no room for the weights."""


class BadReference(LibraryError, code="library.bad_reference"):
    """A name, a digest or a path of a manifest breaks the rules for such."""


class BadBundle(LibraryError, code="library.bad_bundle"):
    """A bundle's files, checksums or signature do not agree."""


class LicenceDenied(LibraryError, code="library.licence_denied"):
    """The model's licence, or the administrator's policy, forbids this use."""


class AcceptanceNeeded(LibraryError, code="library.acceptance_needed"):
    """The licence allows this use to those who accepted its terms, and nobody has."""


class UnknownLicence(LibraryError, code="library.unknown_licence"):
    """Nothing says under which terms the weights are offered."""


class QuantizeError(FreeholdError, code="quantize"):
    """A model could not be written in other types."""


class BadRecipe(QuantizeError, code="quantize.bad_recipe"):
    """The types asked for are unknown, or the model cannot have them."""


class OutOfReach(QuantizeError, code="quantize.out_of_reach"):
    """No recipe meets the size or the loss that was asked for."""
