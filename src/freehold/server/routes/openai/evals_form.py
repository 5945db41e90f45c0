"""The bodies of /v1/evals: data sources, criteria, and what of them is not offered.

Room: server. Checks what can be checked before a run; must not know how runs go.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import ConfigDict, Field

from freehold.errors import BadRequest, UnsupportedField
from freehold.evals.likeness import MEASURES
from freehold.server.evaluations.filling import check_names
from freehold.server.routes.openai.forms import Body, NotOffered, Number, in_one_of_its_forms
from freehold.server.routes.openai.pages import Metadata

__all__ = [
    "Asked",
    "Criterion",
    "CustomData",
    "EvalBody",
    "EvalUpdate",
    "FileContent",
    "FileId",
    "GraderSampling",
    "ItemReference",
    "LabelModel",
    "MessageTemplate",
    "OtherData",
    "OtherSource",
    "PythonGrader",
    "Row",
    "Rows",
    "RunBody",
    "Sampling",
    "ScoreModel",
    "StringCheck",
    "Template",
    "TextPart",
    "TextSimilarity",
]

Name = Annotated[str, Field(min_length=1, max_length=256)]
ModelName = Annotated[str, Field(min_length=1, max_length=512)]
_Text = Annotated[str, Field(max_length=1 << 18)]
_MOST_ROWS = 10_000


class TextPart(Body):
    """A part of a message."""

    type: Literal["input_text", "output_text", "text"]
    text: _Text


Content = Annotated[
    _Text | TextPart | Annotated[list[TextPart], Field(min_length=1, max_length=64)],
    in_one_of_its_forms("a text, or parts of type input_text; images and sound are not offered"),
]


class MessageTemplate(Body):
    """A message with names to fill in."""

    role: Literal["user", "assistant", "system", "developer"]
    content: Content
    type: Literal["message"] | None = None

    def plain(self, param: str) -> dict[str, str]:
        """With its content as one text. Raises: BadRequest for a name that cannot be filled."""
        content = self.content
        parts = content if isinstance(content, list) else [content]
        text = "".join(part if isinstance(part, str) else part.text for part in parts)
        check_names(text, param)
        return {"role": self.role, "content": text}


Messages = Annotated[list[MessageTemplate], Field(min_length=1, max_length=256)]


class Sampling(Body):
    """How answers are drawn."""

    seed: int | None = None
    temperature: Number | None = None
    top_p: Number | None = None
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    max_completions_tokens: Annotated[int, Field(ge=1)] | None = None
    response_format: dict[str, Any] | None = None
    tools: list[dict[str, Any]] | None = None
    reasoning_effort: str | None = None


class StringCheck(Body):
    """Compares two texts: equal, not equal, contained, contained in any case."""

    type: Literal["string_check"]
    name: Name
    input: _Text
    reference: _Text
    operation: Literal["eq", "ne", "like", "ilike"]


class TextSimilarity(Body):
    """How alike two texts are."""

    type: Literal["text_similarity"]
    name: Name
    input: _Text
    reference: _Text
    evaluation_metric: str
    pass_threshold: Number


class LabelModel(Body):
    """A model gives a label."""

    type: Literal["label_model"]
    name: Name
    model: ModelName
    input: Messages
    labels: Annotated[list[Name], Field(min_length=1, max_length=100)]
    passing_labels: Annotated[list[Name], Field(min_length=1, max_length=100)]


class GraderSampling(Body):
    """How a grading model draws."""

    seed: int | None = None
    temperature: Number | None = None
    top_p: Number | None = None
    max_completions_tokens: Annotated[int, Field(ge=1)] | None = None
    reasoning_effort: str | None = None


class ScoreModel(Body):
    """A model gives a score within a range."""

    type: Literal["score_model"]
    name: Name
    model: ModelName
    input: Messages
    range: Annotated[list[Number], Field(min_length=2, max_length=2)] = Field(
        default_factory=lambda: [0.0, 1.0]
    )
    pass_threshold: Number | None = Field(None, description="Default: the middle of the range.")
    sampling_params: GraderSampling | None = None


class PythonGrader(Body):
    """Refused by name: a request is data here and never code."""

    type: Literal["python"]
    name: Name
    source: str
    image_tag: str | None = None
    pass_threshold: Number | None = None


Criterion = Annotated[
    StringCheck | TextSimilarity | LabelModel | ScoreModel | PythonGrader,
    Field(discriminator="type"),
]


class CustomData(Body):
    """Rows with a schema of their own."""

    type: Literal["custom"]
    item_schema: dict[str, Any]
    include_sample_schema: bool | None = None


class OtherData(Body):
    """Refused by name: conversations are not kept for this."""

    type: Literal["logs", "stored_completions"]
    metadata: dict[str, Any] | None = None


class EvalBody(Body):
    """An evaluation: the shape of its rows, and its criteria."""

    data_source_config: Annotated[CustomData | OtherData, Field(discriminator="type")]
    testing_criteria: Annotated[list[Criterion], Field(min_length=1, max_length=64)]
    name: Annotated[str, Field(max_length=256)] | None = None
    metadata: Metadata | None = None

    def spec(self) -> dict[str, Any]:
        """As it is kept. Raises: UnsupportedField, BadRequest."""
        if not isinstance(self.data_source_config, CustomData):
            raise UnsupportedField(
                "rows come with a run here; what others asked is not kept for evaluations",
                param="data_source_config.type",
                expected="custom",
            )
        criteria = [
            _checked(criterion, f"testing_criteria.{i}")
            for i, criterion in enumerate(self.testing_criteria)
        ]
        names = [criterion["name"] for criterion in criteria]
        if len(set(names)) != len(names):
            raise BadRequest("two criteria have the same name", param="testing_criteria")
        return {
            "item_schema": self.data_source_config.item_schema,
            "include_sample_schema": self.data_source_config.include_sample_schema or False,
            "testing_criteria": criteria,
            "metadata": self.metadata,
        }


class EvalUpdate(Body):
    """Another name, other notes."""

    name: Annotated[str, Field(max_length=256)] | None = None
    metadata: Metadata | None = None


def _checked(criterion: Any, param: str) -> dict[str, Any]:
    """A criterion as it is kept. Raises: UnsupportedField, BadRequest."""
    if isinstance(criterion, PythonGrader):
        raise UnsupportedField(
            "a request is data here and never code: no criterion of type python",
            param=f"{param}.type",
            expected="string_check, text_similarity, label_model or score_model",
            hint="`freehold eval --score code` runs code in a sandbox on your own machine",
        )
    kept: dict[str, Any] = criterion.model_dump()
    if isinstance(criterion, StringCheck | TextSimilarity):
        check_names(criterion.input, f"{param}.input")
        check_names(criterion.reference, f"{param}.reference")
    if isinstance(criterion, TextSimilarity) and criterion.evaluation_metric not in MEASURES:
        raise UnsupportedField(
            "this measure of likeness is not offered",
            param=f"{param}.evaluation_metric",
            expected=", ".join(sorted(MEASURES)),
        )
    if isinstance(criterion, LabelModel | ScoreModel):
        kept["input"] = [m.plain(f"{param}.input.{i}") for i, m in enumerate(criterion.input)]
    if isinstance(criterion, LabelModel) and not set(criterion.passing_labels) <= set(
        criterion.labels
    ):
        raise BadRequest("a passing label is none of the labels", param=f"{param}.passing_labels")
    if isinstance(criterion, ScoreModel) and not criterion.range[0] < criterion.range[1]:
        raise BadRequest("the range is empty", param=f"{param}.range", expected="[low, high]")
    return kept


class Row(Body):
    """One row: the item, and an answer to it where it has one already."""

    item: dict[str, Any]
    sample: dict[str, Any] | None = None


class FileContent(Body):
    """Rows in the request."""

    type: Literal["file_content"]
    content: Annotated[list[Row], Field(min_length=1, max_length=_MOST_ROWS)]


class FileId(Body):
    """Rows in an uploaded file, a line of JSON each."""

    type: Literal["file_id"]
    id: Annotated[str, Field(min_length=1, max_length=100)]


class OtherSource(Body):
    """Refused by name."""

    model_config = ConfigDict(extra="ignore")
    type: Literal["stored_completions", "responses"]


Source = Annotated[FileContent | FileId | OtherSource, Field(discriminator="type")]


class Template(Body):
    """Messages with names to fill in."""

    type: Literal["template"]
    template: Messages


class ItemReference(Body):
    """Messages that a row has, by name."""

    type: Literal["item_reference"]
    item_reference: Annotated[str, Field(min_length=1, max_length=200)]


class Rows(Body):
    """Rows that have their answers: nothing is asked."""

    type: Literal["jsonl"]
    source: Source


class Asked(Body):
    """Rows that a model is asked; type responses is answered as completions are."""

    not_offered: ClassVar = {
        "reasoning_effort": NotOffered("it goes into sampling_params"),
    }
    type: Literal["completions", "responses"]
    source: Source
    model: ModelName
    input_messages: Annotated[Template | ItemReference, Field(discriminator="type")]
    sampling_params: Sampling | None = None


class RunBody(Body):
    """One run: rows, and who is asked about them."""

    data_source: Annotated[Rows | Asked, Field(discriminator="type")]
    name: Annotated[str, Field(max_length=256)] | None = None
    metadata: Metadata | None = None

    def source(self) -> dict[str, Any]:
        """Where the rows come from. Raises: UnsupportedField."""
        source = self.data_source.source
        if isinstance(source, OtherSource):
            raise UnsupportedField(
                "rows come with the run or from a file",
                param="data_source.source.type",
                expected="file_content or file_id",
            )
        return source.model_dump()

    def asking(self) -> dict[str, Any] | None:
        """Who is asked, and how; None for rows with answers. Raises: BadRequest."""
        source = self.data_source
        if isinstance(source, Rows):
            return None
        told = source.input_messages
        template = reference = None
        if isinstance(told, Template):
            param = "data_source.input_messages.template"
            template = [m.plain(f"{param}.{i}") for i, m in enumerate(told.template)]
        else:
            reference = told.item_reference
            check_names("{{" + reference + "}}", "data_source.input_messages.item_reference")
        params = source.sampling_params or Sampling()
        return {
            "model": source.model,
            "template": template,
            "item_reference": reference,
            "sampling_params": params.model_dump(),
        }
