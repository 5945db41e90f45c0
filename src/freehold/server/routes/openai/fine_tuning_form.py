"""What may be asked of a fine-tuning job: names of files and settings, never code or places.

Room: server. Knows OpenAI's form and what of it is offered; must not know how training is done.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from freehold.errors import BadRequest, UnsupportedField
from freehold.server.routes.openai.forms import Body, NotOffered, in_one_of_its_forms
from freehold.server.routes.openai.pages import Metadata

__all__ = ["FineTuningBody", "Settled"]

_EPOCHS, _EXAMPLES = 3, 16
_Auto = Literal["auto"]
_Epochs = Annotated[
    Annotated[int, Field(ge=1, le=50)] | _Auto,
    in_one_of_its_forms("'auto' or a whole number from 1 to 50"),
]
_Batch = Annotated[
    Annotated[int, Field(ge=1, le=256)] | _Auto,
    in_one_of_its_forms("'auto' or a whole number from 1 to 256"),
]
_Rate = Annotated[
    Annotated[float, Field(gt=0, le=100, allow_inf_nan=False)] | _Auto,
    in_one_of_its_forms("'auto' or a number above 0, at most 100"),
]
_Beta = Annotated[
    Annotated[float, Field(gt=0, le=2, allow_inf_nan=False)] | _Auto,
    in_one_of_its_forms("'auto' or a number above 0, at most 2"),
]


class _Supervised(Body):
    """How a supervised training learns; null is as "auto"."""

    batch_size: _Batch | None = None
    learning_rate_multiplier: _Rate | None = None
    n_epochs: _Epochs | None = None


class _Answers(_Supervised):
    """How answers are learned; pairs of them are never split."""

    on_long: Literal["refuse", "split"] | None = Field(
        None, description="Our own: what becomes of an example beyond the model's context."
    )


class _Dpo(_Supervised):
    """How preferences are learned."""

    beta: _Beta | None = None


class _SupervisedMethod(Body):
    """Learns the assistant's turns."""

    hyperparameters: _Answers | None = None


class _DpoMethod(Body):
    """Learns to prefer one answer over another."""

    hyperparameters: _Dpo | None = None


class _Method(Body):
    """One of the methods, and its settings under its own name."""

    within: ClassVar[str] = "method."
    not_offered: ClassVar = {
        "reinforcement": NotOffered("the methods here are supervised and dpo"),
    }
    type: str = Field(json_schema_extra={"enum": ["supervised", "dpo"]})
    supervised: _SupervisedMethod | None = None
    dpo: _DpoMethod | None = None


class FineTuningBody(Body):
    """A base model, data, and how to learn from it."""

    not_offered: ClassVar = {
        "integrations": NotOffered("the curves are in the job's events and result file", ([],)),
    }
    model: Annotated[str, Field(min_length=1, max_length=512)]
    training_file: Annotated[str, Field(min_length=1, max_length=100)]
    validation_file: Annotated[str, Field(min_length=1, max_length=100)] | None = None
    hyperparameters: _Supervised | None = Field(
        None, description="The older place of method.supervised.hyperparameters."
    )
    method: _Method | None = None
    metadata: Metadata | None = Field(
        None,
        description="With `basis` (consent, contract, own, public or legitimate-interest), and "
        "`consent`, `licence` and `provenance`, data of which nothing is on record is admitted.",
    )
    seed: Annotated[int, Field(ge=0, lt=1 << 32)] | None = None
    suffix: Annotated[str, Field(min_length=1, max_length=64)] | None = None

    def check(self) -> None:
        """Raises: UnsupportedField, BadRequest for a method that is not one of ours."""
        method = self.method
        if method is None:
            return
        if method.type not in ("supervised", "dpo"):
            raise UnsupportedField(
                "this method is not offered here",
                param="method.type",
                value=method.type[:64],
                expected="supervised or dpo",
            )
        other = "dpo" if method.type == "supervised" else "supervised"
        if getattr(method, other) is not None:
            raise BadRequest(
                f"method.{other} is given, and the method is {method.type}",
                param=f"method.{other}",
                hint="give the settings of one method",
            )
        if self.hyperparameters is not None:
            raise BadRequest(
                "hyperparameters are given twice",
                param="hyperparameters",
                hint=f"give them as method.{method.type}.hyperparameters",
            )


class Settled:
    """The method and its numbers, "auto" resolved; as the API shows them and the trainer reads."""

    def __init__(self, body: FineTuningBody, num_lines: int) -> None:
        method = body.method
        self.type = "supervised" if method is None else method.type
        asked: _Supervised | None = body.hyperparameters
        if method is not None:
            own = method.dpo if method.type == "dpo" else method.supervised
            asked = None if own is None else own.hyperparameters
        said: dict[str, Any] = {} if asked is None else asked.model_dump(exclude_none=True)
        chosen = {key: value for key, value in said.items() if value != "auto"}
        self.shown = {
            "batch_size": chosen.get("batch_size", max(1, min(_EXAMPLES, num_lines // 4))),
            "learning_rate_multiplier": chosen.get("learning_rate_multiplier", 1.0),
            "n_epochs": chosen.get("n_epochs", _EPOCHS),
        }
        if "on_long" in chosen:
            self.shown["on_long"] = chosen["on_long"]
        if self.type == "dpo":
            self.shown["beta"] = chosen.get("beta", 0.1)

    def spec(self, usual_rate: float) -> dict[str, Any]:
        """In the trainer's words; `usual_rate` is its own for this method."""
        train = {
            "method": "dpo" if self.type == "dpo" else "sft",
            "epochs": self.shown["n_epochs"],
            "batch_examples": self.shown["batch_size"],
            "lr": usual_rate * float(self.shown["learning_rate_multiplier"]),
        }
        return train | {key: self.shown[key] for key in ("beta", "on_long") if key in self.shown}

    def as_method(self) -> dict[str, Any]:
        """As the job's `method`."""
        return {"type": self.type, self.type: {"hyperparameters": self.shown}}
