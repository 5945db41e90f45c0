"""How conversations are rendered, as a fingerprint that names the token where another differs.

Room: tune. Knows text sides; must not know weights, files or torch. The conversations are fixed and
ours: nobody's data.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from freehold.chat.dialects import dialect_of
from freehold.chat.prompts import prompt_tokens
from freehold.chat.templates import ChatTemplate
from freehold.chat.tools import Tool
from freehold.errors import BadDataset, RenderingDiffers, RequestError
from freehold.loading.text import TextSide
from freehold.tokenizer import Tokenizer
from freehold.tune.datasets import Example
from freehold.tune.datasets.masking import Renderer
from freehold.tune.probes import CONVERSATIONS, TEXTS, TOOLS

__all__ = ["Fingerprint", "Probe", "check_rendering", "fingerprint_of"]

_FILLER = re.compile(r"\[(PAD|EMPTY_)\d+\]")  # what GGUF has where a vocabulary has nothing
_DAY = "2024-02-29"  # for templates that write the date
_KEY = "tokenizer.chat_template"
_CLOCK = "strftime_now"


@dataclass(frozen=True, kw_only=True)
class Probe:
    """A fixed conversation as tokens, or the code of the error that refused it.

    `learned` are runs of tokens, first and past the last, on which training would compute a loss.
    """

    name: str
    ids: tuple[int, ...] = ()
    learned: tuple[tuple[int, int], ...] = ()
    refused: str = ""


@dataclass(frozen=True, kw_only=True)
class Fingerprint:
    """What a rendering is made of: the template's text, the vocabulary, and what they do."""

    template: str
    """The sha256 of the chat template's text; of nothing where there is none."""
    vocabulary: str
    """The sha256 over every token with its bytes, whether it is control, and which end a turn."""
    probes: tuple[Probe, ...]


def fingerprint_of(text: TextSide) -> Fingerprint:
    """The fingerprint of a model's text side. Raises: TemplateError for an unreadable template."""
    source = text.templates.get(_KEY, "")
    probes = [_text_probe(name, said, text.tokenizer) for name, said in TEXTS.items()]
    if source:
        template = ChatTemplate.from_metadata(text.templates, text.tokenizer)
        renderer = Renderer(template, text.tokenizer)
        for name, messages in CONVERSATIONS.items():
            probes += _conversation_probes(name, messages, template, text.tokenizer)
            if _CLOCK not in source:  # or they would be others tomorrow
                probes += _learned_probes(name, messages, renderer)
    return Fingerprint(
        template=hashlib.sha256(source.encode()).hexdigest(),
        vocabulary=_vocabulary_digest(text.tokenizer),
        probes=tuple(probes),
    )


def check_rendering(trained: Fingerprint, served: TextSide, *, what: str = "the base") -> None:
    """Passes when conversations are served in the tokens that were trained on.

    `what` says whose text side it is. Raises: RenderingDiffers, naming the probe and the token.
    """
    found = fingerprint_of(served)
    theirs = {probe.name: probe for probe in found.probes}
    for probe in trained.probes:
        other = theirs.get(probe.name)
        if other is None:
            raise _differs(what, f"the probe {probe.name!r}", "its tokens", "no such conversation")
        if probe != other:
            raise _token_differs(what, probe, other, served.tokenizer)
    if trained.vocabulary != found.vocabulary:
        raise _differs(
            what, "the vocabulary", f"sha256 {trained.vocabulary[:16]}", found.vocabulary[:16]
        )
    if trained.template != found.template:
        raise _differs(
            what,
            "the chat template's text, although no probe shows where",
            f"sha256 {trained.template[:16]}",
            found.template[:16],
        )


def _text_probe(name: str, text: str, tokenizer: Tokenizer) -> Probe:
    ids = tokenizer.encode(text)
    return Probe(name=f"text: {name}", ids=tuple(ids), learned=((0, len(ids)),))


def _conversation_probes(
    name: str, messages: Sequence[Mapping[str, Any]], template: ChatTemplate, tokenizer: Tokenizer
) -> list[Probe]:
    """The conversation at each turn of the assistant's, as the server renders it."""
    tools = [Tool(**one) for one in TOOLS] if any(m.get("tool_calls") for m in messages) else []
    turns = [place for place, message in enumerate(messages) if message["role"] == "assistant"]
    found = []
    for turn, place in enumerate((*turns, len(messages))):
        label = f"{name}, turn {turn + 1}"
        try:
            rendered = prompt_tokens(
                template,
                tokenizer,
                messages[:place],
                dialect=dialect_of(template.source),
                tools=tools,
                variables={_CLOCK: _DAY},
            )
        except RequestError as error:
            found.append(Probe(name=label, refused=error.code))
            continue
        found.append(Probe(name=label, ids=tuple(rendered.tokens)))
    return found


def _learned_probes(
    name: str, messages: Sequence[Mapping[str, Any]], renderer: Renderer
) -> list[Probe]:
    """The conversation as training renders it, with the tokens that are learned."""
    tools = TOOLS if any(m.get("tool_calls") for m in messages) else ()
    example = Example(
        messages=tuple(dict(message) for message in messages),
        tools=tuple({"type": "function", "function": dict(tool)} for tool in tools),
    )
    try:
        found = renderer.render(example)
    except BadDataset as error:
        return [Probe(name=f"{name}, as learned", refused=error.code)]
    return [
        Probe(
            name=f"{name}, as learned" + (f" ({number + 1})" if number else ""),
            ids=tuple(one.ids.tolist()),
            learned=_runs(one.learned),
        )
        for number, one in enumerate(found)
    ]


def _runs(learned: NDArray[np.bool_]) -> tuple[tuple[int, int], ...]:
    """First and past the last of each run of true values."""
    edges = np.flatnonzero(np.diff(learned.astype(np.int8), prepend=0, append=0)).tolist()
    return tuple(zip(edges[::2], edges[1::2], strict=True))


def _vocabulary_digest(tokenizer: Tokenizer) -> str:
    """Over what every form of a model has; ids that no token has are left out."""
    digest = hashlib.sha256()
    for token_id in range(tokenizer.vocab_size):
        spelled = tokenizer.token(token_id)
        if not spelled or _FILLER.fullmatch(spelled):
            continue
        raw = tokenizer.token_bytes(token_id)
        control = int(tokenizer.is_special(token_id))
        digest.update(b"%d %d %d " % (token_id, control, len(raw)) + raw)
    ends = sorted(tokenizer.eos_ids)
    digest.update(repr((ends, tokenizer.bos_id, tokenizer.adds_bos)).encode())
    return digest.hexdigest()


def _token_differs(
    what: str, trained: Probe, served: Probe, tokenizer: Tokenizer
) -> RenderingDiffers:
    if trained.refused or served.refused:
        said = [probe.refused or f"{len(probe.ids)} tokens" for probe in (trained, served)]
        return _differs(what, f"the probe {trained.name!r}", *said)
    pairs = zip(trained.ids, served.ids, strict=False)
    shorter = min(len(trained.ids), len(served.ids))
    at = next((place for place, (a, b) in enumerate(pairs) if a != b), shorter)
    if trained.ids == served.ids:
        return _differs(
            what,
            f"which tokens of the probe {trained.name!r} are learned",
            str(trained.learned),
            str(served.learned),
        )
    said = [_spelled(probe.ids, at, tokenizer) for probe in (trained, served)]
    return _differs(what, f"the probe {trained.name!r} at token {at}", *said)


def _spelled(ids: Sequence[int], at: int, tokenizer: Tokenizer) -> str:
    if at >= len(ids):
        return "the end"
    known = ids[at] < tokenizer.vocab_size
    return f"{tokenizer.token(ids[at])!r} ({ids[at]})" if known else f"token {ids[at]}"


def _differs(what: str, where: str, trained: str, served: str) -> RenderingDiffers:
    return RenderingDiffers(
        f"{what} renders conversations otherwise than the adapter was trained on: {where}",
        value=where,
        expected=f"{trained}, as trained",
        found=served,
        hint="serve it with the template and tokenizer of its training, or train it again",
    )
