"""How each kind of byte-level vocabulary cuts text into words before merging.

Room: tokenizer. A table of facts; must not know files or vocabularies. The patterns are those of
the models' own tokenizer.json files, which the `tokenizers` library runs as they stand; a runtime
with a weaker regex engine has to rewrite them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tokenizers import Regex, normalizers, pre_tokenizers
from tokenizers.normalizers import Normalizer
from tokenizers.pre_tokenizers import PreTokenizer

from freehold.errors import UnknownTokenizer

__all__ = ["SPLITS", "WordSplit", "runnable", "split_name_of", "split_named"]


@dataclass(frozen=True, slots=True)
class WordSplit:
    """One way of cutting text into words: each pattern in turn isolates its matches.

    `whole_words` takes a word that is itself a token without trying merges. `adds_bos` is what
    such files mean when they do not say. `composes` puts text into Unicode NFC first.
    """

    patterns: tuple[str, ...]
    whole_words: bool = False
    adds_bos: bool = False
    composes: bool = False

    def pre_tokenizer(self) -> PreTokenizer:
        """The library's object for this split, ending in the byte alphabet."""
        stages: list[PreTokenizer] = [
            pre_tokenizers.Split(Regex(pattern), behavior="isolated") for pattern in self.patterns
        ]
        stages.append(pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False))
        return pre_tokenizers.Sequence(stages)

    def normalizer(self) -> Normalizer | None:
        """The library's object that prepares text for this split, if there is anything to do."""
        return normalizers.NFC() if self.composes else None


_CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_LINES_AND_SPACES = r"|\s*[\r\n]+|\s+(?!\S)|\s+"

_GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
_LLAMA3 = (
    _CONTRACTIONS
    + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    + _LINES_AND_SPACES
)
_QWEN2 = (
    _CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*" + _LINES_AND_SPACES
)
_QWEN35 = (
    _CONTRACTIONS
    + r"|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*"
    + _LINES_AND_SPACES
)
# Words by letter case: capitals then small letters, or capitals alone.
_CAPITALISED = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+",
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*",
)
_TEKKEN = "|".join(_CAPITALISED) + r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*" + _LINES_AND_SPACES
_GPT4O = (
    "|".join(word + _CONTRACTIONS + "?" for word in _CAPITALISED)
    + r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*"
    + _LINES_AND_SPACES
)
_DEEPSEEK3 = (
    "[!\"#$%&'()*+,"
    r"\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"
    r"| ?[\p{P}\p{S}]+[\r\n]*" + _LINES_AND_SPACES
)
# Escaped, since several look like plain letters and editors may normalise them away.
_DEEPSEEK_LETTERS = (
    "A-Za-z\u00b5\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u01ba\u01bc-\u01bf\u01c4-\u0293\u0295-\u02af"
    "\u0370-\u0373\u0376\u0377\u037b-\u037d\u037f\u0386\u0388-\u038a\u038c\u038e-\u03a1\u03a3-"
    "\u03f5\u03f7-\u0481\u048a-\u052f\u0531-\u0556\u10a0-\u10c5\u13a0-\u13f5\u13f8-\u13fd\u1c90"
    "-\u1cba\u1cbd-\u1cbf\u1d00-\u1d2b\u1d6b-\u1d77\u1d79-\u1d9a\u1e00-\u1f15\u1f18-\u1f1d"
    "\u1f20-\u1f45\u1f48-\u1f4d\u1f50-\u1f57\u1f59\u1f5b\u1f5d\u1f5f-\u1f7d\u1f80-\u1fb4\u1fb6-"
    "\u1fbc\u1fbe\u1fc2-\u1fc4\u1fc6-\u1fcc\u1fd0-\u1fd3\u1fd6-\u1fdb\u1fe0-\u1fec\u1ff2-\u1ff4"
    "\u1ff6-\u1ffc\u2102\u2107\u210a-\u2113\u2115\u2119-\u211d\u2124\u2126\u2128\u212a-\u212d"
    "\u212f-\u2134\u2139\u213c-\u213f\u2145-\u2149\u214e\u2183\u2184\u2c00-\u2c7b\u2c7e-\u2ce4"
    "\u2ceb-\u2cee\u2cf2\u2cf3\ua640-\ua66d\ua680-\ua69b\ua722-\ua76f\ua771-\ua787\ua78b-\ua78e"
    "\uab70-\uabbf\ufb00-\ufb06\ufb13-\ufb17\uff21-\uff3a\uff41-\uff5a\U00010400-\U0001044f"
    "\U000104b0-\U000104d3\U000104d8-\U000104fb\U00010c80-\U00010cb2\U00010cc0-\U00010cf2"
    "\U000118a0-\U000118df\U0001e900-\U0001e943"
)
_DEEPSEEK_CJK = "[一-龥ࠀ-一가-퟿]+"

_LLAMA3_SPLIT = WordSplit((_LLAMA3,), whole_words=True, adds_bos=True)
_GPT2_SPLIT = WordSplit((_GPT2,))
_DIGIT_GPT2_SPLIT = WordSplit((r"\p{N}", _GPT2))
_CL100K_SPLIT = WordSplit((_LLAMA3,))
_GPT4O_SPLIT = WordSplit((_GPT4O,))
_GLM4_SPLIT = WordSplit((_LLAMA3,), whole_words=True)

# By `tokenizer.ggml.pre`. A name belongs here only when its pattern is known to be the model's.
SPLITS: dict[str, WordSplit] = {
    "llama-bpe": _LLAMA3_SPLIT,
    "llama3": _LLAMA3_SPLIT,
    "llama-v3": _LLAMA3_SPLIT,
    "falcon3": _LLAMA3_SPLIT,
    "lfm2": _LLAMA3_SPLIT,
    "smaug-bpe": _CL100K_SPLIT,
    "dbrx": _CL100K_SPLIT,
    "glm4": _GLM4_SPLIT,
    "glm5": _GLM4_SPLIT,
    "chatglm-bpe": _CL100K_SPLIT,
    "qwen2": WordSplit((_QWEN2,), composes=True),
    "qwen35": WordSplit((_QWEN35,), composes=True),
    "deepseek-r1-qwen": WordSplit((_QWEN2,)),
    "tekken": WordSplit((_TEKKEN,), whole_words=True, adds_bos=True),
    "gpt-4o": _GPT4O_SPLIT,
    "llama4": _GPT4O_SPLIT,
    "deepseek-v3": WordSplit((r"\p{N}{1,3}", "[一-龥぀-ゟ゠-ヿ]+", _DEEPSEEK3)),
    "deepseek-llm": WordSplit(
        (
            r"[\r\n]",
            rf"\s?[{_DEEPSEEK_LETTERS}]+",
            r"\s?[!-/:-~！-／：-～‘-‟　-。]+",
            # The model's own pattern is `\s+$`. The lookbehind changes no match, since a run of
            # spaces is tried from its start first, and keeps long runs from costing their square.
            r"(?<!\s)\s+$",
            _DEEPSEEK_CJK,
            r"\p{N}",
        )
    ),
    "deepseek-coder": WordSplit((r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", _DEEPSEEK_CJK, r"\p{N}")),
    "smollm": _DIGIT_GPT2_SPLIT,
    "starcoder": _DIGIT_GPT2_SPLIT,
    "refact": _DIGIT_GPT2_SPLIT,
    "codeshell": _DIGIT_GPT2_SPLIT,
    "gpt-2": _GPT2_SPLIT,
    "phi-2": _GPT2_SPLIT,
    "olmo": WordSplit((_GPT2,), composes=True),
    # What converters write when they do not know better; this is how such files are read.
    "default": WordSplit((r"[\p{P}\$\+<=>\^~\|]+", _GPT2, r"\p{N}+", "[0-9][0-9][0-9]")),
}

# What a file may spell otherwise than the table runs it, with the same matches.
_SAFER = {r"\s+$": r"(?<!\s)\s+$"}
_RUNNABLE = {pattern for split in SPLITS.values() for pattern in split.patterns}


def runnable(pattern: str) -> str | None:
    """A file's expression in the form that is safe to run; None for one that is not known.

    The expressions of the table are known to take a text's length, not its square.
    """
    pattern = pattern.replace("\r", r"\r").replace("\n", r"\n")
    pattern = _SAFER.get(pattern, pattern)
    return pattern if pattern in _RUNNABLE else None


def split_named(name: str | None) -> WordSplit:
    """The split that a file asks for by `tokenizer.ggml.pre`.

    Raises: UnknownTokenizer for an absent or unknown name. Guessing would cut words where the
    model never saw them cut, and degrade its answers without a word.
    """
    split = SPLITS.get(name) if name is not None else None
    if split is None:
        raise UnknownTokenizer(
            "tokenizer.ggml.pre names a way of cutting words that is not known",
            value=name,
            expected=f"one of {', '.join(sorted(SPLITS))}",
            found="nothing" if name is None else repr(name[:80]),
            hint="convert the model again with a current converter"
            if name is None
            else "use a model whose tokenizer is in the list",
        )
    return split


def split_name_of(fields: Mapping[str, Any]) -> str:
    """GGUF's name for how a byte-level tokenizer.json cuts words.

    Raises: UnknownTokenizer where no name of the table means the same.
    """
    wanted = _described(fields)
    for name, split in SPLITS.items():
        if split.patterns == wanted.patterns and (
            (split.whole_words, split.composes) == (wanted.whole_words, wanted.composes)
        ):
            return name
    raise UnknownTokenizer(
        "GGUF has no name for the way in which this tokenizer cuts words",
        expected=f"as one of {', '.join(sorted(SPLITS))}",
        found=repr(wanted.patterns)[:80],
        hint="start from a GGUF file of the model",
    )


def _described(fields: Mapping[str, Any]) -> WordSplit:
    """The split of a tokenizer.json, as far as the table's words go."""
    first = fields.get("pre_tokenizer") or {}
    stages = first.get("pretokenizers", [first]) if isinstance(first, dict) else []
    patterns: list[str] = []
    for stage in stages:
        match stage:
            case {"type": "Split", "pattern": {"Regex": str(pattern)}}:
                patterns.append(runnable(pattern) or pattern)
            case {"type": "Digits", "individual_digits": True}:
                patterns.append(r"\p{N}")
            case {"type": "ByteLevel", "use_regex": False}:
                pass
            case {"type": "ByteLevel"}:
                patterns.append(_GPT2)
            case _:
                patterns.append("")
    normalizer, model = fields.get("normalizer"), fields.get("model") or {}
    return WordSplit(
        tuple(patterns),
        whole_words=bool(model.get("ignore_merges")),
        composes=isinstance(normalizer, dict) and normalizer.get("type") == "NFC",
    )
