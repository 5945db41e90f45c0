"""The exception tree: every error Freehold raises on purpose, and nothing else.

Room: errors. At the top of the house: it imports no other room and must not know HTTP, terminals
or the text of a prompt.

FreeholdError
├─ SettingError    BadSetting
├─ FormatError     Truncated · BadMagic · BadOffset · UnsupportedType
├─ LoadError       UnknownFamily · UnknownConfigKey · MissingTensor · UnexpectedTensor ·
│                  ShapeMismatch
├─ LibraryError    DownloadFailed · DigestMismatch · DiskFull
├─ RequestError    PromptTooLong · BadPrompt · BadSampling · UnknownModel · TemplateError ·
│                  BadToolSchema
├─ CapacityError   QueueFull · OutOfPages · OutOfMemory
├─ ToolError       ToolCallUnparsable · ToolRetry · ToolFailed · ToolDenied
├─ PrivacyError    EgressBlocked · RetentionForbidden
└─ KernelError     UnsupportedIsa · ContractBroken
"""

from __future__ import annotations

import os

__all__ = [
    "BadMagic",
    "BadOffset",
    "BadPrompt",
    "BadSampling",
    "BadSetting",
    "BadToolSchema",
    "CapacityError",
    "ContractBroken",
    "DigestMismatch",
    "DiskFull",
    "DownloadFailed",
    "EgressBlocked",
    "FormatError",
    "FreeholdError",
    "KernelError",
    "LibraryError",
    "LoadError",
    "MissingTensor",
    "OutOfMemory",
    "OutOfPages",
    "PrivacyError",
    "PromptTooLong",
    "QueueFull",
    "RequestError",
    "RetentionForbidden",
    "SettingError",
    "ShapeMismatch",
    "TemplateError",
    "ToolCallUnparsable",
    "ToolDenied",
    "ToolError",
    "ToolFailed",
    "ToolRetry",
    "Truncated",
    "UnexpectedTensor",
    "UnknownConfigKey",
    "UnknownFamily",
    "UnknownModel",
    "UnsupportedIsa",
    "UnsupportedType",
]


class FreeholdError(Exception):
    """The root: a stable `code`, what was wrong, what was expected, and what to do.

    None of the fields ever holds prompt text; lengths and counts stand in for it.
    """

    code = "freehold"

    def __init__(
        self,
        message: str,
        *,
        value: object = None,
        expected: str | None = None,
        found: str | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.value = value
        self.expected = expected
        self.found = found
        self.hint = hint

    def __str__(self) -> str:
        parts = [self.message]
        if self.value is not None:
            parts.append(f"value {self.value!r}")
        if self.expected is not None:
            parts.append(f"expected {self.expected}")
        if self.found is not None:
            parts.append(f"found {self.found}")
        if self.hint is not None:
            parts.append(f"hint: {self.hint}")
        return "; ".join(parts)


class SettingError(FreeholdError):
    """A setting of the person or the machine cannot be used."""

    code = "setting"


class BadSetting(SettingError):
    """Unknown name, or a value that does not parse."""

    code = "bad_setting"


class FormatError(FreeholdError):
    """A file is not what its format says.

    Units: `offset` in bytes from the start of the file, where it is known.
    """

    code = "format"

    def __init__(
        self,
        message: str,
        *,
        path: str | os.PathLike[str] | None = None,
        offset: int | None = None,
        field: str | None = None,
        value: object = None,
        expected: str | None = None,
        found: str | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(message, value=value, expected=expected, found=found, hint=hint)
        self.path = path
        self.offset = offset
        self.field = field

    def __str__(self) -> str:
        where = [
            f"{name} {value}"
            for name, value in (
                ("file", self.path),
                ("offset", self.offset),
                ("field", self.field),
            )
            if value is not None
        ]
        return "; ".join([super().__str__(), *where])


class Truncated(FormatError):
    """The file ends before what it announces."""

    code = "truncated"


class BadMagic(FormatError):
    """The first bytes or the version are not of this format."""

    code = "bad_magic"


class BadOffset(FormatError):
    """A count, size or offset is impossible, unaligned or overlapping."""

    code = "bad_offset"


class UnsupportedType(FormatError):
    """A value or block type this version does not read."""

    code = "unsupported_type"


class LoadError(FreeholdError):
    """A well-formed file does not make a model."""

    code = "load"

    def __init__(
        self,
        message: str,
        *,
        family: str | None = None,
        tensor: str | None = None,
        value: object = None,
        expected: str | None = None,
        found: str | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(message, value=value, expected=expected, found=found, hint=hint)
        self.family = family
        self.tensor = tensor


class UnknownFamily(LoadError):
    """No family of that name in the registry."""

    code = "unknown_family"


class UnknownConfigKey(LoadError):
    """A configuration key that nothing here reads."""

    code = "unknown_config_key"


class MissingTensor(LoadError):
    """A tensor the family needs is not in the file."""

    code = "missing_tensor"


class UnexpectedTensor(LoadError):
    """A tensor in the file that the family has no place for."""

    code = "unexpected_tensor"


class ShapeMismatch(LoadError):
    """A tensor's shape contradicts the configuration."""

    code = "shape_mismatch"


class LibraryError(FreeholdError):
    """A model could not be brought into the store, or what is there is damaged."""

    code = "library"


class DownloadFailed(LibraryError):
    """The download did not give the wheel."""

    code = "download_failed"


class DigestMismatch(LibraryError):
    """A file's size or digest is not the pinned one."""

    code = "digest_mismatch"


class DiskFull(LibraryError):
    """There is not enough room for the file."""

    code = "disk_full"


class RequestError(FreeholdError):
    """The request is wrong; the same request will fail again."""

    code = "request"


class PromptTooLong(RequestError):
    """The prompt does not fit the context; it is never shortened."""

    code = "prompt_too_long"


class BadPrompt(RequestError):
    """There is no prompt, or it is not text."""

    code = "bad_prompt"


class BadSampling(RequestError):
    """A sampling setting is out of range."""

    code = "bad_sampling"


class UnknownModel(RequestError):
    """No model file behind the reference."""

    code = "unknown_model"


class TemplateError(RequestError):
    """The chat template is missing, unsafe, or refuses these messages."""

    code = "template"


class BadToolSchema(RequestError):
    """A tool's schema cannot be enforced."""

    code = "bad_tool_schema"


class CapacityError(FreeholdError):
    """There is no room now; later there may be.

    Units: `retry_after_s` in seconds, None where nothing can be said.
    """

    code = "capacity"

    def __init__(
        self,
        message: str,
        *,
        retry_after_s: float | None = None,
        value: object = None,
        expected: str | None = None,
        found: str | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(message, value=value, expected=expected, found=found, hint=hint)
        self.retry_after_s = retry_after_s


class QueueFull(CapacityError):
    """Too many requests are waiting."""

    code = "queue_full"


class OutOfPages(CapacityError):
    """The pool of KV pages is used up."""

    code = "out_of_pages"


class OutOfMemory(CapacityError):
    """The machine cannot give the memory that is needed."""

    code = "out_of_memory"


class ToolError(FreeholdError):
    """A tool call went wrong."""

    code = "tool"


class ToolCallUnparsable(ToolError):
    """The model's call is not in its dialect."""

    code = "tool_call_unparsable"


class ToolRetry(ToolError):
    """The model should see this and try again."""

    code = "tool_retry"


class ToolFailed(ToolError):
    """The tool failed for good."""

    code = "tool_failed"


class ToolDenied(ToolError):
    """The person or the policy refused the call."""

    code = "tool_denied"


class PrivacyError(FreeholdError):
    """A privacy rule forbids it."""

    code = "privacy"


class EgressBlocked(PrivacyError):
    """An outbound connection nobody asked for."""

    code = "egress_blocked"


class RetentionForbidden(PrivacyError):
    """The data may not be kept."""

    code = "retention_forbidden"


class KernelError(FreeholdError):
    """The compiled core refused: a bug of ours, or an instruction set that is not there."""

    code = "kernel"


class UnsupportedIsa(KernelError):
    """FREEHOLD_ISA names an instruction set this machine lacks."""

    code = "unsupported_isa"


class ContractBroken(KernelError):
    """An op was called against its contract."""

    code = "contract_broken"
