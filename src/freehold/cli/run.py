"""`freehold run`: one answer, or a conversation.

Room: cli. Reads the prompt and the flags; must not know how an answer is made.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from freehold.cli import options

if TYPE_CHECKING:
    from freehold.config import Settings
    from freehold.local import Model

__all__ = ["run"]


def run(
    ref: options.Reference,
    prompt: options.PromptText = None,
    *,
    system: options.System = None,
    temperature: options.Temperature = None,
    top_k: options.TopK = None,
    top_p: options.TopP = None,
    min_p: options.MinP = None,
    repeat_penalty: options.RepeatPenalty = None,
    seed: options.Seed = None,
    max_tokens: options.MaxTokens = None,
    adapter: options.Adapter = None,
    context: options.Context = None,
    threads: options.Threads = None,
    raw: options.Raw = False,
    policy: options.PolicyFile = None,
    as_json: options.AsJson = False,
) -> None:
    """Ask a model. The answer goes to stdout, everything else to stderr.

    What no flag says of the sampling, the model's own files say, else the likeliest token is taken.
    Ctrl-C stops the answer and keeps what there is; a second one leaves.
    """
    from freehold.cli.prompt_source import prompt_from

    # Before the model is loaded: a wrong flag or an empty prompt should not cost seconds.
    text = prompt_from(prompt, as_json=as_json)
    from freehold.cli.answer import Asking, SamplingFlags, answer_once
    from freehold.config import resolve_settings
    from freehold.library import suggested_system

    flags = SamplingFlags(
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        min_p=min_p,
        repetition_penalty=repeat_penalty,
        seed=seed,
    )
    flags.over({})
    settings = resolve_settings({"threads": threads, "context_tokens": context})

    model = _loaded(ref, options.with_policy(settings, policy), adapter)
    recommended = model.suggested.said() if settings.generation_config == "auto" else {}
    sampling, origin = flags.over(recommended)
    asking = Asking(
        system=suggested_system(ref) if system is None and not raw else system,
        raw=raw,
        sampling=sampling,
        max_tokens=max_tokens,
        adapter=None if adapter is None else str(adapter),
        origin=origin,
    )
    if text is None:
        from freehold.cli.conversation import converse

        converse(model, asking, settings=settings)
        return
    raise typer.Exit(answer_once(model, text, asking, as_json=as_json))


def _loaded(ref: str, settings: Settings, adapter: Path | None) -> Model:
    from freehold import local
    from freehold.library.gate import require

    require(ref, "run", settings=settings)
    model = local.load_chat(
        ref,
        context_tokens=settings.context_tokens,
        threads=settings.threads,
        kv_bits=settings.kv_bits,
        adapters={} if adapter is None else {str(adapter): adapter},
        adapter_bits=settings.adapter_bits,
        speculation=settings.speculation,
    )
    if model.report is not None and not model.report.exact:
        typer.echo(str(model.report), err=True)
    return model
