"""How an embedder's tokens become one vector, from the files that sentence-transformers leaves.

Room: loading. Must not know any family. Every key is honoured, ignored with a reason, or refused.
Source: sentence-transformers 2 to 5, the saved form of its modules.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from freehold.errors import BadConfig
from freehold.formats.json_file import read_json_list, read_json_object
from freehold.loading.keys import Keys

__all__ = ["SentencePlan", "keys_of", "read_modules", "read_sentence_plan"]

_FOLDER = re.compile(r"(?:[A-Za-z0-9_][A-Za-z0-9_.-]{0,63})?")
_POOLINGS = {
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_cls_token": "cls",
    "pooling_mode_lasttoken": "last",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt",
    "pooling_mode_weightedmean_tokens": "weightedmean",
}
_CARRIED = ("mean", "cls", "last", "max", "mean_sqrt")
_MOST_TOKENS = 1 << 20


@dataclass(frozen=True)
class SentencePlan:
    """How texts are read and tokens pooled; `prompts` are the model's, put before no text unasked.

    `pooling` is one of `ops.POOLINGS`.
    """

    pooling: str
    normalise: bool
    max_tokens: int
    lower_case: bool = False
    prompts: Mapping[str, str] = field(default_factory=dict)


def read_sentence_plan(folder: Path, *, width: int, context_tokens: int) -> SentencePlan:
    """The plan that modules.json and the files it names describe.

    Raises: BadConfig, UnknownConfigKey, FormatError.
    """
    modules = read_modules(folder)
    kinds = [kind for kind, _ in modules]
    if kinds not in (["Transformer", "Pooling"], ["Transformer", "Pooling", "Normalize"]):
        raise BadConfig(
            "modules.json asks for steps that are not carried",
            expected="Transformer, Pooling, and Normalize or nothing",
            found=", ".join(kinds)[:80],
        )
    lower_case, max_tokens = _transformer(folder / modules[0][1], context_tokens)
    return SentencePlan(
        pooling=_pooling(folder / modules[1][1] / "config.json", width),
        normalise=len(kinds) == 3,
        max_tokens=max_tokens,
        lower_case=lower_case,
        prompts=_prompts(folder / "config_sentence_transformers.json"),
    )


def read_modules(folder: Path) -> list[tuple[str, str]]:
    """(class name, folder) of each step that modules.json lists. Raises: BadConfig, FormatError."""
    path = folder / "modules.json"
    if not path.is_file():
        raise BadConfig(
            "the directory does not say how tokens become a vector",
            expected="modules.json, as sentence-transformers saves it",
            found="no such file",
            hint="fetch the model's other files into the same directory",
        )
    found = []
    for module in read_json_list(path):
        if not isinstance(module, dict) or not module.keys() <= {"idx", "name", "path", "type"}:
            raise _bad(path, "a list of idx, name, path and type")
        kind, where = module.get("type"), module.get("path")
        if not isinstance(kind, str) or not isinstance(where, str) or not _FOLDER.fullmatch(where):
            raise _bad(path, "types and plain folder names")
        found.append((kind.rsplit(".", 1)[-1], where))
    return found


def _transformer(folder: Path, context_tokens: int) -> tuple[bool, int]:
    """Whether texts are lower-cased first, and how many tokens one may have."""
    keys = keys_of(folder / "sentence_bert_config.json", "sentence_bert_config")
    limits = [context_tokens]
    if keys.metadata.get("sentence_bert_config.max_seq_length") is None:
        keys.ignore("max_seq_length", "null: the model's own")
        tokenizer = folder / "tokenizer_config.json"
        limit = read_json_object(tokenizer).get("model_max_length") if tokenizer.is_file() else None
        if isinstance(limit, int) and 0 < limit <= _MOST_TOKENS:
            limits.append(limit)
    else:
        limits.append(keys.integer("max_seq_length", least=3, most=_MOST_TOKENS))
    lower_case = keys.truth("do_lower_case", default=False)
    keys.finish()
    return lower_case, min(limits)


def _pooling(path: Path, width: int) -> str:
    if not path.is_file():
        raise BadConfig("the pooling's config.json is missing", expected=str(path.parent.name))
    keys = keys_of(path, "pooling")
    keys.absent_or("word_embedding_dimension", width, "the model's width")
    keys.absent_or("embedding_dimension", width, "the model's width")
    keys.absent_or("include_prompt", True, "a prompt's tokens are pooled too")
    named = keys.metadata.get("pooling.pooling_mode")
    chosen = [kind for key, kind in _POOLINGS.items() if keys.truth(key, default=False)]
    keys.ignore("pooling_mode", "read here: the newer form, a word or a list of one")
    chosen += [
        str(kind) for kind in (named if isinstance(named, list) else [named] if named else [])
    ]
    keys.finish()
    chosen = list(dict.fromkeys("last" if kind == "lasttoken" else kind for kind in chosen))
    chosen = ["mean_sqrt" if kind == "mean_sqrt_len_tokens" else kind for kind in chosen]
    if len(chosen) != 1 or chosen[0] not in _CARRIED:
        raise BadConfig(
            "this way of pooling is not carried",
            family="pooling",
            expected="one of " + ", ".join(_CARRIED),
            found=" and ".join(chosen)[:80] or "none",
        )
    return chosen[0]


def _prompts(path: Path) -> Mapping[str, str]:
    if not path.is_file():
        return MappingProxyType({})
    keys = keys_of(path, "config_sentence_transformers")
    keys.ignore("__version__", "who wrote the file")
    keys.ignore("similarity_fn_name", "vectors are given; comparing them is the asker's")
    keys.absent_or("model_type", "SentenceTransformer", "one text, one dense vector")
    keys.absent_or("default_prompt_name", None, "no text gets a prompt unasked")
    prompts = keys.metadata.get("config_sentence_transformers.prompts") or {}
    keys.ignore("prompts", "read here")
    keys.finish()
    if not isinstance(prompts, dict) or not all(isinstance(p, str) for p in prompts.values()):
        raise _bad(path, "prompts that are texts")
    return MappingProxyType(prompts)


def keys_of(path: Path, name: str) -> Keys:
    """The keys of a small JSON file, by the name that errors give it; none where it is absent."""
    found = read_json_object(path) if path.is_file() else {}
    return Keys({f"{name}.{key}": value for key, value in found.items()}, name)


def _bad(path: Path, expected: str) -> BadConfig:
    return BadConfig(f"{path.name} is not what it should be", expected=expected)
