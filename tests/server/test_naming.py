"""The runtime's errors name fields as the interface does."""

from __future__ import annotations

import pytest

from freehold.errors import BadRequest, UnsupportedField
from freehold.server.naming import named_as

NAMES = {"thinking": "think", "response_format": "format"}


@pytest.mark.parametrize(
    ("param", "named"),
    [
        ("thinking", "think"),
        ("response_format.schema.type", "format.schema.type"),
        ("tools.0.name", "tools.0.name"),
        (None, None),
    ],
)
def test_a_field_has_the_interfaces_name(param: str | None, named: str | None) -> None:
    with pytest.raises(BadRequest) as caught, named_as(NAMES):
        raise BadRequest("no", param=param)
    assert caught.value.param == named


def test_the_error_stays_the_same_one() -> None:
    error = UnsupportedField("no", param="thinking")
    with pytest.raises(UnsupportedField) as caught, named_as(NAMES):
        raise error
    assert caught.value is error
