"""`freehold serve`: the models, behind one private endpoint.

Room: cli. Says what started; must not know how it is served.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from freehold.cli import options

if TYPE_CHECKING:
    from freehold.server.residents import LoadedModel
    from freehold.server.serving import Started

__all__ = ["serve", "started_line"]

_MOST_NAMES = 6

References = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[REF]...",
        help="Loaded at the start: files, directories, names. The store's others when asked for.",
    ),
]
Host = Annotated[
    str | None, typer.Option("--host", help="Address to listen on; others than loopback need keys.")
]
Port = Annotated[int | None, typer.Option("--port", help="Port; 0 takes any free one.")]
Socket = Annotated[
    Path | None,
    typer.Option("--socket", metavar="PATH", help="Listen on a Unix socket instead."),
]
KvMemory = Annotated[
    str | None, typer.Option("--kv-memory", metavar="SIZE", help="Each model's KV cache: 2GiB.")
]
ModelMemory = Annotated[
    str | None,
    typer.Option("--model-memory", metavar="SIZE", help="All models together: 8GiB."),
]
MaxRunning = Annotated[
    int | None, typer.Option("--max-running", min=1, help="Sequences a model runs at once.")
]
MaxWaiting = Annotated[
    int | None, typer.Option("--max-waiting", min=1, help="Sequences that may wait, per model.")
]
Adapter = Annotated[
    list[str] | None,
    typer.Option(
        "--adapter", metavar="NAME=PATH", help="Serve a LoRA adapter too; may be repeated."
    ),
]
GenerationConfig = Annotated[
    str | None,
    typer.Option(
        "--generation-config",
        metavar="WHOSE",
        help="Sampling that a request leaves open: auto, as the model's files recommend; none.",
    ),
]
LogFormat = Annotated[
    str | None, typer.Option("--log-format", metavar="FORM", help="Log lines: text or json.")
]


def serve(
    refs: References = None,
    *,
    host: Host = None,
    port: Port = None,
    socket: Socket = None,
    threads: options.Threads = None,
    context: options.Context = None,
    kv_memory: KvMemory = None,
    model_memory: ModelMemory = None,
    max_running: MaxRunning = None,
    max_waiting: MaxWaiting = None,
    adapter: Adapter = None,
    generation_config: GenerationConfig = None,
    log_format: LogFormat = None,
    policy: options.PolicyFile = None,
) -> None:
    """Serve models to clients of OpenAI, Anthropic and Ollama.

    One line on stderr says what runs and where; log lines follow it. SIGTERM or Ctrl-C lets open
    answers end first, a second one does not.
    """
    from freehold.cli.printing import say
    from freehold.config import resolve_settings
    from freehold.server.adapters import parse_adapter
    from freehold.server.logs import Log
    from freehold.server.serving import serve as run

    settings = resolve_settings(
        {
            "host": host,
            "port": port,
            "threads": threads,
            "context_tokens": context,
            "kv_memory": kv_memory,
            "model_memory": model_memory,
            "max_running": max_running,
            "max_waiting": max_waiting,
            "generation_config": generation_config,
            "log_format": log_format,
        }
    )
    settings = options.with_policy(settings, policy)

    def announce(started: Started) -> None:
        if settings.log_format == "json":
            Log("json").event("started", started.facts())
        else:
            say(started_line(started))

    adapters = [parse_adapter(text) for text in adapter or ()]
    run(settings, refs or (), adapters=adapters, socket=socket, on_start=announce)


def started_line(started: Started) -> str:
    """What runs, where and how, in one line."""
    where = started.url if started.socket is None else f"the socket {started.socket}"
    if started.models:
        what = ", ".join(_model_words(model) for model in started.models)
        first = started.models[0]
        how = f"{first.isa}, {first.threads} threads"
    else:
        what = f"{_some(started.known)} on demand" if started.known else "no model yet"
        how = "nothing loaded"
    who = "with a key" if started.needs_key else "no key needed on this machine"
    return f"freehold {started.version} serves {what} at {where} ({how}; {who})"


def _some(names: tuple[str, ...]) -> str:
    """The first few names, and how many more there are."""
    more = len(names) - _MOST_NAMES
    listed = ", ".join(names[:_MOST_NAMES])
    return f"{listed} and {more} more" if more > 0 else listed


def _model_words(model: LoadedModel) -> str:
    kv = f", KV {model.kv_tokens} tokens" if model.kv_tokens else ""
    size = f", {model.memory_bytes / 1e6:.0f} MB with its KV cache"
    return f"{model.card.id} [context {model.context_tokens}{kv}{size}]"
