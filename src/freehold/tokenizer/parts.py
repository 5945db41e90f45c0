"""How a tokenizer.json prepares, cuts and joins text, built anew from checked fields.

Room: tokenizer. Nothing of a file is passed on to the library as it stands: a part is known with
every field, and then built, or it is refused by name. So is a regular expression, because one of a
stranger's could keep a processor busy for ever.
Source: the serialised forms of `tokenizers` 0.23.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from tokenizers import Regex, normalizers, pre_tokenizers
from tokenizers.normalizers import Normalizer
from tokenizers.pre_tokenizers import PreTokenizer

from freehold.errors import BadTokenizer, UnknownTokenizer
from freehold.tokenizer.part import Part, parts_of
from freehold.tokenizer.splits import runnable

__all__ = ["Marks", "Spelling", "marks_of", "normalizer_of", "pre_tokenizer_of", "spelling_of"]

_BLOCK = "\N{LOWER ONE EIGHTH BLOCK}"
_BEHAVIOURS = {
    "Isolated": "isolated",
    "Removed": "removed",
    "MergedWithPrevious": "merged_with_previous",
    "MergedWithNext": "merged_with_next",
    "Contiguous": "contiguous",
}


@dataclass(frozen=True, slots=True)
class Spelling:
    """How tokens spell text: in the byte alphabet, or with a block for a space.

    `drops_first_space`: the space that was put before a text is taken off its decoded form.
    """

    byte_level: bool
    drops_first_space: bool = False


@dataclass(frozen=True, slots=True)
class Marks:
    """The special tokens put before and after a plain text."""

    before: tuple[str, ...] = ()
    after: tuple[str, ...] = ()


def normalizer_of(value: object) -> Normalizer | None:
    """The normalizer of a file. Raises: BadTokenizer, UnknownTokenizer."""
    stages = []
    for part in parts_of(value, "normalizer", "normalizers"):
        build = _NORMALIZERS.get(part.kind)
        if build is None:
            raise part.unknown(tuple(_NORMALIZERS))
        stages.append(build(part))
        part.finish()
    if not stages:
        return None
    return stages[0] if len(stages) == 1 else normalizers.Sequence(stages)


def _replace(part: Part) -> Normalizer:
    pattern = Part(part.field("pattern"), part.where + ".pattern")
    pattern.ignore("String")
    pattern.finish()  # a Regex among the fields is refused
    replaced = pattern.text("String")
    if not replaced:
        raise part.bad("pattern", replaced, "a text")
    return normalizers.Replace(replaced, part.text("content"))


_NORMALIZERS: Mapping[str, Callable[[Part], Normalizer]] = {
    "NFC": lambda _: normalizers.NFC(),
    "NFD": lambda _: normalizers.NFD(),
    "NFKC": lambda _: normalizers.NFKC(),
    "NFKD": lambda _: normalizers.NFKD(),
    "Prepend": lambda part: normalizers.Prepend(part.text("prepend")),
    "Replace": _replace,
}


def pre_tokenizer_of(value: object, *, leads: bool) -> tuple[PreTokenizer | None, Spelling]:
    """The pre-tokenizer of a file, and how it spells. `leads`: for the beginning of a text.

    Raises: BadTokenizer, UnknownTokenizer.
    """
    parts = parts_of(value, "pre_tokenizer", "pretokenizers")
    stages: list[PreTokenizer] = []
    byte_level = drops = False
    for part in parts:
        if byte_level:
            raise BadTokenizer(f"{part.where}: follows the byte alphabet, which must be last")
        if part.kind == "ByteLevel":
            part.neutral("add_prefix_space", False)
            part.ignore("trim_offsets")  # places in the text are not asked for
            uses_regex = part.truth("use_regex", default=True)
            stages.append(pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=uses_regex))
            byte_level = True
        elif part.kind == "Metaspace":
            scheme = _scheme(part)
            drops = drops or scheme != "never"
            stages.append(_metaspace(part, scheme, leads=leads))
        else:
            build = _STAGES.get(part.kind)
            if build is None:
                raise part.unknown((*_STAGES, "ByteLevel", "Metaspace"))
            stages.append(build(part))
        part.finish()
    spelling = Spelling(byte_level, drops)
    if not stages:
        return None, spelling
    return stages[0] if len(stages) == 1 else pre_tokenizers.Sequence(stages), spelling


def _split(part: Part) -> PreTokenizer:
    pattern = Part(part.field("pattern"), part.where + ".pattern")
    regex, plain = pattern.field("Regex"), pattern.field("String")
    pattern.finish()
    behaviour = _BEHAVIOURS[part.choice("behavior", tuple(_BEHAVIOURS))]
    invert = part.truth("invert", default=False)
    if isinstance(regex, str) and plain is None:
        runs = runnable(regex)
        if runs is None:
            raise UnknownTokenizer(
                f"{part.where}: cuts words by an expression that is not known",
                value=regex[:200],
                expected="the expression of a published family",
                found=f"{len(regex)} characters that begin {regex[:60]!r}",
                hint="expressions are run from a list, since a stranger's may never end",
            )
        return pre_tokenizers.Split(Regex(runs), behavior=behaviour, invert=invert)
    if isinstance(plain, str) and 0 < len(plain) <= 64 and regex is None:
        return pre_tokenizers.Split(plain, behavior=behaviour, invert=invert)
    raise part.bad("pattern", plain, "a Regex or a short String")


def _punctuation(part: Part) -> PreTokenizer:
    behaviour = part.choice("behavior", tuple(_BEHAVIOURS), default="Isolated")
    return pre_tokenizers.Punctuation(behavior=_BEHAVIOURS[behaviour])


def _digits(part: Part) -> PreTokenizer:
    return pre_tokenizers.Digits(individual_digits=part.truth("individual_digits", default=False))


_STAGES: Mapping[str, Callable[[Part], PreTokenizer]] = {
    "Split": _split,
    "Digits": _digits,
    "Punctuation": _punctuation,
}


def _scheme(part: Part) -> str:
    """Where a Metaspace puts a space; `add_prefix_space` is its older word for that."""
    if part.text("replacement") != _BLOCK:
        raise part.bad("replacement", part.field("replacement"), repr(_BLOCK))
    part.ignore("str_rep")  # says the same as `replacement`
    older = part.truth("add_prefix_space", default=True)
    schemes = ("always", "first", "never")
    return part.choice("prepend_scheme", schemes, default="always" if older else "never")


def _metaspace(part: Part, scheme: str, *, leads: bool) -> PreTokenizer:
    if scheme == "first":
        scheme = "always" if leads else "never"
    split = part.truth("split", default=True)
    return pre_tokenizers.Metaspace(replacement=_BLOCK, prepend_scheme=scheme, split=split)


def spelling_of(value: object, cuts: Spelling, *, byte_fallback: bool) -> Spelling:
    """How a file's decoder reads tokens, held against how its pre-tokenizer writes them.

    Raises: BadTokenizer when they contradict each other; UnknownTokenizer.
    """
    parts = parts_of(value, "decoder", "decoders")
    if not parts:
        return cuts
    if [part.kind for part in parts] == ["ByteLevel"]:
        parts[0].ignore("add_prefix_space", "trim_offsets", "use_regex")  # no part in decoding
        parts[0].finish()
        found = Spelling(byte_level=True)
    else:
        drops = [_joins(part, byte_fallback=byte_fallback) for part in parts]
        found = Spelling(byte_level=False, drops_first_space=any(drops))
    if found.byte_level != cuts.byte_level:
        words = ("blocks for spaces", "the byte alphabet")
        raise BadTokenizer(
            "decoder: reads tokens in another way than pre_tokenizer writes them",
            expected=words[cuts.byte_level],
            found=words[found.byte_level],
        )
    return found


def _joins(part: Part, *, byte_fallback: bool) -> bool:
    """Checks a stage of a decoder; whether it takes off the first space. Raises: BadTokenizer."""
    drops = False
    if part.kind == "Replace":
        pattern = Part(part.field("pattern"), part.where + ".pattern")
        if pattern.field("String") != _BLOCK or part.field("content") != " ":
            raise part.bad("pattern", part.field("pattern"), f"{_BLOCK!r} by a space")
        pattern.finish()
    elif part.kind == "Strip":
        part.neutral("content", " ")
        part.neutral("stop", 0)
        drops = part.number("start", most=1) == 1
    elif part.kind == "Metaspace":
        drops = _scheme(part) != "never"
        part.ignore("split")
    elif part.kind == "ByteFallback":
        if not byte_fallback:
            raise BadTokenizer(f"{part.where}: reads bytes that model.byte_fallback never writes")
    elif part.kind != "Fuse":
        raise part.unknown(("ByteLevel", "Replace", "ByteFallback", "Fuse", "Strip", "Metaspace"))
    part.finish()
    return drops


def marks_of(value: object) -> Marks:
    """What a file's post-processor puts around a text. Raises: BadTokenizer, UnknownTokenizer."""
    marks = Marks()
    for part in parts_of(value, "post_processor", "processors"):
        if part.kind == "TemplateProcessing":
            marks = _template_marks(part)
        elif part.kind == "ByteLevel":
            part.ignore("add_prefix_space", "trim_offsets", "use_regex")  # moves places, no tokens
        else:
            raise part.unknown(("TemplateProcessing", "ByteLevel"))
        part.finish()
    return marks


def _template_marks(part: Part) -> Marks:
    part.ignore("pair", "special_tokens")  # one text at a time; ids are found by their spelling
    single = part.field("single")
    if not isinstance(single, list) or len(single) > 8:
        raise part.bad("single", single, "a list of special tokens around a text")
    names: list[str | None] = [_mark(entry, part) for entry in single]
    if names.count(None) != 1:
        raise part.bad("single", single, "special tokens around one text")
    at = names.index(None)
    return Marks(_named(names[:at]), _named(names[at + 1 :]))


def _mark(entry: object, part: Part) -> str | None:
    """A special token's name; None for the text. Raises: BadTokenizer."""
    if isinstance(entry, dict) and len(entry) == 1:
        ((kind, inner),) = entry.items()
        name = inner.get("id") if isinstance(inner, dict) else None
        if kind == "SpecialToken" and isinstance(name, str):
            return name
        if kind == "Sequence" and name == "A":
            return None
    raise part.bad("single", entry, "SpecialToken, or Sequence A")


def _named(names: Sequence[str | None]) -> tuple[str, ...]:
    return tuple(name for name in names if name is not None)
