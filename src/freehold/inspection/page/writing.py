"""Which sections a report's page has, in the order in which a person should read them.

Room: inspection.
"""

from __future__ import annotations

from freehold.inspection.lens import Lens
from freehold.inspection.page.lens import attention_section, lens_section
from freehold.inspection.page.markup import Html, join, tag
from freehold.inspection.page.page import Section, cards, document
from freehold.inspection.page.sections import (
    memory_section,
    parts_section,
    safety_section,
    size_of,
    types_section,
)
from freehold.inspection.page.speech import chat_section, metadata_section, tokenizer_section
from freehold.inspection.page.values import (
    distributions_section,
    tensors_section,
    values_section,
)
from freehold.inspection.report import Report

__all__ = ["count_of", "head_of", "page_of"]


def page_of(report: Report, *, version: str, lens: Lens | None = None) -> str:
    """The page of one model, with what it has in mind for a prompt if that was looked at."""
    sections = [Section("safety", "Safety", safety_section(report.findings))]
    if lens is not None:
        sections.append(Section("lens", "Layer by layer", lens_section(lens)))
        if lens.attention:
            sections.append(Section("attention", "Attention", attention_section(lens)))
    if report.tree is not None:
        sections.append(Section("parts", "Parts", parts_section(report.tree)))
    if report.memory is not None:
        sections.append(Section("memory", "Memory", memory_section(report.memory)))
    if report.tensors:
        sections.append(Section("types", "Types", types_section(report)))
    if any(tensor.stats is not None for tensor in report.tensors):
        sections += [
            Section("values", "Values", values_section(report.tensors)),
            Section("shapes", "Distributions", distributions_section(report.tensors)),
        ]
    if report.tokenizer is not None:
        sections.append(Section("tokenizer", "Tokenizer", tokenizer_section(report.tokenizer)))
    if report.chat is not None:
        sections.append(Section("chat", "Chat template", chat_section(report.chat)))
    if report.suggested:
        said = [(name.replace("_", " "), f"{value:g}") for name, value in report.suggested.items()]
        sections.append(Section("sampling", "Recommended sampling", cards(said)))
    if report.tensors:
        sections.append(Section("tensors", "Tensors", tensors_section(report.tensors)))
    if report.metadata:
        sections.append(Section("metadata", "Metadata", metadata_section(report.metadata)))
    if report.unread:
        told = (tag("p", tag("b", what), ": ", why) for what, why in report.unread.items())
        sections.append(Section("unread", "Not read", join(told)))
    foot = f"Written by freehold inspect {version}. Nothing of the model was run but what is shown."
    return document(report.title or report.path.name, head_of(report), sections, foot)


def head_of(report: Report) -> Html:
    """Title, digest, and the few figures that people ask for first."""
    name = report.path.name if report.path.name != report.title else ""
    elements = max(report.parameters, 1)
    stored = sum(tensor.n_bytes for tensor in report.tensors)
    figures: list[tuple[str, object]] = [("size", size_of(report.size_bytes))]
    if report.tensors:
        figures = [
            ("parameters", count_of(report.parameters)),
            *figures,
            ("bits a weight", f"{8 * stored / elements:.2f}"),
            ("architecture", report.architecture or "not said"),
            ("format", report.format),
        ]
    if report.memory is not None:
        figures.append(("context", f"{report.memory.trained_tokens:,} tokens"))
    digest = None
    if report.identity is not None:
        digest = tag("span", report.identity.digest, of="digest mono")
    return join(
        (
            tag("h1", report.title or report.path.name),
            tag("div", name, of="lead") if name else None,
            digest,
            cards(figures),
        )
    )


def count_of(parameters: int) -> str:
    """A number of parameters as people say it."""
    for unit, bound in (("B", 1e9), ("M", 1e6)):
        if parameters >= bound:
            return f"{parameters / bound:.3g} {unit}"
    return f"{parameters:,}"
