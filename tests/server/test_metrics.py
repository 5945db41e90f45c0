"""Counts and times, under our names and vLLM's."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_open
from prometheus_client.parser import text_string_to_metric_families as parse

from freehold.server.logs import RequestRecord, current_record
from freehold.server.metrics import Metrics, Observer
from tests.server.scripted import MODEL, ScriptedResident, ScriptedResidents
from tests.server.whole import Whole, whole_app

# The names that dashboards made for vLLM read, with their types.
VLLM = {
    "vllm:num_requests_running": "gauge",
    "vllm:num_requests_waiting": "gauge",
    "vllm:kv_cache_usage_perc": "gauge",
    "vllm:time_to_first_token_seconds": "histogram",
    "vllm:inter_token_latency_seconds": "histogram",
    "vllm:e2e_request_latency_seconds": "histogram",
    "vllm:request_queue_time_seconds": "histogram",
    "vllm:prompt_tokens": "counter",
    "vllm:generation_tokens": "counter",
    "vllm:prefix_cache_queries": "counter",
    "vllm:prefix_cache_hits": "counter",
    "vllm:request_success": "counter",
}

Values = dict[tuple[str, frozenset[tuple[str, str]]], float]


def residents(**stats: float) -> Any:
    made = ScriptedResidents(ScriptedResident())
    (model,) = made.loaded()
    vars(model.stats).update(stats)
    return SimpleNamespace(ready=True, loaded=lambda: [model])


def values_of(metrics: Metrics) -> Values:
    page, _ = metrics.page()
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in parse(page.decode())
        for sample in family.samples
    }


def value(values: Values, name: str, **labels: str) -> float:
    return values[name, frozenset(labels.items())]


@pytest.fixture
def metrics() -> Metrics:
    metrics = Metrics(residents())
    observer: Observer = metrics
    observer.on_first_token("m", 0.2)
    observer.on_token_gap("m", 0.011)
    observer.on_token_gap("m", 0.3)
    observer.on_finish("m", "stop", 1.5, 0.07, 100, 20)
    return metrics


def test_every_name_of_vllm_is_there_with_its_type(metrics: Metrics) -> None:
    page, content_type = metrics.page()
    assert content_type.startswith("text/plain; version=")
    types = {family.name: family.type for family in parse(page.decode())}
    assert {name: types.get(name) for name in VLLM} == VLLM


def test_vllm_has_its_own_label_and_the_same_numbers(metrics: Metrics) -> None:
    values = values_of(metrics)
    for own, alias in (
        ("freehold_time_to_first_token_seconds", "vllm:time_to_first_token_seconds"),
        ("freehold_inter_token_latency_seconds", "vllm:inter_token_latency_seconds"),
        ("freehold_request_seconds", "vllm:e2e_request_latency_seconds"),
        ("freehold_request_queue_time_seconds", "vllm:request_queue_time_seconds"),
    ):
        for suffix in ("_count", "_sum"):
            mine = value(values, own + suffix, model="m")
            assert mine == value(values, alias + suffix, model_name="m") > 0
    assert value(values, "vllm:inter_token_latency_seconds_bucket", model_name="m", le="0.02") == 1
    assert value(values, "freehold_request_queue_time_seconds_sum", model="m") == 0.07
    finished = {"model_name": "m", "finished_reason": "stop"}
    assert value(values, "vllm:request_success_total", **finished) == 1
    assert value(values, "freehold_requests_finished_total", model="m", reason="stop") == 1


def test_engines_are_read_when_the_page_is() -> None:
    metrics = Metrics(
        residents(
            num_running=3,
            num_waiting=2,
            kv_usage=0.25,
            prompt_tokens_total=100,
            generation_tokens_total=50,
            prefix_queries_total=80,
            prefix_hits_total=64,
            preemptions_total=1,
            guessed_tokens_total=9,
            kept_tokens_total=7,
            engine_restarts_total=4,
        )
    )
    values = values_of(metrics)
    expected = {
        ("freehold_sequences_running", "vllm:num_requests_running"): 3,
        ("freehold_sequences_waiting", "vllm:num_requests_waiting"): 2,
        ("freehold_kv_usage", "vllm:kv_cache_usage_perc"): 0.25,
        ("freehold_prompt_tokens_total", "vllm:prompt_tokens_total"): 100,
        ("freehold_generation_tokens_total", "vllm:generation_tokens_total"): 50,
        ("freehold_prefix_queries_total", "vllm:prefix_cache_queries_total"): 80,
        ("freehold_prefix_hits_total", "vllm:prefix_cache_hits_total"): 64,
        ("freehold_preemptions_total", "vllm:num_preemptions_total"): 1,
        ("freehold_guessed_tokens_total", "vllm:spec_decode_num_draft_tokens_total"): 9,
        ("freehold_kept_tokens_total", "vllm:spec_decode_num_accepted_tokens_total"): 7,
    }
    for (own, alias), number in expected.items():
        assert value(values, own, model=MODEL) == number
        assert value(values, alias, model_name=MODEL) == number
    assert value(values, "freehold_engine_restarts_total", model=MODEL) == 4
    assert value(values, "freehold_ready") == 1


def test_without_residents_there_is_a_page() -> None:
    assert value(values_of(Metrics()), "freehold_ready") == 0


def test_open_metrics_is_given_to_who_asks_for_it(metrics: Metrics) -> None:
    page, content_type = metrics.page("application/openmetrics-text; version=1.0.0")
    assert content_type.startswith("application/openmetrics-text")
    families = parse_open(page.decode())  # type: ignore[no-untyped-call]
    names = {family.name for family in families}
    assert set(VLLM) <= names


def test_two_servers_in_one_process_count_apart(metrics: Metrics) -> None:
    assert not any("_count" in name for name, _ in values_of(Metrics()))
    assert metrics.registry is not Metrics().registry


def test_a_finished_answer_reaches_the_line_of_its_request(metrics: Metrics) -> None:
    record = RequestRecord(id="req_1", method="POST")
    token = current_record.set(record)
    try:
        metrics.on_finish("m", "stop", 1, 0, 100, 20)
        metrics.on_finish("m", "length", 1, 0, 0, 30)
    finally:
        current_record.reset(token)
    assert (record.model, record.prompt_tokens, record.completion_tokens) == ("m", 100, 50)


@pytest.fixture
def whole(home: Path) -> Iterator[Whole]:
    with whole_app(home) as whole:
        yield whole


def test_requests_are_counted_by_template_and_status(whole: Whole) -> None:
    for name in ("a", "b"):
        whole.client.get(f"/v1/models/nonesuch-{name}")
    whole.client.get("/secret-path")
    whole.client.get("/admin/secret-path")
    whole.client.request("BREW", "/version")
    values = values_of(whole.metrics)
    counted = {labels for name, labels in values if name == "freehold_http_requests_total"}
    assert not any("secret" in text or "none" in text for labels in counted for _, text in labels)
    for route, status, method in (
        ("unmatched", "404", "GET"),
        ("/admin/*", "404", "GET"),
        ("/version", "405", "other"),
    ):
        labels = {"method": method, "route": route, "status": status}
        assert value(values, "freehold_http_requests_total", **labels) == 1
    models = {"method": "GET", "route": "/v1/models/{model:path}", "status": "404"}
    assert value(values, "freehold_http_requests_total", **models) == 2
    assert (
        value(values, "freehold_http_request_seconds_count", route="/v1/models/{model:path}") == 2
    )
