"""What an encoder's tokenizer.json may ask of the library: known parts and known expressions only.

Room: tokenizer. Looks at types; must not know how the parts are used.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from freehold.errors import UnknownTokenizer
from freehold.tokenizer.splits import runnable

__all__ = ["check_parts"]

_KNOWN: Mapping[str, frozenset[str]] = {
    "normalizer": frozenset(
        {"Sequence", "BertNormalizer", "NFC", "NFD", "NFKC", "NFKD", "Lowercase", "StripAccents"}
        | {"Strip", "Replace", "Prepend", "Precompiled"}
    ),
    "pre_tokenizer": frozenset(
        {"Sequence", "BertPreTokenizer", "Whitespace", "WhitespaceSplit", "Punctuation"}
        | {"Metaspace", "ByteLevel", "Split", "Digits"}
    ),
    "post_processor": frozenset(
        {"Sequence", "TemplateProcessing", "BertProcessing", "RobertaProcessing", "ByteLevel"}
    ),
    "model": frozenset({"WordPiece", "WordLevel", "BPE", "Unigram"}),
}
# What separates words in published files, beyond the table of expressions; each is one short run.
_SHORT = frozenset({" {2,}", r"\s+", r"\s"})


def check_parts(fields: Mapping[str, object]) -> None:
    """Raises: UnknownTokenizer for a part, or an expression, that published encoders do not use."""
    for name, known in _KNOWN.items():
        part = fields.get(name)
        kinds = [part.get("type")] if name == "model" and isinstance(part, Mapping) else []
        for key, value in () if name == "model" else _pairs(part):
            if key == "type":
                kinds.append(value)
            if key == "Regex" and not (
                isinstance(value, str) and (value in _SHORT or runnable(value))
            ):
                raise _unknown(f"{name}: cuts by an expression that is not known", value)
        for kind in kinds:
            if kind is not None and kind not in known:
                raise _unknown(f"{name}: is of a type that is not carried", kind)


def _pairs(value: object) -> Iterator[tuple[str, object]]:
    """Every key with its value, at any depth that the JSON parser took."""
    stack = [value]
    while stack:
        found = stack.pop()
        if isinstance(found, Mapping):
            yield from found.items()
            stack += found.values()
        elif isinstance(found, list):
            stack += found


def _unknown(what: str, found: object) -> UnknownTokenizer:
    return UnknownTokenizer(
        what,
        value=str(found)[:80],
        expected="a part that published encoders have",
        found=repr(found)[:80],
        hint="a stranger's expressions are not run, since they may never end",
    )
