"""What is judged: a model by name, hub reference or path, with all the terms it is under.

Room: library. Gathers the catalogue's word, the file's own, and the parents'; must not decide.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from freehold.config import Settings
from freehold.errors import UnknownModel
from freehold.library.catalogue import entries
from freehold.library.known import KnownModel, known_model
from freehold.library.references import resolve
from freehold.library.terms.evidence import NO_NAMES, Claim, Evidence, evidence_of
from freehold.library.terms.licences import Licence, licence_named
from freehold.library.terms.lineage import recorded_terms
from freehold.library.terms.openness import Openness, openness_of
from freehold.library.terms.texts import Recognised, recognise

__all__ = ["NOT_CONFIRMED", "Subject", "sees", "subject_of"]


# The end of a file's name that says how its weights are written.
_QUANT = re.compile(r"[-._](ud-)?(i?q\d\w*|t?q\d_\d|b?f16|f32|mxfp4\w*)$")


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A model and its terms: `licences` hold together, `unread` are names of ones not known here.

    `claims` say who states which. `recognised` is what its own licence file turned out to be,
    None with a text that is like none we know.
    """

    ref: str
    names: tuple[str, ...]
    licences: tuple[Licence, ...]
    unread: tuple[str, ...]
    claims: tuple[Claim, ...]
    evidence: Evidence
    recognised: Recognised | None
    published: tuple[str, ...] | None
    multimodal: bool | None
    path: Path | None = None

    @property
    def namesake(self) -> KnownModel | None:
        """A known model whose name this file bears, which proves nothing."""
        bare = [self.evidence.title or ""]
        if self.path is not None:
            bare.append(self.path.name if self.path.is_dir() else self.path.stem)
        for name in bare:
            model = known_model(_QUANT.sub("", name.strip().lower().replace(" ", "-")))
            if model is not None:
                return model
        return None

    @property
    def openness(self) -> Openness:
        """How open the model is by what is published."""
        return openness_of(self.published, () if self.unread else self.licences)


def subject_of(
    ref: str | Path,
    *,
    settings: Settings,
    declared: str | None = None,
    metadata: Mapping[str, object] | None = None,
) -> Subject:
    """Everything that is known of a model's terms.

    `declared` is what its source says, for a model that is not here yet; `metadata` is its file's,
    where that is open already.
    Raises: UnknownModel when nothing is known of such a name; FormatError for a damaged file.
    """
    text = str(ref)
    path, missing = _place(ref, settings)
    evidence = Evidence()
    if path is not None:
        own = path.is_relative_to(settings.models_dir)
        evidence = evidence_of(path, own_folder=own, metadata=metadata)
    found = _Found()
    found.add_catalogue(text, path, settings)
    if declared is not None:
        found.claims.append(Claim(name=declared, where="where it is from"))
    if missing is not None and not found.names and not found.claims:
        raise missing
    found.claims += evidence.claims
    if path is not None:
        recorded = recorded_terms(path, settings)
        found.claims += recorded.claims
        for reference in recorded.references:
            found.add_origin(reference)
    for parent in evidence.parents:
        found.add_parent(parent)
    recognised = None if evidence.text is None else recognise(evidence.text)
    if recognised is not None:
        found.claims.append(Claim(name=recognised.licence.id, where=evidence.text_where))
    return found.subject(text, path, evidence, recognised)


def _place(ref: str | Path, settings: Settings) -> tuple[Path | None, UnknownModel | None]:
    try:
        return resolve(ref, settings=settings), None
    except UnknownModel as error:
        return None, error


NOT_CONFIRMED = "unknown"
"""What the catalogue of open models says where nobody could confirm the terms."""


def sees(model: KnownModel) -> bool:
    """Whether a model takes images."""
    return bool(model.vision) or "vision-text" in model.tasks


class _Found:
    """What came together about one model."""

    def __init__(self) -> None:
        self.claims: list[Claim] = []
        self.names: list[str] = []
        self.published: tuple[str, ...] | None = None
        self.multimodal: bool | None = None

    def add_catalogue(self, text: str, path: Path | None, settings: Settings) -> None:
        """The catalogue's word, where it knows the name or the place."""
        for entry in entries():
            if text == entry.name or (
                path is not None and path.is_relative_to(settings.models_dir / entry.name)
            ):
                self.claims.append(Claim(name=entry.licence, where="the catalogue"))
                self.names.append(entry.name)
        for name in dict.fromkeys((text, *self.names)):
            model = known_model(name)
            if model is not None:
                self._add_known(model, where="the catalogue of open models")
                self.published = model.published
                self.multimodal = sees(model)

    def add_origin(self, reference: str) -> None:
        """The repository that the record says these weights, or their ancestors, came from."""
        self.names.append(reference)
        model = known_model(reference)
        if model is not None:
            self._add_known(model, where=f"{model.hub}, where the record says it is from")
            self.multimodal = sees(model) or self.multimodal

    def add_parent(self, name: str) -> None:
        """The terms of a model that this one was made from."""
        model = known_model(name)
        if model is not None:
            self._add_known(model, where=f"{model.hub}, which it was made from")
            self.multimodal = sees(model) or self.multimodal

    def _add_known(self, model: KnownModel, *, where: str) -> None:
        self.names += [model.hub, model.name]
        if model.licence != NOT_CONFIRMED:
            self.claims.append(Claim(name=model.licence, where=where))

    def subject(
        self, text: str, path: Path | None, evidence: Evidence, recognised: Recognised | None
    ) -> Subject:
        """The whole."""
        licences: dict[str, Licence] = {}
        unread: dict[str, None] = {}
        for claim in self.claims:
            licence = licence_named(claim.name)
            if licence is None and claim.name.lower() not in NO_NAMES:
                unread[claim.name] = None
            elif licence is None:
                continue
            else:
                licences[licence.id] = licence
        if recognised is not None and not recognised.missing:
            unread.clear()  # a name is the label of the licence file, which speaks for itself
        names = [text, *self.names, *([evidence.title] if evidence.title else [])]
        return Subject(
            ref=text,
            names=tuple(dict.fromkeys([*names, *evidence.parents])),
            licences=tuple(licences.values()),
            unread=tuple(unread),
            claims=tuple(self.claims),
            evidence=evidence,
            recognised=recognised,
            published=self.published,
            multimodal=evidence.multimodal if self.multimodal is None else self.multimodal,
            path=path,
        )
