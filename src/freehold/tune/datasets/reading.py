"""A dataset's file, line by line: which form it has, and what each line is.

Room: tune. The first line says the form unless it was said; every other line must have it too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from freehold.errors import BadDataset
from freehold.tune.datasets.examples import Example, Message, Preference
from freehold.tune.datasets.messages import Where, answer_of, conversation, history, tools_of
from freehold.tune.datasets.rows import OnBad, Row, mapped, read_rows

__all__ = ["FIELDS", "FORMS", "form_of", "read_examples"]

One = Example | Preference

# What each form's lines have, and what they may have.
FIELDS: Mapping[str, tuple[frozenset[str], frozenset[str]]] = {
    "chat": (frozenset({"messages"}), frozenset({"tools"})),
    "completion": (frozenset({"prompt", "completion"}), frozenset({"system"})),
    "text": (frozenset({"text"}), frozenset({"prompt", "completion"})),
    "preference": (frozenset({"chosen", "rejected"}), frozenset({"prompt", "tools", "system"})),
    "preferred_output": (
        frozenset({"input", "preferred_output", "non_preferred_output"}),
        frozenset(),
    ),
}
FORMS = ("auto", "chat", "completion", "text", "preference")

# What other programs add, and what does not change what is learned.
_IGNORED = frozenset({"metadata", "parallel_tool_calls"})


def read_examples(
    path: Path,
    *,
    form: str = "auto",
    mapping: Mapping[str, str] | None = None,
    on_bad: OnBad | None = None,
) -> Iterator[One]:
    """Every example of a file: conversations, texts, or preferences.

    `form` is one of FORMS: `completion` makes a conversation of prompt and completion, `text` a
    plain text. `mapping` names the column of each field, or "=" and a value for all lines; columns
    that it does not name are left out. `on_bad` is told of every line that is none, and reading
    goes on. Raises: BadDataset, naming the line; SetupError; OSError.
    """
    if form not in FORMS:
        raise BadDataset(
            "there is no such form of data", value=form, expected=", ".join(FORMS), found=form
        )
    read: Callable[[Row], One] | None = None
    empty = True
    for row in read_rows(path, on_bad=on_bad):
        empty = False
        try:
            one = mapped(row, mapping) if mapping else row
            if read is None:
                read = _READERS[form_of(one) if form in ("auto", "preference") else form]
            made = read(one)
        except BadDataset as error:
            if on_bad is None:
                raise
            on_bad(error)
            continue
        yield made
    if empty and on_bad is None:
        raise BadDataset("the file holds no example", expected="one a line", found="no line")


def form_of(row: Row) -> str:
    """The form of a row by its fields. Raises: BadDataset."""
    line, values = row
    for name, (needed, _) in FIELDS.items():
        if needed <= values.keys():
            return name
    raise BadDataset(
        "its fields are of no form that is known",
        line=line,
        value=", ".join(sorted(values)[:8]),
        expected="messages; prompt and completion; text; chosen and rejected; or input, "
        "preferred_output and non_preferred_output",
        found=", ".join(sorted(values)[:8]) or "no field",
        hint="name the columns: --map prompt=COLUMN --map completion=COLUMN",
    )


def _checked(row: Row, form: str) -> Where:
    """Raises: BadDataset for fields that are missing or have no meaning."""
    line, values = row
    needed, more = FIELDS[form]
    where = Where(line)
    present = {name for name, value in values.items() if value is not None}
    if missing := sorted(needed - values.keys()):
        raise where.bad(
            f"there is no {missing[0]}",
            expected=", ".join(sorted(needed)),
            said=", ".join(sorted(values)[:8]) or "no field",
        )
    if unknown := sorted(present - needed - more - _IGNORED):
        raise where.bad(
            f"{unknown[0][:40]!r} is no field of this form",
            expected=", ".join(sorted(needed | more)),
            said=unknown[0][:40],
            hint="--map FIELD=COLUMN for each field leaves the other columns out",
        )
    return where


def _chat(row: Row) -> Example:
    where = _checked(row, "chat")
    tools = tools_of(row[1].get("tools"), where / "tools")
    messages = conversation(row[1]["messages"], where / "messages", tools)
    example = Example(messages=messages, tools=tools, line=row[0])
    if not example.turns:
        raise where.bad(
            "nothing in it is learned",
            expected="an assistant's message whose weight is not 0",
            said="weight 0 everywhere",
        )
    return example


def _completion(row: Row) -> Example:
    where = _checked(row, "completion")
    values = row[1]
    prompt, answer = values["prompt"], values["completion"]
    if isinstance(prompt, list):
        told = history(prompt, where / "prompt")
    else:
        told = (*_system(values, where), _user(prompt, where / "prompt"))
    said = answer_of(
        answer if isinstance(answer, list) else _words(answer, where / "completion"),
        where / "completion",
    )
    return Example(messages=(*told, *said), line=row[0])


def _text(row: Row) -> Example:
    line, values = row
    where = Where(line)
    if "text" in values:
        where = _checked(row, "text")
        return Example(text=_words(values["text"], where / "text"), line=line)
    where = _checked(row, "completion")
    return Example(
        before=_words(values["prompt"], where / "prompt"),
        text=_words(values["completion"], where / "completion"),
        line=line,
    )


def _preference(row: Row) -> Preference:
    where = _checked(row, "preference")
    values = row[1]
    tools = tools_of(values.get("tools"), where / "tools")
    chosen, rejected = values["chosen"], values["rejected"]
    prompt = values.get("prompt")
    told: tuple[Message, ...]
    if prompt is None:
        prompt, chosen, rejected = _taken_apart(chosen, rejected, where)
    if isinstance(prompt, list):
        told = history(prompt, where / "prompt", tools)
    else:
        told = (*_system(values, where), _user(prompt, where / "prompt"))
    return _pair(told, chosen, rejected, where, tools)


def _preferred_output(row: Row) -> Preference:
    where = _checked(row, "preferred_output")
    values = row[1]
    given = values["input"]
    at = where / "input"
    if not isinstance(given, dict):
        raise at.bad("is no request", expected='{"messages": [...]}', found=given)
    if unknown := sorted(given.keys() - {"messages", "tools"} - _IGNORED):
        raise at.bad(
            "has a field without meaning", expected="messages, tools", said=unknown[0][:40]
        )
    tools = tools_of(given.get("tools"), at / "tools")
    told = history(given.get("messages"), at / "messages", tools)
    return _pair(told, values["preferred_output"], values["non_preferred_output"], where, tools)


def _pair(
    told: tuple[Message, ...],
    chosen: object,
    rejected: object,
    where: Where,
    tools: tuple[dict[str, Any], ...],
) -> Preference:
    answers = []
    for name, given in (("chosen", chosen), ("rejected", rejected)):
        answer = answer_of(_after(told, given), where / name, tools)
        answer[0].pop("weight", None)
        answers.append(answer)
    if answers[0] == answers[1]:
        raise where.bad(
            "both answers are the same", expected="two answers, one preferred", said="one answer"
        )
    return Preference(
        prompt=told, chosen=answers[0], rejected=answers[1], line=where.line, tools=tools
    )


def _after(told: tuple[Message, ...], given: object) -> object:
    """An answer that came with its whole conversation, without that."""
    if not isinstance(given, list) or len(given) < 2:
        return given
    before = [(m.get("role"), m.get("content")) for m in given[:-1] if isinstance(m, dict)]
    words = [(message["role"], message["content"]) for message in told]
    # A prompt that is one text stands for the last message of the user's.
    return given[-1:] if before in (words, words[1:]) else given


def _taken_apart(chosen: object, rejected: object, where: Where) -> tuple[list[Any], Any, Any]:
    """Two whole conversations: what they share, and how each ends."""
    if not isinstance(chosen, list) or not isinstance(rejected, list):
        raise where.bad(
            "there is no prompt", expected="a prompt, or two whole conversations", said="answers"
        )
    if len(chosen) < 2 or chosen[:-1] != rejected[:-1]:
        raise where.bad(
            "the two conversations are not the same up to the last message",
            expected="the same messages before both answers",
            said=f"{len(chosen)} and {len(rejected)} messages",
        )
    return chosen[:-1], chosen[-1:], rejected[-1:]


def _words(given: object, where: Where) -> str:
    if not isinstance(given, str) or not given.strip():
        said = "" if given else "none"
        raise where.bad("is no text", expected="some text", said=said, found=given)
    return given


def _user(given: object, where: Where) -> Message:
    return {"role": "user", "content": _words(given, where)}


def _system(values: Mapping[str, Any], where: Where) -> tuple[Message, ...]:
    if values.get("system") in (None, ""):
        return ()
    return ({"role": "system", "content": _words(values["system"], where / "system")},)


_READERS: Mapping[str, Callable[[Row], One]] = {
    "chat": _chat,
    "completion": _completion,
    "text": _text,
    "preference": _preference,
    "preferred_output": _preferred_output,
}
