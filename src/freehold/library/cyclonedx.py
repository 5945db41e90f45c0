"""A deed as a CycloneDX 1.6 bill of materials: one machine-learning model and its ancestors.

Room: library. Knows that standard's words; must not know terminals. The same record always gives
the same document: its time is that of the last event, its serial number follows from the head.

Source: the CycloneDX 1.6 JSON schema; package URLs of the types pypi and huggingface.
"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from freehold import __version__
from freehold.library.terms import licence_named

if TYPE_CHECKING:
    from freehold.library.deed import Deed
    from freehold.store import Event, Head

__all__ = ["bill_of_materials"]

# Our measure -> how the document names it.
_MEASURES = (
    ("mean_kl", "mean KL divergence from the source, nats a token"),
    ("p99_kl", "99th percentile of the KL divergence from the source, nats a token"),
    ("agreement", "share of tokens whose likeliest successor is the source's"),
    ("perplexity", "perplexity"),
    ("source_perplexity", "perplexity of the source"),
)


def bill_of_materials(deed: Deed, head: Head) -> dict[str, Any]:
    """The document, ready for JSON."""
    document: dict[str, Any] = {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": uuid.uuid5(uuid.NAMESPACE_OID, f"{deed.digest} {head}").urn,
        "version": 1,
        "metadata": {
            "tools": {
                "components": [{"type": "application", "name": "freehold", "version": __version__}]
            },
            "component": _component(deed, "model"),
            "properties": [{"name": "freehold:record.head", "value": str(head)}],
        },
    }
    said = [*deed.events, *deed.acceptances]
    if said:
        latest = max(said, key=lambda event: event.seq)
        document["metadata"]["timestamp"] = latest.at
    return document


def _component(deed: Deed, ref: str) -> dict[str, Any]:
    component: dict[str, Any] = {
        "type": "machine-learning-model",
        "bom-ref": ref,
        "name": deed.name,
        "hashes": _hashes(deed),
        "licenses": _licences(deed),
        "purl": _purl(deed.origin),
        "externalReferences": _references(deed.origin),
        "components": _files(deed, ref),
        "pedigree": _pedigree(deed, ref),
        "modelCard": _model_card(deed),
        "properties": _properties(deed),
    }
    return {name: value for name, value in component.items() if value}


def _hashes(deed: Deed) -> list[dict[str, str]]:
    # The digest of several files is of their list, which is no hash of any bytes that are shipped.
    if len(deed.files) != 1:
        return []
    return [{"alg": "SHA-256", "content": deed.files[0].sha256}]


def _files(deed: Deed, ref: str) -> list[dict[str, Any]]:
    if len(deed.files) < 2:
        return []
    return [
        {
            "type": "file",
            "bom-ref": f"{ref}/{number}",
            "name": file.name,
            "hashes": [{"alg": "SHA-256", "content": file.sha256}],
        }
        for number, file in enumerate(deed.files, start=1)
    ]


def _licences(deed: Deed) -> list[dict[str, Any]]:
    texts = {event.body.get("licence"): event.body.get("text") for event in deed.acceptances}
    licences = []
    for name in deed.licences:
        known = licence_named(name)
        named: dict[str, Any] = {"name": name}
        if known is not None:
            named = {"id": known.spdx} if known.spdx else {"name": known.name}
        if isinstance(texts.get(name), str):
            named["text"] = {"contentType": "text/plain", "content": texts[name]}
        licences.append({"license": named | {"acknowledgement": "declared"}})
    return licences


def _purl(origin: Event | None) -> str | None:
    source = {} if origin is None else origin.body.get("source", {})
    reference = source.get("reference", "")
    if source.get("kind") == "package":
        name, _, version = reference.partition("==")
        return f"pkg:pypi/{quote(name.lower())}@{quote(version)}"
    if source.get("kind") == "hub":
        repository = reference.partition(":")[0].partition("@")[0]
        revision = source.get("revision")
        return f"pkg:huggingface/{quote(repository)}" + (f"@{quote(revision)}" if revision else "")
    return None


def _references(origin: Event | None) -> list[dict[str, str]]:
    purl = _purl(origin)
    if purl is None:
        return []
    return [{"type": "distribution", "url": purl, "comment": "where the weights came from"}]


def _pedigree(deed: Deed, ref: str) -> dict[str, Any] | None:
    if not deed.parents:
        return None
    how = [
        f"event {event.seq}, {event.at}: {event.kind} as {_type_of(event)}"
        for event in deed.of_kind("quantized")
    ]
    ancestors = [
        _component(parent, f"{ref}.{number}") for number, parent in enumerate(deed.parents, start=1)
    ]
    return {"ancestors": ancestors} | ({"notes": "; ".join(how)} if how else {})


def _model_card(deed: Deed) -> dict[str, Any] | None:
    made = deed.of_kind("quantized")
    if not made:
        return None
    loss = made[-1].body.get("loss") or {}
    on = f"{loss.get('tokens')} tokens of {loss.get('text')}, sha256 {loss.get('text_sha256')}"
    metrics = [
        {"type": words, "value": repr(loss[measure]), "slice": on}
        for measure, words in _MEASURES
        if isinstance(loss.get(measure), int | float)
    ]
    tradeoff = f"weights rounded to {_type_of(made[-1])}; the measured loss is in the metrics"
    return {
        "quantitativeAnalysis": {"performanceMetrics": metrics},
        "considerations": {"performanceTradeoffs": [tradeoff]},
    }


def _type_of(event: Event) -> str:
    recipe = event.body.get("recipe")
    return str(recipe.get("type", "another type")) if isinstance(recipe, dict) else "another type"


def _properties(deed: Deed) -> list[dict[str, str]]:
    properties = [
        {"name": "freehold:digest", "value": deed.digest},
        {"name": "freehold:size_bytes", "value": str(deed.size_bytes)},
    ]
    for event in deed.acceptances:
        who = f"{event.body.get('licence')} by {event.body.get('by')} at {event.at}"
        value = f"{who}, text sha256 {event.body.get('text_sha256')}"
        properties.append({"name": "freehold:licence.accepted", "value": value})
    return properties + [
        {"name": f"freehold:event.{event.seq}", "value": _said(event)} for event in deed.events
    ]


def _said(event: Event) -> str:
    return f"{event.kind} at {event.at} by {event.body.get('by')}, sha256 {event.hash}"
