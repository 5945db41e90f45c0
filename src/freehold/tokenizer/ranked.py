"""tekken.json: tokens as ranked bytes, from which the merges are recovered.

Room: tokenizer. Knows the file's fields; must not know how conversations are written with it.
Source: tekken.py of mistral-common 1.13.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import tokenizers
from tokenizers import models

from freehold.errors import BadTokenizer, UnknownTokenizer
from freehold.tokenizer.backend import LibraryRefusal
from freehold.tokenizer.described import Added, DescribedCutter
from freehold.tokenizer.part import Part
from freehold.tokenizer.splits import WordSplit, runnable
from freehold.tokenizer.tokenizer import ALPHABET, Facts, Tokenizer
from freehold.tokenizer.vocabulary import MAX_TOKEN_CHARS, MAX_TOKENS

__all__ = ["Conversations", "tokenizer_from_ranks"]

# Before these were in the file, they were in the program that read it.
_EARLY_VERSIONS = ("v3", "v7")
_EARLY = (
    "<unk>",
    "<s>",
    "</s>",
    "[INST]",
    "[/INST]",
    "[AVAILABLE_TOOLS]",
    "[/AVAILABLE_TOOLS]",
    "[TOOL_RESULTS]",
    "[/TOOL_RESULTS]",
    "[TOOL_CALLS]",
    "[IMG]",
    "<pad>",
    "[IMG_BREAK]",
    "[IMG_END]",
    "[PREFIX]",
    "[MIDDLE]",
    "[SUFFIX]",
    "[SYSTEM_PROMPT]",
    "[/SYSTEM_PROMPT]",
    "[TOOL_CONTENT]",
)
_VERSIONS = (*_EARLY_VERSIONS, "v11", "v13", "v15")
_EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh")
_MAX_SPECIAL = 1 << 14
# The published vocabularies have some 600,000 ways of splitting a token into two.
_MAX_SPLITS = 1 << 22


@dataclass(frozen=True, slots=True)
class Conversations:
    """How conversations are written: the version, and its reasoning effort unless said."""

    version: str
    effort: str | None = None


def tokenizer_from_ranks(
    fields: Mapping[str, object], *, size: int = 0
) -> tuple[Tokenizer, Conversations]:
    """The tokenizer of a tekken.json's fields, and how conversations are written with it.

    `size` is the number of rows the weights have, 0 where that is not known.
    Raises: UnknownTokenizer for another version or way of cutting words; BadTokenizer.
    """
    top = Part(fields, "tekken.json")
    config = Part(top.field("config"), "config")
    config.ignore("num_vocab_tokens")  # the list has a length
    version = config.choice("version", _VERSIONS)
    count = config.number("default_vocab_size", most=MAX_TOKENS)
    num_special = config.number("default_num_special_tokens", most=_MAX_SPECIAL)
    pattern = config.field("pattern")
    config.finish()
    split = _split(pattern)
    special = _special(top.field("special_tokens"), version, num_special)
    ranks = _ranks(top.field("vocab"), count - num_special)
    top.ignore("image", "multimodal", "audio")  # other media
    effort = _effort(top.field("model_settings_builder"))
    top.ignore("version", "type")  # of the file; the one in config counts
    top.finish()
    if size and count > size:
        raise BadTokenizer(
            "the tokenizer does not belong to this model",
            value=count,
            expected=f"at most {size} tokens",
            found=str(count),
        )
    return _built(special, ranks, split, max(size, count)), Conversations(version, effort)


def _effort(builder: object) -> str | None:
    """The default of the one setting that is carried; a schema is enforced without being told."""
    if builder is None:
        return None
    part = Part(builder, "model_settings_builder")
    part.ignore("json_schema")
    value = part.field("reasoning_effort")
    part.finish()
    if value is None:
        return None
    effort = Part(value, "model_settings_builder.reasoning_effort")
    effort.ignore("values", "accepts_none")
    return effort.choice("default", _EFFORTS)


def _built(
    special: Sequence[str], ranks: Mapping[bytes, int], split: WordSplit, size: int
) -> Tokenizer:
    added = [Added(index, spelling, control=True) for index, spelling in enumerate(special)]
    spelled = {_spelled(token): rank + len(special) for token, rank in ranks.items()}
    with LibraryRefusal("vocab"):
        model = models.BPE(vocab=spelled, merges=_merges(ranks), ignore_merges=split.whole_words)
    library = tokenizers.Tokenizer(model)
    library.pre_tokenizer = split.pre_tokenizer()
    spellings = dict(enumerate(special)) | {index: token for token, index in spelled.items()}
    spellings |= dict.fromkeys(range(len(spellings), size), "")
    ids = {spelling: index for index, spelling in enumerate(special)}
    for needed in ("<s>", "</s>"):
        if needed not in ids:
            raise BadTokenizer(f"special_tokens: there is no {needed}", expected=needed)
    control = frozenset(ids.values())
    facts = Facts(
        vocab_size=size,
        bos_id=ids["<s>"],
        eos_id=ids["</s>"],
        eos_ids=frozenset({ids["</s>"]}),
        adds_bos=True,
        adds_eos=False,
        drops_first_space=False,
        byte_level=True,
        verbatim=control,
        special=control,
    )
    return Tokenizer(DescribedCutter(added, spellings, (library, library), None), facts)


def _split(pattern: object) -> WordSplit:
    runs = runnable(pattern) if isinstance(pattern, str) else None
    if runs is None:
        raise UnknownTokenizer(
            "config.pattern: cuts words by an expression that is not known",
            value=str(pattern)[:200],
            expected="the expression of a published family",
            found=repr(pattern)[:60],
            hint="expressions are run from a list, since a stranger's may never end",
        )
    return WordSplit((runs,), whole_words=True)


def _special(value: object, version: str, count: int) -> list[str]:
    """The special tokens by id, filled up to their number with names that stand for nothing."""
    if value is None:
        if version not in _EARLY_VERSIONS:
            raise BadTokenizer("special_tokens: are missing", expected="a list", found="nothing")
        found = list(_EARLY)
    else:
        if not isinstance(value, list) or len(value) > _MAX_SPECIAL:
            raise BadTokenizer(f"special_tokens: is not a list of at most {_MAX_SPECIAL}")
        found = [_one_special(entry, index) for index, entry in enumerate(value)]
    found += [f"<SPECIAL_{index}>" for index in range(len(found), count)]
    if len(found) != count or len(set(found)) != count:
        raise BadTokenizer(
            "special_tokens: are not as many different ones as config says",
            expected=str(count),
            found=str(len(set(found))),
        )
    return found


def _one_special(value: object, index: int) -> str:
    part = Part(value, f"special_tokens[{index}]")
    part.ignore("is_control")  # none of them may come from a person's text
    rank, spelling = part.number("rank", most=_MAX_SPECIAL), part.text("token_str", longest=256)
    part.finish()
    if rank != index or not spelling:
        raise part.bad("rank", rank, f"{index}, as its place in the list")
    return spelling


def _ranks(value: object, count: int) -> dict[bytes, int]:
    """The first `count` tokens by their bytes."""
    if not isinstance(value, list) or not 256 <= count <= len(value) <= MAX_TOKENS:
        raise BadTokenizer(
            "vocab: is not a list of as many tokens as config says",
            expected=f"a list of {count} to {MAX_TOKENS}",
            found=f"{len(value)} entries" if isinstance(value, list) else type(value).__name__,
        )
    ranks: dict[bytes, int] = {}
    for rank, entry in enumerate(value[:count]):
        part = Part(entry, f"vocab[{rank}]")
        part.ignore("token_str")  # the bytes say it
        token = _bytes(part.field("token_bytes"), part)
        if part.number("rank", most=MAX_TOKENS) != rank:
            raise part.bad("rank", part.field("rank"), f"{rank}, as its place in the list")
        part.finish()
        if token in ranks:
            raise BadTokenizer(f"vocab: the tokens {ranks[token]} and {rank} have the same bytes")
        ranks[token] = rank
    if any(bytes([byte]) not in ranks for byte in range(256)):
        raise BadTokenizer("vocab: a byte is no token", expected="all 256")
    return ranks


def _bytes(value: object, part: Part) -> bytes:
    try:
        token = base64.b64decode(value, validate=True) if isinstance(value, str) else b""
    except (binascii.Error, ValueError):
        token = b""
    if not 0 < len(token) <= MAX_TOKEN_CHARS:
        raise part.bad("token_bytes", value, f"1 to {MAX_TOKEN_CHARS} bytes in base64")
    return token


_CHARACTERS = {byte: character for character, byte in ALPHABET.items()}


def _spelled(token: bytes) -> str:
    return "".join(map(_CHARACTERS.__getitem__, token))


def _merges(ranks: Mapping[bytes, int]) -> list[tuple[str, str]]:
    """Every split of every token into two tokens, lowest rank first.

    Ranked bytes are merged by the rank of what they become, whichever two parts that is made of.
    """
    work = sum(len(token) ** 2 for token in ranks)
    spelled = {token: _spelled(token) for token in ranks}
    merges: list[tuple[str, str]] = []
    if work > 1 << 26:
        raise BadTokenizer("vocab: the tokens are too long to recover merges from")
    for token in sorted(ranks, key=ranks.__getitem__):
        for at in range(1, len(token)):
            left, right = spelled.get(token[:at]), spelled.get(token[at:])
            if left is not None and right is not None:
                merges.append((left, right))
        if len(merges) > _MAX_SPLITS:
            raise BadTokenizer(f"vocab: has more than {_MAX_SPLITS} splits into two tokens")
    return merges
