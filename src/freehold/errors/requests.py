"""Errors of requests: what was asked, who asks, what there is room for, and tools.

Room: errors. The tree is drawn in the package's own words.
"""

# ruff: noqa: N818 - all of these are errors; the suffix would say nothing at the raise

from __future__ import annotations

from freehold.errors.base import FreeholdError

__all__ = [
    "AccessError",
    "BadPrompt",
    "BadRequest",
    "BadSampling",
    "BadSchema",
    "BadToolSchema",
    "CapacityError",
    "DeadlineExceeded",
    "Draining",
    "EngineDied",
    "Forbidden",
    "ModelLoading",
    "NotFound",
    "OutOfPages",
    "PromptTooLong",
    "QueueFull",
    "RateLimited",
    "RequestError",
    "TemplateError",
    "TooLarge",
    "TooSlow",
    "ToolCallUnparsable",
    "ToolDenied",
    "ToolError",
    "ToolFailed",
    "ToolRetry",
    "Unauthenticated",
    "UnknownModel",
    "UnsupportedField",
    "WrongMediaType",
    "WrongTask",
]


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
