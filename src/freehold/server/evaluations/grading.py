"""Grades one answer by an evaluation's criteria; models that grade are asked like any other.

Room: server. Must not know where rows come from or where grades are kept.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from freehold.errors import BadRequest
from freehold.evals.likeness import measure_named
from freehold.server.evaluations.filling import filled

__all__ = ["Ask", "Refused", "grade", "messages_of"]

Ask = Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]
"""Asks for a chat completion. Raises: Refused."""

_LABEL_TOKENS = 64
_SCORE_TOKENS = 32


class Refused(Exception):  # noqa: N818 - an answer, of which the item speaks
    """A model was not to be asked this: the error as the client would read it."""

    def __init__(self, error: Mapping[str, Any]) -> None:
        super().__init__(str(error.get("code")))
        self.error = dict(error)


async def grade(
    criterion: Mapping[str, Any], values: Mapping[str, Any], ask: Ask
) -> dict[str, Any]:
    """The result of one criterion: name, type, passed, score. Raises: BadRequest, Refused."""
    kind = criterion["type"]
    if kind == "string_check":
        score = float(_checked(criterion, values))
        passed = score == 1.0
    elif kind == "text_similarity":
        alike = measure_named(criterion["evaluation_metric"])
        score = alike(filled(criterion["input"], values), filled(criterion["reference"], values))
        passed = score >= criterion["pass_threshold"]
    elif kind == "label_model":
        label = await _label(criterion, values, ask)
        passed = label in criterion["passing_labels"]
        score = float(passed)
    else:
        score = await _score(criterion, values, ask)
        low, high = criterion["range"]
        threshold = criterion["pass_threshold"]
        passed = score >= ((low + high) / 2 if threshold is None else threshold)
    return {"name": criterion["name"], "type": kind, "passed": passed, "score": score}


def _checked(criterion: Mapping[str, Any], values: Mapping[str, Any]) -> bool:
    said, reference = filled(criterion["input"], values), filled(criterion["reference"], values)
    match criterion["operation"]:
        case "eq":
            return said == reference
        case "ne":
            return said != reference
        case "like":
            return reference in said
        case _:
            return reference.casefold() in said.casefold()


def messages_of(template: Any, values: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Messages of a template, filled."""
    return [
        {"role": message["role"], "content": filled(message["content"], values)}
        for message in template
    ]


async def _label(criterion: Mapping[str, Any], values: Mapping[str, Any], ask: Ask) -> str:
    schema = {"type": "string", "enum": list(criterion["labels"])}
    found = await _field(criterion, values, ask, ("label", schema, _LABEL_TOKENS))
    return str(found)


async def _score(criterion: Mapping[str, Any], values: Mapping[str, Any], ask: Ask) -> float:
    low, high = criterion["range"]
    schema = {"type": "number", "minimum": low, "maximum": high}
    found = await _field(criterion, values, ask, ("score", schema, _SCORE_TOKENS))
    if isinstance(found, bool) or not isinstance(found, int | float) or not low <= found <= high:
        raise BadRequest("the grading model gave no score", expected=f"{low} to {high}")
    return float(found)


async def _field(
    criterion: Mapping[str, Any],
    values: Mapping[str, Any],
    ask: Ask,
    wanted: tuple[str, dict[str, Any], int],
) -> Any:
    """One field of a small object that the model must answer with."""
    name, schema, tokens = wanted
    whole = {
        "type": "object",
        "properties": {name: schema},
        "required": [name],
        "additionalProperties": False,
    }
    params = dict(criterion.get("sampling_params") or {})
    answer = await ask(
        {
            "model": criterion["model"],
            "messages": messages_of(criterion["input"], values),
            "max_completion_tokens": params.pop("max_completions_tokens", None) or tokens,
            "temperature": 0.0,
            "repetition_penalty": 1.0,  # a grade repeats what it read, whatever is recommended
            **{key: value for key, value in params.items() if value is not None},
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": name, "schema": whole, "strict": True},
            },
        }
    )
    try:
        return json.loads(answer["choices"][0]["message"]["content"])[name]
    except (ValueError, KeyError, TypeError) as error:
        raise BadRequest(f"the grading model gave no {name}", value=criterion["model"]) from error
