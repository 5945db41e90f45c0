"""The flags of `freehold fit`, and what of them belongs together.

Room: cli. Declarations and their checks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from freehold.fit import Traffic

__all__ = ["traffic_of"]

Task = Annotated[
    str | None,
    typer.Option(
        "--task", help="Only models for: chat, code, reasoning, tools, vision-text, embedding."
    ),
]
Commercial = Annotated[
    bool, typer.Option("--commercial", help="Only models whose terms allow commercial use.")
]
Context = Annotated[
    int | None,
    typer.Option("--context", min=1, help="Tokens of context to make room for; 8192 if unset."),
]
Memory = Annotated[
    str | None,
    typer.Option("--memory", metavar="SIZE", help="As if this much were free, such as 16GB."),
]
Everything = Annotated[
    bool, typer.Option("--all", help="Also models that do not fit, or do not run here.")
]
Measure = Annotated[bool, typer.Option("--measure", help="Measure the machine anew.")]
Cost = Annotated[bool, typer.Option("--cost", help="What a month of the traffic below costs.")]
RequestsPerDay = Annotated[
    float | None, typer.Option("--requests-per-day", min=0.01, help="Requests a day.")
]
PromptTokens = Annotated[
    int | None, typer.Option("--prompt-tokens", min=1, help="Tokens of a request's prompt.")
]
AnswerTokens = Annotated[
    int | None, typer.Option("--answer-tokens", min=1, help="Tokens of its answer.")
]
Watts = Annotated[float | None, typer.Option("--watts", min=0, help="Drawn while it computes.")]
IdleWatts = Annotated[float, typer.Option("--idle-watts", min=0, help="Drawn the rest of the day.")]
PricePerKwh = Annotated[
    float | None, typer.Option("--price-per-kwh", min=0, help="Of electricity, in your currency.")
]
MachinePrice = Annotated[
    float | None, typer.Option("--machine-price", min=0, help="Of the machine, in your currency.")
]
Years = Annotated[float, typer.Option("--years", min=0.1, help="Years the machine is used for.")]
ApiPriceIn = Annotated[
    float | None,
    typer.Option("--api-price-in", min=0, help="A service's price of a million prompt tokens."),
]
ApiPriceOut = Annotated[
    float | None,
    typer.Option("--api-price-out", min=0, help="And of a million answer tokens."),
]


def traffic_of(
    cost: bool,
    ref: str | None,
    requests_per_day: float | None,
    prompt_tokens: int | None,
    answer_tokens: int | None,
) -> Traffic | None:
    """The traffic that `--cost` is about; None without it. Raises: BadParameter for half of it."""
    numbers = (requests_per_day, prompt_tokens, answer_tokens)
    if not cost:
        if any(number is not None for number in numbers):
            raise typer.BadParameter("traffic is for --cost", param_hint="--cost")
        return None
    if ref is None:
        raise typer.BadParameter("a cost is of one model: name it", param_hint="REF")
    if requests_per_day is None or prompt_tokens is None or answer_tokens is None:
        raise typer.BadParameter(
            "needs --requests-per-day, --prompt-tokens and --answer-tokens", param_hint="--cost"
        )
    from freehold.fit import Traffic

    return Traffic(
        requests_per_day=requests_per_day,
        prompt_tokens=prompt_tokens,
        answer_tokens=answer_tokens,
    )
