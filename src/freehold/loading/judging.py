"""Decoders that judge whether a document answers a query: by which tokens, with which prompt.

Room: loading. A judge is a decoder whose next token is "yes" or "no"; its files say so in one of
the ways below. Source: sentence-transformers 5's LogitScore; the template that llama.cpp's
converter writes for ranking; the form on the cards of the Qwen3 rerankers, whose older files say
nothing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from freehold.errors import BadConfig
from freehold.loading.sentence import keys_of, read_modules

if TYPE_CHECKING:
    from freehold.loading.text import TextSide

__all__ = ["JudgePlan", "is_judge", "read_judge"]

_TEMPLATE = "tokenizer.chat_template"
_NAMED = ("rerank", "reranker")
_ROLES = (re.compile(r"[\"']query[\"']"), re.compile(r"[\"']document[\"']"))
_PLACES = ("{query}", "{document}")

# Where a name is all there is: no other model of that name asks otherwise.
_CLAIM = re.compile(r"qwen[-_ ]?3[-_ ]?(?:vl[-_ ]?)?reranker", re.IGNORECASE)
_MARKS = ("<|im_start|>", "<|im_end|>", "<think>", "</think>")
_FORM = (
    "<|im_start|>system\nJudge whether the Document meets the requirements based on the Query and "
    'the Instruct provided. Note that the answer can only be "yes" or "no".<|im_end|>\n'
    "<|im_start|>user\n<Instruct>: {instruction}\n<Query>: {query}\n<Document>: {document}"
    "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"
)
_INSTRUCTION = "Given a web search query, retrieve relevant passages that answer the query"


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgePlan:
    """The tokens that stand for yes and no, and the prompt after which one of them is said.

    `template` is a chat template that knows the roles query and document, or a text with {query},
    {document} and perhaps {instruction}. `instruction` is what is judged by unless said otherwise;
    None: the template has its own.
    """

    template: str
    yes: int
    no: int
    instruction: str | None = None


def is_judge(folder: Path) -> bool:
    """Whether a directory's modules.json ends in a score of tokens.

    Raises: FormatError, BadConfig.
    """
    return (folder / "modules.json").is_file() and read_modules(folder)[-1][0] == "LogitScore"


def read_judge(path: Path, text: TextSide, name: str) -> JudgePlan | None:
    """How a decoder judges; None for one whose files and name do not say that it does.

    Raises: BadConfig, UnknownConfigKey, FormatError.
    """
    said = _scored(path) if path.is_dir() and is_judge(path) else None
    template = _template_of(text, None if said is None else said.template)
    instruction = None if said is None else said.instruction
    if template is None and (said is not None or _claims(path, name)) and _fits(text):
        template, instruction = _FORM, instruction or _INSTRUCTION
    if template is None:
        if said is None:
            return None
        raise BadConfig(
            "no chat template of the model knows a query and a document",
            expected="a template for the roles query and document",
            found=", ".join(sorted(text.templates)) or "no template",
        )
    tokens = (said.yes, said.no) if said is not None else _answers(text)
    if tokens is None:
        return None
    _check_tokens(tokens, text)
    return JudgePlan(template=template, yes=tokens[0], no=tokens[1], instruction=instruction)


@dataclass(frozen=True, slots=True)
class _Scored:
    yes: int
    no: int
    template: str | None
    instruction: str | None


def _scored(folder: Path) -> _Scored:
    """What the files of a directory with a LogitScore say."""
    modules = read_modules(folder)
    if [kind for kind, _ in modules] != ["Transformer", "LogitScore"]:
        raise BadConfig(
            "modules.json asks for steps that are not carried",
            expected="Transformer, LogitScore",
            found=", ".join(kind for kind, _ in modules)[:80],
        )
    keys = keys_of(folder / modules[1][1] / "config.json", "logit_score")
    keys.absent_or("module_input_name", "causal_logits", "the logits of the next token")
    yes = keys.integer("true_token_id", least=0)
    if not keys.has("false_token_id"):
        raise BadConfig(
            "a score of one token alone is not carried",
            family="logit_score",
            expected="true_token_id and false_token_id",
            found="true_token_id",
        )
    no = keys.integer("false_token_id", least=0)
    keys.finish()
    return _Scored(yes, no, _transformer(folder / modules[0][1]), _instruction(folder))


def _transformer(folder: Path) -> str | None:
    """The name of the chat template that pairs go through, None for the model's first."""
    keys = keys_of(folder / "sentence_bert_config.json", "sentence_bert_config")
    keys.word("transformer_task", default="text-generation", allowed=("text-generation",))
    keys.absent_or("module_output_name", "causal_logits", "the logits of the next token")
    keys.absent_or("do_lower_case", False, "a judge reads texts as they are")
    keys.ignore("modality_config", "how the library calls the network")
    keys.ignore("unpad_inputs", "nothing is padded")
    keys.ignore("max_seq_length", "nothing is shortened unasked; the context bounds a prompt")
    processing = keys.section("processing_kwargs")
    keys.finish()
    chat = processing.section("chat_template")
    processing.ignore("text", "nothing is padded or shortened")
    processing.finish()
    chat.absent_or("add_generation_prompt", True, "the answer is what is judged by")
    named = chat.anything("chat_template")
    chat.finish()
    if named is not None and not isinstance(named, str):
        raise BadConfig("bad value of chat_template", expected="a template's name")
    return named


def _instruction(folder: Path) -> str | None:
    keys = keys_of(folder / "config_sentence_transformers.json", "config_sentence_transformers")
    keys.ignore("__version__", "who wrote the file")
    keys.absent_or("model_type", "CrossEncoder", "a query and a document, one score")
    keys.ignore("similarity_fn_name", "there are no vectors to compare")
    # A probability is given in any case, which orders documents as the bare difference would.
    keys.ignore("activation_fn", "scores are shares of yes, 0 to 1")
    prompts, chosen = keys.section("prompts"), keys.anything("default_prompt_name")
    keys.finish()
    found = prompts.anything(str(chosen)) if chosen is not None else None
    if chosen is not None and not isinstance(found, str):
        raise BadConfig(
            "default_prompt_name names no prompt", value=chosen, found=repr(chosen)[:80]
        )
    return found if isinstance(found, str) else None


def _template_of(text: TextSide, named: str | None) -> str | None:
    """The template for pairs: the one named, else one called so, else the first if it fits."""
    names = [named] if named is not None else [*_NAMED, ""]
    for name in names:
        source = text.templates.get(f"{_TEMPLATE}.{name}" if name else _TEMPLATE)
        if source is not None and (
            all(place in source for place in _PLACES) or all(r.search(source) for r in _ROLES)
        ):
            return source
    return None


def _claims(path: Path, name: str) -> bool:
    return any(_CLAIM.search(said) for said in (name, path.name))


def _fits(text: TextSide) -> bool:
    """Whether the vocabulary has the marks of the form, each as one token."""
    return all(
        len(text.tokenizer.encode(mark, add_bos=False, parse_special=True)) == 1 for mark in _MARKS
    )


def _answers(text: TextSide) -> tuple[int, int] | None:
    """The tokens of yes and no; None where one of them takes several."""
    found = [text.tokenizer.encode(word, add_bos=False) for word in ("yes", "no")]
    return (found[0][0], found[1][0]) if [len(ids) for ids in found] == [1, 1] else None


def _check_tokens(tokens: tuple[int, int], text: TextSide) -> None:
    size = text.tokenizer.vocab_size
    if max(tokens) >= size or tokens[0] == tokens[1]:
        raise BadConfig(
            "the tokens for yes and no are not two of the vocabulary's",
            value=list(tokens),
            expected=f"two of 0 to {size - 1}",
            found=f"{tokens[0]} and {tokens[1]}",
        )
