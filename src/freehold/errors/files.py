"""Errors of files and of what is loaded from them.

Room: errors. The tree is drawn in the package's own words.
"""

# ruff: noqa: N818 - all of these are errors; the suffix would say nothing at the raise

from __future__ import annotations

from pathlib import Path

from freehold.errors.base import FreeholdError

__all__ = [
    "BadConfig",
    "BadMagic",
    "BadOffset",
    "BadTokenizer",
    "BadValue",
    "DuplicateName",
    "FormatError",
    "LimitExceeded",
    "LoadError",
    "MissingShard",
    "MissingTensor",
    "ShapeMismatch",
    "Truncated",
    "UnexpectedTensor",
    "UnknownConfigKey",
    "UnknownFamily",
    "UnknownTokenizer",
    "UnsupportedType",
    "UnsupportedVersion",
]


class FormatError(FreeholdError, code="format"):
    """A file's bytes break the rules of its format. The message names file, field and byte."""

    def __init__(  # noqa: PLR0913 - an error carries its facts flat, for whoever reports it
        self,
        message: str,
        *,
        path: str | Path | None = None,
        offset: int | None = None,
        field: str | None = None,
        value: object = None,
        expected: str = "",
        found: str = "",
        hint: str = "",
    ) -> None:
        where = [f"field {field}"] if field is not None else []
        if offset is not None:
            where.append(f"byte {offset}")
        text = f"{path}: {message}" if path is not None else message
        if where:
            text += f" ({' at '.join(where)})"
        super().__init__(text, value=value, expected=expected, found=found, hint=hint)
        self.path = None if path is None else Path(path)
        self.offset = offset
        self.field = field


class BadMagic(FormatError, code="format.bad_magic"):
    """The file is of another format than its reader's."""


class UnsupportedVersion(FormatError, code="format.unsupported_version"):
    """The format is right, its version or byte order is one we do not read."""


class Truncated(FormatError, code="format.truncated"):
    """The file ends before what it announces."""


class BadOffset(FormatError, code="format.bad_offset"):
    """A place in the file is unaligned, overlapping, or outside it."""


class BadValue(FormatError, code="format.bad_value"):
    """A field holds what its format does not allow."""


class DuplicateName(FormatError, code="format.duplicate_name"):
    """Two keys or two tensors of one file have the same name."""


class LimitExceeded(FormatError, code="format.limit_exceeded"):
    """A count or a length is above what we are willing to read."""


class UnsupportedType(FormatError, code="format.unsupported_type"):
    """A tensor or a value has a type we have no code for."""


class MissingShard(FormatError, code="format.missing_shard"):
    """One file of a split model is absent or belongs to another model."""


class LoadError(FreeholdError, code="load"):
    """The file is sound, but no model can be built from it."""

    def __init__(  # noqa: PLR0913 - an error carries its facts flat, for whoever reports it
        self,
        message: str,
        *,
        family: str | None = None,
        tensor: str | None = None,
        value: object = None,
        expected: str = "",
        found: str = "",
        hint: str = "",
    ) -> None:
        super().__init__(message, value=value, expected=expected, found=found, hint=hint)
        self.family = family
        self.tensor = tensor


class UnknownFamily(LoadError, code="load.unknown_family"):
    """No family of ours has this architecture's name."""


class UnknownConfigKey(LoadError, code="load.unknown_config_key"):
    """The configuration says something that the family does not understand."""


class BadConfig(LoadError, code="load.bad_config"):
    """A configuration value is missing or makes no sense for the family."""


class UnknownTokenizer(LoadError, code="load.unknown_tokenizer"):
    """The file's tokenizer is of a kind we cannot reproduce exactly."""


class BadTokenizer(LoadError, code="load.bad_tokenizer"):
    """The file's tokenizer data contradict themselves."""


class MissingTensor(LoadError, code="load.missing_tensor"):
    """A tensor that the family needs is not in the file."""


class UnexpectedTensor(LoadError, code="load.unexpected_tensor"):
    """The file holds a tensor that the family has no place for."""


class ShapeMismatch(LoadError, code="load.shape_mismatch"):
    """A tensor's shape contradicts the configuration."""
