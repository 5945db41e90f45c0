"""How each data set's rows are asked: the prompt, the choices or references, which is right.

Room: evals. Rows in, items out; must not know files or models.

The prompts and targets are those that lm-eval 0.4 defines for its tasks of the same names, so that
figures can be compared: https://github.com/EleutherAI/lm-evaluation-harness, `lm_eval/tasks`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from freehold.evals.items import Item, Pair

__all__ = ["ASKED", "Row", "mmlu_item", "mmlu_shots"]

Row = Mapping[str, Any]
_LETTERS = "ABCDE"
_BRACKETS = re.compile(r"\[.*?\]")


def _choices(number: int, prompt: str, choices: Sequence[str], gold: int) -> Item:
    pairs = tuple(Pair(prompt, f" {choice}") for choice in choices)
    return Item(id=str(number), prompt=prompt, choices=pairs, gold=gold)


def _arc(number: int, row: Row) -> Item:
    choices = row["choices"]
    gold = choices["label"].index(row["answerKey"])
    return _choices(number, f"Question: {row['question']}\nAnswer:", choices["text"], gold)


def _hellaswag(number: int, row: Row) -> Item:
    context = f"{row['ctx_a']} {row['ctx_b'].capitalize()}"
    prompt = _tidy(f"{row['activity_label']}: {context}")
    return _choices(number, prompt, [_tidy(end) for end in row["endings"]], int(row["label"]))


def _tidy(text: str) -> str:
    """Without the marks of the articles that the endings were taken from."""
    text = text.strip().replace(" [title]", ". ")
    return _BRACKETS.sub("", text).replace("  ", " ")


def _piqa(number: int, row: Row) -> Item:
    prompt = f"Question: {row['goal']}\nAnswer:"
    return _choices(number, prompt, [row["sol1"], row["sol2"]], int(row["label"]))


def _winogrande(number: int, row: Row) -> Item:
    """The same ending after each name: what is weighed is the ending, not the name."""
    at = row["sentence"].index("_")
    before, ending = row["sentence"][:at], row["sentence"][at + 1 :].strip()
    pairs = tuple(Pair(before + row[name], f" {ending}") for name in ("option1", "option2"))
    return Item(id=str(number), prompt=before, choices=pairs, gold=int(row["answer"]) - 1)


def _boolq(number: int, row: Row) -> Item:
    prompt = f"{row['passage']}\nQuestion: {row['question']}?\nAnswer:"
    return _choices(number, prompt, ["no", "yes"], int(row["answer"]))


def _openbookqa(number: int, row: Row) -> Item:
    choices = row["choices"]
    gold = choices["label"].index(row["answerKey"].lstrip())
    return _choices(number, row["question_stem"], choices["text"], gold)


def _lettered(question: str, choices: Sequence[str]) -> str:
    told = "".join(f"{_LETTERS[i]}. {choice}\n" for i, choice in enumerate(choices))
    return f"{question}\n{told}Answer:"


def _commonsenseqa(number: int, row: Row) -> Item:
    texts = row["choices"]["text"]
    prompt = _lettered(f"Question: {row['question'].strip()}", texts)
    return _choices(number, prompt, _LETTERS[: len(texts)], _LETTERS.index(row["answerKey"]))


def _sciq(number: int, row: Row) -> Item:
    prompt = f"{row['support'].lstrip()}\nQuestion: {row['question']}\nAnswer:"
    wrong = [row[f"distractor{i}"] for i in (1, 2, 3)]
    return _choices(number, prompt, [*wrong, row["correct_answer"]], 3)


def _social_iqa(number: int, row: Row) -> Item:
    prompt = f"Q: {row['context']} {row['question']}\nA:"
    choices = [row[f"answer{letter}"] for letter in "ABC"]
    return _choices(number, prompt, choices, int(row["label"]) - 1)


def _sst2(number: int, row: Row) -> Item:
    prompt = f"{row['sentence']}\nQuestion: Is this sentence positive or negative?\nAnswer:"
    return _choices(number, prompt, ["negative", "positive"], int(row["label"]))


def _rte(number: int, row: Row) -> Item:
    prompt = f"{row['sentence1']}\nQuestion: {row['sentence2']} True or False?\nAnswer:"
    return _choices(number, prompt, ["True", "False"], int(row["label"]))


def _mrpc(number: int, row: Row) -> Item:
    prompt = (
        f"Sentence 1: {row['sentence1']}\nSentence 2: {row['sentence2']}\n"
        "Question: Do both sentences mean the same thing?\nAnswer:"
    )
    return _choices(number, prompt, ["no", "yes"], int(row["label"]))


def _nq_open(number: int, row: Row) -> Item:
    prompt = f"Answer these questions:\n\nQ: {row['question']}?\nA:"
    return Item(id=str(number), prompt=prompt, references=tuple(row["answer"]))


def _triviaqa(number: int, row: Row) -> Item:
    prompt = f"Question: {row['question']}?\nAnswer:"
    return Item(id=str(number), prompt=prompt, references=tuple(row["answer"]["aliases"]))


def _lambada(number: int, row: Row) -> Item:
    asked = row["request"]
    pair = Pair(asked["context"], asked["continuation"])
    return Item(id=str(number), prompt=pair.prompt, choices=(pair,), gold=0)


def _gsm8k(number: int, row: Row) -> Item:
    answer = str(row["doc"]["short_answer"])
    return Item(id=str(number), prompt=row["request"]["context"], references=(answer,))


def _humaneval(number: int, row: Row) -> Item:
    del number
    return Item(
        id=str(row["task_id"]),
        prompt=row["prompt"],
        fields={"before": row["prompt"], "after": f"{row['test']}\ncheck({row['entry_point']})"},
    )


def mmlu_item(number: int, row: Row, group: str, before: str) -> Item:
    """A question of one subject, after what comes first for all of that subject."""
    prompt = before + _lettered(row["question"].strip(), row["choices"])
    pairs = tuple(Pair(prompt, f" {letter}") for letter in _LETTERS[:4])
    return Item(
        id=f"{group}/{number}", prompt=prompt, choices=pairs, gold=int(row["answer"]), group=group
    )


def mmlu_shots(subject: str, examples: Sequence[Row]) -> str:
    """What comes before each question: what it is about, and examples with their answers."""
    about = subject.replace("_", " ")
    head = f"The following are multiple choice questions (with answers) about {about}.\n\n"
    told = (
        f"{_lettered(row['question'].strip(), row['choices'])} {_LETTERS[int(row['answer'])]}\n\n"
        for row in examples
    )
    return head + "".join(told)


ASKED: Mapping[str, Callable[[int, Row], Item]] = {
    "arc": _arc,
    "hellaswag": _hellaswag,
    "piqa": _piqa,
    "winogrande": _winogrande,
    "boolq": _boolq,
    "openbookqa": _openbookqa,
    "commonsenseqa": _commonsenseqa,
    "sciq": _sciq,
    "social-iqa": _social_iqa,
    "sst2": _sst2,
    "rte": _rte,
    "mrpc": _mrpc,
    "nq-open": _nq_open,
    "triviaqa": _triviaqa,
    "lambada": _lambada,
    "gsm8k": _gsm8k,
    "humaneval": _humaneval,
}
"""By the name of the prompt in the catalogue. `mmlu`, `choices` and `text` have their own ways."""
