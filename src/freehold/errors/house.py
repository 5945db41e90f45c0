"""Errors of the house itself: the database, promises of privacy, the core.

Room: errors. The tree is drawn in the package's own words.
"""

# ruff: noqa: N818 - all of these are errors; the suffix would say nothing at the raise

from __future__ import annotations

from freehold.errors.base import FreeholdError

__all__ = [
    "ChainBroken",
    "ContractBroken",
    "EgressBlocked",
    "KernelError",
    "PrivacyError",
    "RetentionForbidden",
    "StoreError",
    "StoreUnusable",
    "UnsupportedIsa",
]


class PrivacyError(FreeholdError, code="privacy"):
    """Going on would have broken a promise about private data."""


class EgressBlocked(PrivacyError, code="privacy.egress_blocked"):
    """A connection to the outside was refused."""


class RetentionForbidden(PrivacyError, code="privacy.retention_forbidden"):
    """The retention rules do not allow keeping this."""


class StoreError(FreeholdError, code="store"):
    """The database could not do its part."""


class StoreUnusable(StoreError, code="store.unusable"):
    """The database cannot be opened, or belongs to another version."""


class ChainBroken(StoreError, code="store.chain_broken"):
    """The record of events was altered, or does not fit the weights it is about."""


class KernelError(FreeholdError, code="kernel"):
    """The compiled core and its caller disagree: a bug of ours, or a processor we do not know."""


class UnsupportedIsa(KernelError, code="kernel.unsupported_isa"):
    """The forced instruction set is not compiled in, or this processor lacks it."""


class ContractBroken(KernelError, code="kernel.contract_broken"):
    """An op was called outside its contract."""
