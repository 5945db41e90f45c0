"""ed25519 keys and signatures of bundles, in files of one line.

Room: library. Knows bytes and keys; must not know what is signed.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from freehold.errors import BadBundle

__all__ = ["PublicKey", "Signature", "make_key", "read_public_key", "sign"]

_SECRET = "freehold-secret-key-ed25519:"  # noqa: S105 - a label
_PUBLIC = "freehold-key-ed25519:"
_MAX_KEY_FILE_BYTES = 1024


@dataclass(frozen=True, slots=True)
class PublicKey:
    """The half of a key that others may have."""

    raw: bytes

    def __str__(self) -> str:
        return _PUBLIC + base64.b64encode(self.raw).decode()

    @property
    def fingerprint(self) -> str:
        """The first 32 digits of its sha256: short enough to be read out."""
        return hashlib.sha256(self.raw).hexdigest()[:32]

    @classmethod
    def parse(cls, text: object) -> PublicKey:
        """The key of a line. Raises: BadBundle."""
        return cls(_decoded(text, _PUBLIC, "a public key"))


@dataclass(frozen=True, slots=True)
class Signature:
    """A signature and the key that it says it is by."""

    key: PublicKey
    raw: bytes

    def check(self, message: bytes) -> None:
        """That the key's owner signed the message. Raises: BadBundle."""
        from nacl.exceptions import BadSignatureError
        from nacl.signing import VerifyKey

        try:
            VerifyKey(self.key.raw).verify(message, self.raw)
        except (BadSignatureError, ValueError, TypeError) as error:
            raise BadBundle(
                "the signature does not fit the bundle's list of files",
                value=self.key.fingerprint,
                expected=f"a signature by the key {self.key.fingerprint}",
                found="another signature, or an altered list",
                hint="the bundle was altered or damaged after it was signed",
            ) from error


def _decoded(text: object, prefix: str, what: str) -> bytes:
    raw = b""
    if isinstance(text, str) and text.strip().startswith(prefix):
        try:
            raw = base64.b64decode(text.strip().removeprefix(prefix), validate=True)
        except (binascii.Error, ValueError):
            raw = b""
    if len(raw) != 32:
        # Never what was found: it may be a secret in the wrong place.
        raise BadBundle(
            f"this is not {what}",
            expected=f"one line: {prefix} and 32 bytes in base64",
            found="something else",
            hint="`freehold bundle keygen KEYFILE` makes a pair; the public half is in KEYFILE.pub",
        )
    return raw


def make_key(path: Path) -> PublicKey:
    """Make a pair of keys: the secret one at `path`, for its owner alone, the other beside it.

    Raises: FileExistsError for either file, OSError.
    """
    from nacl.signing import SigningKey

    key = SigningKey.generate()
    public = PublicKey(bytes(key.verify_key))
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as output:
        output.write(_SECRET + base64.b64encode(bytes(key)).decode() + "\n")
    with path.with_name(path.name + ".pub").open("x", encoding="ascii") as output:
        output.write(f"{public}\n")
    return public


def sign(message: bytes, key_file: Path) -> Signature:
    """Sign with the secret key of a file. Raises: BadBundle, OSError."""
    from nacl.signing import SigningKey

    key = SigningKey(_decoded(_line(key_file), _SECRET, "a secret key"))
    return Signature(PublicKey(bytes(key.verify_key)), key.sign(message).signature)


def read_public_key(text: str) -> PublicKey:
    """The key that a line spells, or that a file of this name has. Raises: BadBundle, OSError."""
    return PublicKey.parse(text if text.startswith(_PUBLIC) else _line(Path(text)))


def _line(path: Path) -> str:
    with path.open("rb") as source:
        return source.read(_MAX_KEY_FILE_BYTES).decode("ascii", "replace")
