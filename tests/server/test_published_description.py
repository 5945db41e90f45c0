"""Requests made from the published OpenAPI description find no 5xx and no undocumented status."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import FailureGroup
from schemathesis.specs.openapi.checks import (
    allow_header_conformance,
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.server.scripted import MODEL
from tests.server.whole import whole_app

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    allow_header_conformance,
]


EXAMPLES = settings(
    max_examples=12,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)


def test_the_server_does_what_its_description_says(home: Path) -> None:
    # An operation for each path and method; its plugin for pytest wants another pytest.
    with whole_app(home, flags={"allowed_hosts": "testserver"}) as whole:
        schema: Any = schemathesis.openapi.from_asgi("/openapi.json", whole.app)
        operations = [found.ok() for found in schema.get_all_operations()]
        failures = [text for operation in operations for text in failures_of(operation)]
        assert len(operations) > 20
    assert failures == []


def failures_of(operation: Any) -> list[str]:
    """What requests made for one path and method say against it."""
    failures: list[str] = []

    @EXAMPLES
    @given(case=operation.as_strategy())
    def ask(case: Any) -> None:
        if isinstance(case.body, dict) and isinstance(case.body.get("model"), str):
            # Else every request would end at an unknown model.
            case.body["model"] = MODEL
        try:
            case.call_and_validate(checks=CHECKS)
        except FailureGroup as group:
            failures.extend(f"{operation.label}: {failure}" for failure in group.exceptions)

    ask()
    return failures
