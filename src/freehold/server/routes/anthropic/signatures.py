"""The mark on a block of thinking that says it comes back as it was sent.

Room: server. A digest, not a secret: it tells a slip of the client from the text we gave.
"""

from __future__ import annotations

import hashlib

__all__ = ["is_altered", "signature_of"]

_OURS = "freehold-1."


def signature_of(thinking: str) -> str:
    """The signature of this text."""
    return _OURS + hashlib.sha256(thinking.encode("utf-8", "surrogatepass")).hexdigest()


def is_altered(thinking: str, signature: str) -> bool:
    """Whether the signature is of ours and of another text. Other servers' are not judged."""
    return signature.startswith(_OURS) and signature != signature_of(thinking)
