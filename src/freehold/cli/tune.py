"""`freehold tune`: teach a model from a data set, and say how the result is served.

Room: cli. Asks, shows progress, and shows the result; how it is done is the room tune's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from freehold.cli.options import AsJson, Reference, Threads

if TYPE_CHECKING:
    pass

__all__ = ["tune"]

_Data = Annotated[
    str, typer.Argument(metavar="DATA", help="A data set by its name: `freehold dataset list`.")
]
_HeldOut = Annotated[
    str | None,
    typer.Option("--heldout", metavar="DATA", help="Another data set, to judge by and stop by."),
]
_Name = Annotated[
    str | None, typer.Option("--name", help="What the result is called; after both if unset.")
]
_Method = Annotated[
    str, typer.Option("--method", help="sft learns answers; dpo learns which of two is better.")
]
_Adapter = Annotated[
    str,
    typer.Option(
        "--adapter", help="lora; qlora leaves the base in its file's blocks; full trains it all."
    ),
]
_Epochs = Annotated[int, typer.Option("--epochs", min=1, help="How often each example is seen.")]
_Rate = Annotated[
    float | None, typer.Option("--lr", help="The highest learning rate; by method if unset.")
]
_Rank = Annotated[int, typer.Option("--rank", min=1, help="Of the adapter's matrices.")]
_Batch = Annotated[int, typer.Option("--batch", min=1, help="Examples for a step.")]
_Patience = Annotated[
    int,
    typer.Option(
        "--patience", min=0, help="End after so many measurements that are no better; 0: never."
    ),
]
_Every = Annotated[
    int, typer.Option("--evaluate-every", min=0, help="Steps between them; 0: each epoch.")
]
_OnLong = Annotated[
    str, typer.Option("--on-long", help="Examples beyond the context: refuse, or split.")
]
_MaxTokens = Annotated[
    int | None,
    typer.Option("--max-tokens", min=8, help="The longest example; the context if unset."),
]
_Seed = Annotated[int, typer.Option("--seed", min=0, help="Of order and beginning.")]
_Processes = Annotated[
    int, typer.Option("--processes", min=1, help="One for each GPU that is to share the work.")
]
_Again = Annotated[
    bool, typer.Option("--again", help="Begin anew where a training of this name lies.")
]


def tune(
    ref: Reference,
    data: _Data,
    *,
    heldout: _HeldOut = None,
    name: _Name = None,
    method: _Method = "sft",
    adapter: _Adapter = "lora",
    epochs: _Epochs = 3,
    lr: _Rate = None,
    rank: _Rank = 16,
    batch: _Batch = 16,
    patience: _Patience = 0,
    evaluate_every: _Every = 0,
    on_long: _OnLong = "refuse",
    max_tokens: _MaxTokens = None,
    seed: _Seed = 0,
    processes: _Processes = 1,
    again: _Again = False,
    threads: Threads = None,
    as_json: AsJson = False,
) -> None:
    """Teach a model from a data set.

    The tokens learned are those that serving would have generated: the assistant's, in the served
    rendering. A training that breaks off goes on when the same command is given again. Ctrl-C
    keeps a checkpoint.

    Example: freehold tune starter sections --heldout sections-heldout --epochs 2
    """
    from freehold.cli.tuned import show_tuned, tune_with_bars
    from freehold.config import resolve_settings
    from freehold.tune.training.spec import TrainSpec

    spec = TrainSpec(
        base="",
        data="",
        method=method,
        adapter=adapter,
        rank=rank,
        alpha=2.0 * rank,
        lr=lr,
        epochs=epochs,
        batch_examples=batch,
        patience=patience,
        evaluate_every_steps=evaluate_every,
        on_long=on_long,
        max_tokens=max_tokens,
        seed=seed,
        threads=threads,
    )
    settings, both = resolve_settings({"threads": threads}), (data, heldout)
    made = tune_with_bars(
        ref, spec, both, name=name, processes=processes, again=again, settings=settings
    )
    show_tuned(ref, made, as_json=as_json)
