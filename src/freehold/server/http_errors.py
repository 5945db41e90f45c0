"""What an error is over HTTP: its status, its form on each surface, its headers.

Room: server. The only place that knows a status code for an error; must not know any route.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from freehold.errors import (
    AcceptanceNeeded,
    AccessError,
    BadDataset,
    BadPrompt,
    BadRequest,
    BadSampling,
    BadSchema,
    BadTask,
    BadToolSchema,
    BadTraining,
    CapacityError,
    DeadlineExceeded,
    Draining,
    EngineDied,
    EvalError,
    ExportError,
    Forbidden,
    FormatError,
    FreeholdError,
    KernelError,
    LibraryError,
    LicenceDenied,
    LoadError,
    ModelLoading,
    NotAdmitted,
    NotComparable,
    NotFound,
    NotProven,
    OutOfPages,
    PrivacyError,
    PromptTooLong,
    QuantizeError,
    QueueFull,
    RateLimited,
    RequestError,
    SetupError,
    StoreError,
    TemplateError,
    TooLarge,
    ToolError,
    TooSlow,
    TuneError,
    Unauthenticated,
    UnknownLicence,
    UnknownModel,
    UnsupportedField,
    WrongMediaType,
    WrongTask,
)

__all__ = [
    "OPENAPI_ERRORS",
    "Surface",
    "error_body",
    "error_headers",
    "from_validation",
    "plain_body",
    "status_of",
    "surface_of",
]

Surface = Literal["openai", "anthropic", "ollama"]

# An error has the status of the nearest of its classes in here.
_STATUS: dict[type[FreeholdError], int] = {
    RequestError: 400,
    BadRequest: 400,
    UnsupportedField: 400,
    BadPrompt: 400,
    PromptTooLong: 400,
    BadSampling: 400,
    BadSchema: 400,
    BadToolSchema: 400,
    WrongTask: 400,
    TemplateError: 400,
    UnknownModel: 404,
    NotFound: 404,
    TooSlow: 408,
    TooLarge: 413,
    WrongMediaType: 415,
    AccessError: 403,
    Forbidden: 403,
    Unauthenticated: 401,
    CapacityError: 503,
    QueueFull: 429,
    RateLimited: 429,
    OutOfPages: 503,
    ModelLoading: 503,
    Draining: 503,
    EngineDied: 503,
    DeadlineExceeded: 504,
    StoreError: 503,
    PrivacyError: 403,
    FormatError: 500,
    LoadError: 500,
    SetupError: 500,
    LibraryError: 500,
    LicenceDenied: 403,
    AcceptanceNeeded: 403,
    UnknownLicence: 403,
    QuantizeError: 500,
    EvalError: 500,
    BadTask: 400,
    NotComparable: 400,
    NotProven: 400,
    ExportError: 400,
    TuneError: 500,
    BadTraining: 400,
    BadDataset: 400,
    NotAdmitted: 403,
    ToolError: 500,
    KernelError: 500,
}

# OpenAI's own word, where its clients look for one; all other errors keep Freehold's code.
_OPENAI_CODE: dict[type[FreeholdError], str] = {
    PromptTooLong: "context_length_exceeded",
    UnknownModel: "model_not_found",
    Unauthenticated: "invalid_api_key",
    Forbidden: "insufficient_permissions",
    RateLimited: "rate_limit_exceeded",
    UnsupportedField: "unsupported_parameter",
    BadSampling: "invalid_value",
    BadSchema: "invalid_schema",
    BadToolSchema: "invalid_function_parameters",
    NotFound: "not_found",
}

_ANTHROPIC_TYPE = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    408: "timeout_error",
    413: "request_too_large",
    429: "rate_limit_error",
    500: "api_error",
    503: "overloaded_error",
    504: "timeout_error",
}

# Seconds to wait before asking again, where the error itself does not say.
_RETRY_AFTER_S: dict[type[FreeholdError], float] = {
    QueueFull: 1,
    RateLimited: 1,
    OutOfPages: 1,
    EngineDied: 2,
    ModelLoading: 5,
    StoreError: 5,
    Draining: 10,
    CapacityError: 1,
}

_LONGEST_MESSAGE = 2000
_LONGEST_NAME = 100


def surface_of(path: str) -> Surface:
    """Whose form a path's errors take."""
    if path == "/v1/messages" or path.startswith("/v1/messages/"):
        return "anthropic"
    if path == "/api" or path.startswith("/api/"):
        return "ollama"
    return "openai"


def status_of(error: FreeholdError) -> int:
    """The HTTP status of an error; 500 for one that nobody placed."""
    for kind in type(error).__mro__:
        if kind in _STATUS:
            return _STATUS[kind]
    return 500


def error_body(surface: Surface, error: FreeholdError, request_id: str = "") -> dict[str, Any]:
    """The error as this surface's clients read it.

    A fault of the server's own is named by its code only: what it says about files belongs in the
    log, which has it under the same request id.
    """
    status = status_of(error)
    return plain_body(
        surface,
        status,
        _message(surface, error, status),
        code=_openai_code(error),
        param=error.param if isinstance(error, RequestError) else None,
        request_id=request_id,
    )


def plain_body(
    surface: Surface,
    status: int,
    message: str,
    *,
    code: str,
    param: str | None = None,
    request_id: str = "",
) -> dict[str, Any]:
    """The form itself, for what is no FreeholdError: an unknown path, a bug."""
    if surface == "ollama":
        return {"error": message}
    if surface == "anthropic":
        kind = _ANTHROPIC_TYPE.get(status, "invalid_request_error")
        inner = {"type": kind, "message": message}
        return {"type": "error", "error": inner, "request_id": request_id}
    kind = "server_error" if status >= 500 else "invalid_request_error"
    if status == 429:
        kind = "rate_limit_error"
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def error_headers(error: FreeholdError) -> dict[str, str]:
    """Retry-After in whole seconds where trying again helps; how to prove who one is on a 401."""
    if isinstance(error, Unauthenticated):
        return {"www-authenticate": "Bearer"}
    given = error.retry_after_s if isinstance(error, CapacityError) else None
    # A deadline that passed once would pass again.
    if given is None and not isinstance(error, DeadlineExceeded):
        given = next((_RETRY_AFTER_S[k] for k in type(error).__mro__ if k in _RETRY_AFTER_S), None)
    if given is None or not math.isfinite(given):
        return {}
    return {"retry-after": str(max(1, math.ceil(given)))}


def from_validation(problems: Sequence[Mapping[str, Any]]) -> RequestError:
    """The first of pydantic's complaints as an error that names the field, never what it held."""
    problem = problems[0]
    param = _field_name(problem.get("loc", ()))
    kind = str(problem.get("type", ""))
    if kind == "extra_forbidden":
        return BadRequest(f"unknown field {param!r}", param=param, hint="remove it")
    if kind == "missing":
        return BadRequest(f"the field {param!r} is required", param=param)
    if kind == "json_invalid":
        return BadRequest("the body is not valid JSON")
    # A custom validator's own words may quote what they judge; pydantic's never do.
    said = "is not usable" if kind in {"value_error", "assertion_error"} else problem.get("msg", "")
    return BadRequest(f"the field {param!r}: {said}"[:_LONGEST_MESSAGE], param=param)


def _field_name(loc: Sequence[int | str]) -> str:
    parts = [str(part) for part in loc]
    # FastAPI puts where it looked before the field's own path.
    if parts and parts[0] in {"body", "query", "path", "header"}:
        parts = parts[1:]
    name = ".".join(part if part.isprintable() else "?" for part in parts) or "body"
    return name if len(name) <= _LONGEST_NAME else name[:_LONGEST_NAME] + "…"


def _openai_code(error: FreeholdError) -> str:
    return next((_OPENAI_CODE[k] for k in type(error).__mro__ if k in _OPENAI_CODE), error.code)


def _message(surface: Surface, error: FreeholdError, status: int) -> str:
    if status == 500 or isinstance(error, StoreError):
        return f"the server could not do this ({error.code}); its log has the reason"
    if isinstance(error, UnknownModel):
        # Its own words may speak of places in the server's files.
        name = repr(error.value)[:_LONGEST_NAME]
        return f"the model {name} is not known to this server (hint: GET /v1/models lists them)"
    story = str(error)
    if surface != "openai" and isinstance(error, RequestError) and error.param:
        # These surfaces have no place of their own for the field's name.
        story = story if error.param in story else f"{error.param}: {story}"
    if surface == "anthropic" and isinstance(error, PromptTooLong):
        # Clients of this surface shorten their history when they read these words.
        story = f"prompt is too long: {story}"
    return story if len(story) <= _LONGEST_MESSAGE else story[:_LONGEST_MESSAGE] + "…"


def _error_schema() -> dict[str, Any]:
    text = {"type": "string"}
    maybe = {"anyOf": [text, {"type": "null"}]}
    inner = {"message": text, "type": text, "param": maybe, "code": maybe}
    return {
        "type": "object",
        "required": ["error"],
        "properties": {
            "error": {"anyOf": [text, {"type": "object", "properties": inner}]},
            "type": text,
            "request_id": text,
        },
    }


def _documented(meaning: str) -> dict[str, Any]:
    content = {"application/json": {"schema": _error_schema()}}
    return {"description": meaning, "content": content}


# For `APIRouter(responses=OPENAPI_ERRORS)`: every status an error of a route can have.
OPENAPI_ERRORS: dict[int | str, dict[str, Any]] = {
    400: _documented("The request is not valid; the message names the field."),
    401: _documented("No key, or not one that is known."),
    403: _documented("The key does not cover this."),
    404: _documented("There is no such model or object."),
    405: _documented("The path has no such method."),
    408: _documented("The body did not arrive in time."),
    413: _documented("The body is too large."),
    415: _documented("The body is not JSON."),
    429: _documented("Too many requests; see Retry-After."),
    500: _documented("A fault of the server; its log has the reason."),
    503: _documented("Not ready, or shutting down; see Retry-After."),
    504: _documented("The answer was not finished in time."),
}
