"""The one tree of exceptions: what went wrong, what was expected, what to do about it.

Room: errors, the first; it imports nothing of Freehold and must not know HTTP, terminals or logs.

FreeholdError                            code, message, value, expected, found, hint
├─ FormatError    path, offset, field    BadMagic · UnsupportedVersion · Truncated · BadOffset
│                                        BadValue · DuplicateName · LimitExceeded
│                                        UnsupportedType · MissingShard
├─ LoadError      family, tensor         UnknownFamily · UnknownConfigKey · BadConfig
│                                        UnknownTokenizer · BadTokenizer · MissingTensor
│                                        UnexpectedTensor · ShapeMismatch
├─ SetupError     the machine's set-up   BadSetting
├─ LibraryError   getting weights        DownloadFailed · DigestMismatch · DiskFull
├─ RequestError   param                  BadRequest · UnsupportedField · BadPrompt · PromptTooLong
│                 the asker's fault      BadSampling · BadSchema · BadToolSchema · UnknownModel
│                                        WrongTask · TemplateError · NotFound · TooLarge · TooSlow
│                                        WrongMediaType
├─ AccessError    who may do what        Unauthenticated · Forbidden
├─ CapacityError  retry_after_s          QueueFull · RateLimited · OutOfPages · ModelLoading
│                                        Draining · DeadlineExceeded · EngineDied
├─ StoreError     the database           StoreUnusable
├─ ToolError      running tools          ToolCallUnparsable · ToolRetry · ToolFailed · ToolDenied
├─ PrivacyError   a promise was at risk  EgressBlocked · RetentionForbidden
└─ KernelError    our bug                UnsupportedIsa · ContractBroken

An error never holds the text of a prompt or of an answer: say its length instead.
"""

# ruff: noqa: N818 - all of these are errors; the suffix would say nothing at the raise

from __future__ import annotations

from pathlib import Path
from typing import ClassVar


class FreeholdError(Exception):
    """Every error that Freehold raises on purpose.

    `code` is stable and safe to test for; the words are for people and may change. `str()` gives
    the whole story on one line. Survives pickling, so it can cross from the engine's process.
    """

    code: ClassVar[str] = "freehold"

    def __init_subclass__(cls, *, code: str) -> None:
        super().__init_subclass__()
        cls.code = code

    def __init__(
        self,
        message: str,
        *,
        value: object = None,
        expected: str = "",
        found: str = "",
        hint: str = "",
    ) -> None:
        super().__init__(message)
        self.message = message
        self.value = value
        self.expected = expected
        self.found = found
        self.hint = hint

    def __str__(self) -> str:
        story = self.message
        if self.expected:
            story += f"; expected {self.expected}"
        if self.found:
            story += f"; found {self.found}"
        if self.hint:
            story += f" (hint: {self.hint})"
        return story


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


class RequestError(FreeholdError, code="request"):
    """The one who asked must ask differently; trying again will not help.

    `param` names the field of the request that is at fault, where one is.
    """

    def __init__(
        self,
        message: str,
        *,
        param: str | None = None,
        value: object = None,
        expected: str = "",
        found: str = "",
        hint: str = "",
    ) -> None:
        super().__init__(message, value=value, expected=expected, found=found, hint=hint)
        self.param = param


class BadRequest(RequestError, code="request.invalid"):
    """The request is not what its interface defines."""


class UnsupportedField(RequestError, code="request.unsupported_field"):
    """A field or a value that the interface defines and Freehold does not offer."""


class BadPrompt(RequestError, code="request.bad_prompt"):
    """The prompt is empty or not text."""


class PromptTooLong(RequestError, code="request.prompt_too_long"):
    """The prompt, with room for an answer, does not fit the context."""


class BadSampling(RequestError, code="request.bad_sampling"):
    """A sampling parameter is outside its range."""


class BadSchema(RequestError, code="request.bad_schema"):
    """A schema, expression or grammar cannot be enforced; the message names the keyword."""


class WrongTask(RequestError, code="request.wrong_task"):
    """The model is of another kind than the request needs: it does not chat, or does not embed."""


class NotFound(RequestError, code="request.not_found"):
    """There is no such thing, or not for this asker."""


class TooLarge(RequestError, code="request.too_large"):
    """The request is longer, deeper or wider than its limit."""


class TooSlow(RequestError, code="request.too_slow"):
    """The request's bytes did not arrive in time."""


class WrongMediaType(RequestError, code="request.wrong_media_type"):
    """The request's body is not of the type that is read here."""


class UnknownModel(RequestError, code="request.unknown_model"):
    """Nothing is known by this reference."""


class TemplateError(RequestError, code="request.template"):
    """The chat template refused the messages, broke, or tried to leave its sandbox."""


class BadToolSchema(RequestError, code="request.bad_tool_schema"):
    """A tool's schema cannot be enforced."""


class AccessError(FreeholdError, code="access"):
    """The asker may not do this."""


class Unauthenticated(AccessError, code="access.unauthenticated"):
    """There is no key, or not one that is known and valid."""


class Forbidden(AccessError, code="access.forbidden"):
    """The key is valid and does not cover this."""


class CapacityError(FreeholdError, code="capacity"):
    """There is no room now; the same request may succeed later.

    Units: retry_after_s in seconds, None where nobody can tell.
    """

    def __init__(
        self,
        message: str,
        *,
        retry_after_s: float | None = None,
        value: object = None,
        expected: str = "",
        found: str = "",
        hint: str = "",
    ) -> None:
        super().__init__(message, value=value, expected=expected, found=found, hint=hint)
        self.retry_after_s = retry_after_s


class QueueFull(CapacityError, code="capacity.queue_full"):
    """Too many requests are waiting."""


class RateLimited(CapacityError, code="capacity.rate_limited"):
    """This key has used up its requests, tokens or places for now."""


class ModelLoading(CapacityError, code="capacity.loading"):
    """The model is not in memory yet, or does not fit beside those in use."""


class Draining(CapacityError, code="capacity.draining"):
    """The server is shutting down: it takes no new request, and cuts off what takes too long."""


class DeadlineExceeded(CapacityError, code="capacity.deadline"):
    """The answer was not finished within the time the request had."""


class EngineDied(CapacityError, code="capacity.engine_died"):
    """The process that runs the model ended while it worked on this request; it is restarted."""


class OutOfPages(CapacityError, code="capacity.out_of_pages"):
    """The KV cache has no free page."""


class ToolError(FreeholdError, code="tool"):
    """Something about a tool call went wrong."""


class ToolCallUnparsable(ToolError, code="tool.unparsable"):
    """The model wrote a tool call that its dialect cannot read."""


class ToolRetry(ToolError, code="tool.retry"):
    """The tool refused in a way that the model can be shown and may correct."""


class ToolFailed(ToolError, code="tool.failed"):
    """The tool failed for good."""


class ToolDenied(ToolError, code="tool.denied"):
    """Nobody allowed this call."""


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


class KernelError(FreeholdError, code="kernel"):
    """The compiled core and its caller disagree: a bug of ours, or a processor we do not know."""


class UnsupportedIsa(KernelError, code="kernel.unsupported_isa"):
    """The forced instruction set is not compiled in, or this processor lacks it."""


class ContractBroken(KernelError, code="kernel.contract_broken"):
    """An op was called outside its contract."""
