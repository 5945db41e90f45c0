"""Counts and times for dashboards, under our names and under vLLM's, so that its dashboards work.

Room: server. Is told what happened and reads the residents when asked; must not know any surface,
and has no label that a request could fill with a text of its own.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import accumulate
from typing import TYPE_CHECKING, Protocol

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample

from freehold.server.logs import RequestRecord, current_record

if TYPE_CHECKING:
    from freehold.server.residents import LoadedModel, Residents

__all__ = ["Metrics", "Observer"]

_LONG_S = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 40, 80, 160, 320, 640)
_SHORT_S = (0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 1, 2.5)
_TOKENS = (1, 4, 16, 64, 256, 1024, 4096, 16384, 65536, 262144)


class Observer(Protocol):
    """Is told how each answer went, by whoever gives it.

    Call it from the task that reads the answer: then the request's own log line has its counts.
    """

    def on_first_token(self, model: str, seconds: float) -> None:
        """The first token of a request came `seconds` after it was admitted."""

    def on_token_gap(self, model: str, seconds: float) -> None:
        """Seconds between two tokens of one sequence."""

    def on_finish(
        self,
        model: str,
        reason: str,
        seconds: float,
        queue_s: float,
        prompt_tokens: int,
        completion_tokens: int,
    ) -> None:
        """A choice has ended, for a finish reason or "error" or "cancelled".

        Once for each choice; the prompt's tokens are given with the first and 0 with the others.
        """


@dataclass(frozen=True)
class _Timings:
    """The children of the histograms for one model, found once."""

    first_token: Histogram
    gap: _GapsOfOne
    whole: Histogram
    queue: Histogram
    prompt: Histogram
    completion: Histogram


class Metrics:
    """All counts of one server, in a registry of its own. An `Observer`."""

    def __init__(self, residents: Residents | None = None) -> None:
        self.registry = CollectorRegistry()
        self._timings: dict[str, _Timings] = {}
        own = self._histogram
        self._first_token = own("time_to_first_token", "Admission to first token.", _LONG_S)
        self._gap = _Gaps()
        self._whole = own("request", "Admission to last token.", _LONG_S)
        self._queue = own("request_queue_time", "Admission to first step.", _LONG_S)
        self._prompt = own("request_prompt", "Prompt tokens.", _TOKENS, unit="tokens")
        self._completion = own("request_generation", "Tokens written.", _TOKENS, unit="tokens")
        self._finished = Counter(
            "freehold_requests_finished", "Choices by reason.", ("model", "reason"), registry=None
        )
        self._http = Counter(
            "freehold_http_requests",
            "HTTP requests.",
            ("method", "route", "status"),
            registry=None,
        )
        self._http_s = Histogram(
            "freehold_http_request_seconds",
            "Until the last byte was sent.",
            ("route",),
            buckets=_LONG_S,
            registry=None,
        )
        aliased: list[tuple[Collector, str]] = [
            (self._first_token, "vllm:time_to_first_token_seconds"),
            (self._gap, "vllm:inter_token_latency_seconds"),
            (self._whole, "vllm:e2e_request_latency_seconds"),
            (self._queue, "vllm:request_queue_time_seconds"),
            (self._prompt, "vllm:request_prompt_tokens"),
            (self._completion, "vllm:request_generation_tokens"),
            (self._finished, "vllm:request_success"),
            (self._http, ""),
            (self._http_s, ""),
        ]
        for collector, alias in aliased:
            self.registry.register(_Twice(collector, alias))
        self._engines = _Engines(residents)
        self.registry.register(self._engines)

    def watch(self, residents: Residents) -> None:
        """Read these from now on; they are made with these metrics as their observer."""
        self._engines.residents = residents

    @staticmethod
    def _histogram(
        name: str, doc: str, buckets: tuple[float, ...], unit: str = "seconds"
    ) -> Histogram:
        full = f"freehold_{name}_{unit}"
        return Histogram(full, doc, ("model",), buckets=buckets, registry=None)

    def on_first_token(self, model: str, seconds: float) -> None:
        """See Observer."""
        self._of(model).first_token.observe(seconds)

    def on_token_gap(self, model: str, seconds: float) -> None:
        """See Observer."""
        self._of(model).gap.observe(seconds)

    def on_finish(
        self,
        model: str,
        reason: str,
        seconds: float,
        queue_s: float,
        prompt_tokens: int,
        completion_tokens: int,
    ) -> None:
        """See Observer."""
        timings = self._of(model)
        timings.whole.observe(seconds)
        timings.queue.observe(queue_s)
        timings.prompt.observe(prompt_tokens)
        timings.completion.observe(completion_tokens)
        self._finished.labels(model, reason).inc()
        record = current_record.get()
        if record is not None:
            record.model = model
            record.prompt_tokens += prompt_tokens
            record.completion_tokens += completion_tokens

    def on_request(self, record: RequestRecord, seconds: float) -> None:
        """An HTTP request has ended."""
        self._http.labels(record.method, record.route, str(record.status)).inc()
        self._http_s.labels(record.route).observe(seconds)

    def page(self, accept: str = "") -> tuple[bytes, str]:
        """The whole page and its content type, in the form that `accept` asks for."""
        encode, content_type = choose_encoder(accept)
        return encode(self.registry), content_type

    def _of(self, model: str) -> _Timings:
        timings = self._timings.get(model)
        if timings is None:
            timings = self._timings[model] = _Timings(
                self._first_token.labels(model),
                self._gap.of(model),
                self._whole.labels(model),
                self._queue.labels(model),
                self._prompt.labels(model),
                self._completion.labels(model),
            )
        return timings


@dataclass
class _GapsOfOne:
    """The gaps of one model's tokens by their length."""

    counts: list[int] = field(default_factory=lambda: [0] * (len(_SHORT_S) + 1))
    sum_s: float = 0.0

    def observe(self, seconds: float) -> None:
        self.counts[bisect_left(_SHORT_S, seconds)] += 1
        self.sum_s += seconds


class _Gaps(Collector):
    """A histogram as the library's, without its locks: it is told of every token."""

    def __init__(self) -> None:
        self._models: dict[str, _GapsOfOne] = {}

    def of(self, model: str) -> _GapsOfOne:
        return self._models.setdefault(model, _GapsOfOne())

    def collect(self) -> Iterator[Metric]:
        family = HistogramMetricFamily(
            "freehold_inter_token_latency_seconds",
            "Between two tokens of a sequence.",
            labels=("model",),
        )
        bounds = [*(str(float(bound)) for bound in _SHORT_S), "+Inf"]
        for model, gaps in list(self._models.items()):
            buckets = list(zip(bounds, accumulate(gaps.counts), strict=True))
            family.add_metric((model,), buckets, gaps.sum_s)
        yield family


class _Twice(Collector):
    """A collector's families under their own name, then under vLLM's name where there is one."""

    def __init__(self, collector: Collector, alias: str) -> None:
        self._collector = collector
        self._alias = alias

    def collect(self) -> Iterator[Metric]:
        for family in self._collector.collect():
            # When a series was made is of no use here and doubles the page.
            family.samples = [s for s in family.samples if not s.name.endswith("_created")]
            yield family
            if not self._alias:
                continue
            alias = Metric(self._alias, family.documentation, family.type)
            alias.samples = [
                sample._replace(
                    name=self._alias + sample.name.removeprefix(family.name),
                    labels=_vllm_labels(sample),
                )
                for sample in family.samples
            ]
            yield alias


def _vllm_labels(sample: Sample) -> dict[str, str]:
    names = {"model": "model_name", "reason": "finished_reason"}
    return {names.get(key, key): value for key, value in sample.labels.items()}


class _Engines(Collector):
    """What the loaded models say about themselves, read when the page is asked for."""

    def __init__(self, residents: Residents | None) -> None:
        self.residents = residents

    def collect(self) -> Iterator[Metric]:
        loaded = self.residents.loaded() if self.residents is not None else []
        ready = self.residents is not None and self.residents.ready
        yield GaugeMetricFamily("freehold_ready", "1 once all named models are loaded.", int(ready))
        memory = GaugeMetricFamily("freehold_model_memory_bytes", "In memory.", labels=("model",))
        for model in loaded:
            memory.add_metric((model.card.id,), model.memory_bytes)
        yield memory
        for own, alias, doc, source in _GAUGES:
            yield from _both(GaugeMetricFamily, own, alias, doc, _read(loaded, source))
        for own, alias, doc, source in _COUNTERS:
            yield from _both(CounterMetricFamily, own, alias, doc, _read(loaded, source))

    def describe(self) -> Iterable[Metric]:
        return ()


# (our name, vLLM's name, meaning, the field of a loaded model's stats)
_GAUGES = (
    ("freehold_sequences_running", "vllm:num_requests_running", "In the batch.", "num_running"),
    ("freehold_sequences_waiting", "vllm:num_requests_waiting", "In the queue.", "num_waiting"),
    ("freehold_kv_usage", "vllm:kv_cache_usage_perc", "Pages in use, 0 to 1.", "kv_usage"),
)
_COUNTERS = (
    ("freehold_prompt_tokens", "vllm:prompt_tokens", "Prompt tokens.", "prompt_tokens_total"),
    (
        "freehold_generation_tokens",
        "vllm:generation_tokens",
        "Tokens written.",
        "generation_tokens_total",
    ),
    (
        "freehold_prefix_queries",
        "vllm:prefix_cache_queries",
        "Prompt tokens looked up in the prefix cache.",
        "prefix_queries_total",
    ),
    (
        "freehold_prefix_hits",
        "vllm:prefix_cache_hits",
        "Prompt tokens found in the prefix cache.",
        "prefix_hits_total",
    ),
    (
        "freehold_preemptions",
        "vllm:num_preemptions",
        "Sequences set back for want of pages.",
        "preemptions_total",
    ),
    (
        "freehold_guessed_tokens",
        "vllm:spec_decode_num_draft_tokens",
        "Tokens computed on the guess that an answer repeats itself.",
        "guessed_tokens_total",
    ),
    (
        "freehold_kept_tokens",
        "vllm:spec_decode_num_accepted_tokens",
        "Of those guessed, the tokens that were right.",
        "kept_tokens_total",
    ),
    ("freehold_engine_restarts", "", "Engines that ended and came back.", "engine_restarts_total"),
)


def _read(loaded: list[LoadedModel], source: str) -> list[tuple[str, float]]:
    return [(model.card.id, float(getattr(model.stats, source))) for model in loaded]


def _both(
    kind: type[GaugeMetricFamily | CounterMetricFamily],
    own: str,
    alias: str,
    doc: str,
    values: list[tuple[str, float]],
) -> Iterator[Metric]:
    for name, label in ((own, "model"), (alias, "model_name")):
        if not name:
            continue
        family = kind(name, doc, labels=(label,))
        for model, value in values:
            family.add_metric((model,), value)
        yield family
