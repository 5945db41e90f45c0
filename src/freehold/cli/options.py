"""The arguments and flags of the commands, each written once.

Room: cli. Declarations only.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from freehold.config import Settings

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
Reference = Annotated[
    str,
    typer.Argument(
        metavar="REF", help="A .gguf file, a directory with config.json, or a name: starter."
    ),
]
Threads = Annotated[
    int | None,
    typer.Option("--threads", min=1, help="Threads of the core; all usable cores if unset."),
]
Context = Annotated[
    int | None,
    typer.Option("--context", min=1, help="Context length in tokens; the model's own if unset."),
]

PromptText = Annotated[
    str | None,
    typer.Argument(metavar="PROMPT", help="`-` reads it from stdin; none starts a conversation."),
]
System = Annotated[
    str | None,
    typer.Option(
        "--system", help='A system message; "" leaves it to the model, unset to the catalogue.'
    ),
]
Temperature = Annotated[
    float | None, typer.Option("--temperature", help="0 always takes the likeliest token.")
]
TopK = Annotated[int | None, typer.Option("--top-k", help="Keep the k likeliest tokens; 0: all.")]
TopP = Annotated[
    float | None, typer.Option("--top-p", help="Keep the likeliest tokens up to this mass.")
]
MinP = Annotated[
    float | None, typer.Option("--min-p", help="Drop tokens below this share of the likeliest.")
]
RepeatPenalty = Annotated[
    float | None, typer.Option("--repeat-penalty", help="Above 1 discourages repetition.")
]
Seed = Annotated[int | None, typer.Option("--seed", help="Same prompt and seed, same answer.")]
MaxTokens = Annotated[
    int | None, typer.Option("--max-tokens", min=1, help="Stop after this many tokens.")
]
Adapter = Annotated[
    Path | None,
    typer.Option("--adapter", metavar="PATH", help="Answer with this LoRA adapter on the model."),
]
Raw = Annotated[bool, typer.Option("--raw", help="Continue the text as is; no chat template.")]
PolicyFile = Annotated[
    Path | None,
    typer.Option("--policy", metavar="FILE", help="Rules that hold as well as the settings'."),
]


def with_policy(settings: Settings, policy: Path | None) -> Settings:
    """The settings with one more file of rules; a flag adds to them, it never replaces any."""
    if policy is None:
        return settings
    return replace(settings, policy=(*settings.policy, policy.expanduser().absolute()))
