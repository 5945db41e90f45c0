"""Every error has one status, and the form that each surface's clients read."""

from __future__ import annotations

import inspect

import pytest

from freehold import errors
from freehold.errors import (
    AccessError,
    BadRequest,
    BadSampling,
    CapacityError,
    DeadlineExceeded,
    Draining,
    EngineDied,
    Forbidden,
    FreeholdError,
    MissingTensor,
    ModelLoading,
    NotFound,
    PromptTooLong,
    QueueFull,
    RateLimited,
    RequestError,
    TooLarge,
    TooSlow,
    Truncated,
    Unauthenticated,
    UnknownModel,
    UnsupportedField,
    WrongMediaType,
)
from freehold.server.http_errors import (
    _STATUS,
    OPENAPI_ERRORS,
    error_body,
    error_headers,
    from_validation,
    status_of,
    surface_of,
)

ALL = [
    kind
    for _, kind in inspect.getmembers(errors, inspect.isclass)
    if issubclass(kind, FreeholdError) and kind is not FreeholdError
]
FAULTS_OF_A_REQUEST = (RequestError, AccessError, CapacityError)


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.__name__)
def test_every_error_has_a_status(kind: type[FreeholdError]) -> None:
    if issubclass(kind, FAULTS_OF_A_REQUEST):
        assert kind in _STATUS, "an error of a request gets its status by its own name"
    else:
        assert any(parent in _STATUS for parent in kind.__mro__)
    assert status_of(kind("it broke")) in OPENAPI_ERRORS


def test_the_table_holds_nothing_else() -> None:
    assert set(_STATUS) <= set(ALL)


@pytest.mark.parametrize(
    ("kind", "status", "code", "anthropic_type"),
    [
        (BadRequest, 400, "request.invalid", "invalid_request_error"),
        (PromptTooLong, 400, "context_length_exceeded", "invalid_request_error"),
        (UnsupportedField, 400, "unsupported_parameter", "invalid_request_error"),
        (BadSampling, 400, "invalid_value", "invalid_request_error"),
        (Unauthenticated, 401, "invalid_api_key", "authentication_error"),
        (Forbidden, 403, "insufficient_permissions", "permission_error"),
        (UnknownModel, 404, "model_not_found", "not_found_error"),
        (NotFound, 404, "not_found", "not_found_error"),
        (TooSlow, 408, "request.too_slow", "timeout_error"),
        (TooLarge, 413, "request.too_large", "request_too_large"),
        (WrongMediaType, 415, "request.wrong_media_type", "invalid_request_error"),
        (RateLimited, 429, "rate_limit_exceeded", "rate_limit_error"),
        (QueueFull, 429, "capacity.queue_full", "rate_limit_error"),
        (MissingTensor, 500, "load.missing_tensor", "api_error"),
        (ModelLoading, 503, "capacity.loading", "overloaded_error"),
        (Draining, 503, "capacity.draining", "overloaded_error"),
        (EngineDied, 503, "capacity.engine_died", "overloaded_error"),
        (DeadlineExceeded, 504, "capacity.deadline", "timeout_error"),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else None,
)
def test_form_of_each_surface(
    kind: type[FreeholdError], status: int, code: str, anthropic_type: str
) -> None:
    error = kind("it broke", hint="mend it")
    assert status_of(error) == status
    openai = error_body("openai", error, "req_1")
    assert openai.keys() == {"error"}
    assert openai["error"].keys() == {"message", "type", "param", "code"}
    assert openai["error"]["code"] == code
    anthropic = error_body("anthropic", error, "req_1")
    assert anthropic["type"] == "error"
    assert anthropic["request_id"] == "req_1"
    assert anthropic["error"]["type"] == anthropic_type
    assert error_body("ollama", error).keys() == {"error"}
    assert error_body("ollama", error)["error"] == openai["error"]["message"]


def test_param_is_named_on_every_surface() -> None:
    error = BadSampling("out of range", param="top_p", value=7, expected="0 to 1", found="7")
    assert error_body("openai", error)["error"]["param"] == "top_p"
    for surface in ("anthropic", "ollama"):
        assert "top_p" in str(error_body(surface, error))


def test_a_prompt_too_long_says_both_numbers() -> None:
    error = PromptTooLong("does not fit", value=9000, expected="at most 8192", found="9000 tokens")
    for surface in ("openai", "anthropic", "ollama"):
        said = str(error_body(surface, error))
        assert "9000" in said
        assert "8192" in said
    assert error_body("anthropic", error)["error"]["message"].startswith("prompt is too long: ")


def test_a_fault_of_the_server_keeps_its_files_to_itself() -> None:
    error = Truncated("ends early", path="secret-place/model.gguf", offset=8)
    for surface in ("openai", "anthropic", "ollama"):
        said = str(error_body(surface, error))
        assert "secret-place" not in said
        assert "format.truncated" in said


def test_an_unknown_model_does_not_tell_where_models_are() -> None:
    error = UnknownModel("none", value="mine", expected="its file at secret-place/x", hint="y")
    said = str(error_body("openai", error))
    assert "'mine'" in said
    assert "secret-place" not in said


def test_a_message_has_an_end() -> None:
    error = BadRequest("x" * 100_000)
    assert len(error_body("openai", error)["error"]["message"]) < 3000


@pytest.mark.parametrize(
    ("error", "headers"),
    [
        (QueueFull("full"), {"retry-after": "1"}),
        (QueueFull("full", retry_after_s=0.2), {"retry-after": "1"}),
        (RateLimited("full", retry_after_s=41.2), {"retry-after": "42"}),
        (RateLimited("full", retry_after_s=float("inf")), {}),
        (ModelLoading("loading"), {"retry-after": "5"}),
        (Draining("ending"), {"retry-after": "10"}),
        (EngineDied("died"), {"retry-after": "2"}),
        (DeadlineExceeded("late"), {}),
        (Unauthenticated("who"), {"www-authenticate": "Bearer"}),
        (BadRequest("no"), {}),
    ],
    ids=str,
)
def test_headers(error: FreeholdError, headers: dict[str, str]) -> None:
    assert error_headers(error) == headers


@pytest.mark.parametrize(
    ("path", "surface"),
    [
        ("/v1/messages", "anthropic"),
        ("/v1/messages/count_tokens", "anthropic"),
        ("/v1/messagesx", "openai"),
        ("/api/chat", "ollama"),
        ("/api", "ollama"),
        ("/apiary", "openai"),
        ("/v1/chat/completions", "openai"),
        ("/", "openai"),
    ],
)
def test_surface_of_a_path(path: str, surface: str) -> None:
    assert surface_of(path) == surface


@pytest.mark.parametrize(
    ("problem", "param", "said"),
    [
        (
            {"type": "missing", "loc": ("body", "model"), "msg": "Field required"},
            "model",
            "require",
        ),
        ({"type": "extra_forbidden", "loc": ("body", "a", 0, "b"), "msg": ""}, "a.0.b", "unknown"),
        ({"type": "int_type", "loc": ("body", "n"), "msg": "should be an integer"}, "n", "integer"),
        ({"type": "value_error", "loc": ("body", "n"), "msg": "TEXT"}, "n", "not usable"),
        ({"type": "json_invalid", "loc": ("body", 7), "msg": "TEXT"}, None, "JSON"),
        ({"type": "missing", "loc": ("body",), "msg": ""}, "body", "required"),
    ],
    ids=lambda value: value["type"] if isinstance(value, dict) else None,
)
def test_validation_names_the_field_and_quotes_nothing(
    problem: dict[str, object], param: str | None, said: str
) -> None:
    error = from_validation([{**problem, "input": "TEXT"}])
    assert error.param == param
    assert said in error.message
    assert "TEXT" not in str(vars(error))


def test_a_field_name_is_made_safe() -> None:
    error = from_validation([{"type": "extra_forbidden", "loc": ("body", "a\n" * 1000)}])
    assert error.param is not None
    assert len(error.param) <= 101
    assert error.param.isprintable()
