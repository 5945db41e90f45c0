"""How a written answer is judged, one at a time: exact, by pattern, number, schema, likeness.

Room: evals. Texts in, scores out; must not know models.
"""

from __future__ import annotations

import json
import math
import re
import string
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from freehold.errors import BadTask, SetupError
from freehold.evals.items import Item, Metric
from freehold.evals.likeness import measure_named

if TYPE_CHECKING:
    from freehold.evals.target import Answer

__all__ = [
    "Plain",
    "Score",
    "Scorer",
    "contains_scorer",
    "exact_scorer",
    "normalised",
    "number_in",
    "numeric_scorer",
    "regex_scorer",
    "schema_scorer",
    "similarity_scorer",
]

_MOST_PATTERN_CHARS = 1000
_MOST_ANSWER_CHARS = 1 << 16  # a pattern reads no more of an answer
_NUMBER = re.compile(r"[-+]?\$?(?:\d{1,3}(?:,\d{3})+|\d+)?(?:\.\d+)?(?:[eE][-+]?\d+)?%?")
_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


@dataclass(frozen=True, kw_only=True)
class Score:
    """What an answer got, by the name of each metric; `says` is why, in a few words."""

    values: Mapping[str, float]
    says: str = ""
    sample: Mapping[str, Any] = field(default_factory=dict)


class Scorer(Protocol):
    """Judges answers. Many at a time, so that one that asks a model can ask for them together."""

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """What it gives each answer."""

    @property
    def settings(self) -> Mapping[str, Any]:
        """What the judgement depends on, as JSON."""

    def score(self, given: Sequence[tuple[Item, Answer]]) -> list[Score]:
        """A score for each answer."""


@dataclass(frozen=True)
class Plain:
    """A scorer that looks at one answer at a time."""

    metric: Metric
    settings: Mapping[str, Any]
    judge: Callable[[Item, str], tuple[float, str]]

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """The one metric."""
        return (self.metric,)

    def score(self, given: Sequence[tuple[Item, Answer]]) -> list[Score]:
        """A score for each answer."""
        made = []
        for item, answer in given:
            value, says = self.judge(item, answer.text)
            made.append(Score(values={self.metric.name: value}, says=says))
        return made


def normalised(text: str) -> str:
    """Lower case, without punctuation, articles and spare space, as SQuAD compares answers."""
    bare = text.lower().translate(_PUNCTUATION)
    return " ".join(_ARTICLES.sub(" ", bare).split())


def exact_scorer(name: str = "exact", *, strict: bool = True) -> Plain:
    """Whether the answer is one of the references: to the letter but for space around it.

    Not strict compares `normalised` texts.
    """
    form = str.strip if strict else normalised

    def judge(item: Item, answer: str) -> tuple[float, str]:
        wanted = {form(reference) for reference in item.references}
        return float(form(answer) in wanted), ""

    about = "the reference to the letter" if strict else "the reference, case and marks aside"
    return Plain(Metric(name=name, about=about), {"type": "exact", "strict": strict}, judge)


def contains_scorer(name: str = "contains", *, any_case: bool = True) -> Plain:
    """Whether a reference occurs in the answer."""

    def judge(item: Item, answer: str) -> tuple[float, str]:
        said = answer.casefold() if any_case else answer
        found = (r.casefold() if any_case else r for r in item.references)
        return float(any(reference in said for reference in found)), ""

    settings = {"type": "contains", "any_case": any_case}
    return Plain(Metric(name=name, about="a reference occurs in the answer"), settings, judge)


def regex_scorer(pattern: str, name: str = "regex", *, whole: bool = False) -> Plain:
    """Whether the pattern is found; where it has a group, whether that is a reference.

    Of several places the last one counts. Raises: BadTask.
    """
    if len(pattern) > _MOST_PATTERN_CHARS:
        raise BadTask("the pattern is too long", value=len(pattern), expected="1000 characters")
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise BadTask(
            "the pattern is no regular expression", expected="Python's syntax", found=str(error)
        ) from error

    def judge(item: Item, answer: str) -> tuple[float, str]:
        said = answer[:_MOST_ANSWER_CHARS]
        if whole:
            match = compiled.fullmatch(said.strip())
        else:
            match = None
            for match in compiled.finditer(said):  # noqa: B007 - the last one is what is wanted
                pass
        if match is None:
            return 0.0, "no match"
        if not compiled.groups:
            return 1.0, ""
        found = next((group for group in match.groups() if group is not None), "")
        return float(found.strip() in {r.strip() for r in item.references}), f"found {found!r}"

    settings = {"type": "regex", "pattern": pattern, "whole": whole}
    return Plain(Metric(name=name, about=f"the pattern {pattern}"), settings, judge)


def number_in(text: str) -> float | None:
    """The last number of a text: with thousands' commas, a dollar sign or a percent sign."""
    found = [m.group() for m in _NUMBER.finditer(text) if any(c.isdigit() for c in m.group())]
    if not found:
        return None
    bare = found[-1].replace(",", "").replace("$", "").removesuffix("%")
    value = float(bare)
    return value if math.isfinite(value) else None


def numeric_scorer(name: str = "numeric", *, tolerance: float = 1e-6) -> Plain:
    """Whether the answer's last number is a reference's, within a relative tolerance."""

    def judge(item: Item, answer: str) -> tuple[float, str]:
        found = number_in(answer)
        if found is None:
            return 0.0, "no number"
        wanted = [number for r in item.references if (number := number_in(r)) is not None]
        if not wanted:
            raise BadTask("an item's reference has no number", value=item.id)
        right = any(math.isclose(found, w, rel_tol=tolerance, abs_tol=tolerance) for w in wanted)
        return float(right), f"found {found:g}"

    settings = {"type": "numeric", "tolerance": tolerance}
    return Plain(Metric(name=name, about="the answer's last number"), settings, judge)


def schema_scorer(schema: Mapping[str, Any] | None = None, name: str = "schema") -> Plain:
    """Whether the answer is JSON that the schema, or the item's own `schema`, allows.

    A fence of three backticks around it is taken off. Raises: BadTask, SetupError.
    """
    validates = _validator()
    if schema is not None:
        validates(schema, None)

    def judge(item: Item, answer: str) -> tuple[float, str]:
        wanted = item.fields.get("schema", schema)
        if not isinstance(wanted, Mapping):
            raise BadTask("there is no schema to judge by", value=item.id)
        try:
            value = json.loads(_unfenced(answer))
        except (ValueError, RecursionError):
            return 0.0, "not JSON"
        return validates(wanted, (value,))

    settings = {"type": "schema", "schema": None if schema is None else dict(schema)}
    return Plain(Metric(name=name, about="JSON that the schema allows"), settings, judge)


def _validator() -> Callable[[Mapping[str, Any], tuple[Any] | None], tuple[float, str]]:
    """Checks a schema and, where one is given, a value. Needs the extra `evals`."""
    try:
        import jsonschema_rs  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise SetupError(
            "judging by a schema needs the package jsonschema-rs",
            hint="pip install 'freehold[evals]'",
        ) from error

    def check(schema: Mapping[str, Any], value: tuple[Any] | None) -> tuple[float, str]:
        try:
            validator = jsonschema_rs.validator_for(dict(schema))
        except (ValueError, jsonschema_rs.ReferencingError) as error:
            raise BadTask("the schema is no JSON schema", found=type(error).__name__) from error
        if value is None:
            return 0.0, ""
        first = next(iter(validator.iter_errors(value[0])), None)
        if first is None:
            return 1.0, ""
        return 0.0, "differs at /" + "/".join(str(part) for part in first.instance_path)

    return check


def _unfenced(text: str) -> str:
    bare = text.strip()
    if bare.startswith("```") and bare.endswith("```") and "\n" in bare:
        bare = bare.split("\n", 1)[1].removesuffix("```")
    return bare


def similarity_scorer(measure: str, name: str = "similarity") -> Plain:
    """How alike the answer and its nearest reference are, 0 to 1, by words or characters.

    "fuzzy_match", "f1", "bleu", "gleu", "rouge_1" to "rouge_5", "rouge_l".
    Raises: BadTask.
    """
    alike = measure_named(measure)

    def judge(item: Item, answer: str) -> tuple[float, str]:
        return max((alike(answer, r) for r in item.references), default=0.0), ""

    metric = Metric(name=name, kind="mean", about=f"{measure} with the reference")
    return Plain(metric, {"type": "similarity", "measure": measure}, judge)
