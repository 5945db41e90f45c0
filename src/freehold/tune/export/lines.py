"""The lines that an export is compared with its adapter on.

Room: tune. Reads texts; must not know models or records.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from freehold.chat.dialects import dialect_of
from freehold.chat.prompts import prompt_tokens
from freehold.chat.templates import ChatTemplate
from freehold.errors import BadExport, FormatError, RequestError
from freehold.formats.json_file import SMALL, parse_object
from freehold.loading.text import TextSide
from freehold.quantize.texts import LEAST_TOKENS, built_in, read_texts
from freehold.tune.export.drift import Lines, Said
from freehold.tune.probes import CONVERSATIONS

__all__ = ["read_lines"]

_CHATS = (".jsonl", ".json")
_MAX_BYTES = 16 << 20


def read_lines(text: TextSide, path: Path | None, *, tokens: int) -> Lines:
    """At most so many tokens of a file, in whole lines; what comes with Freehold without one.

    Of conversations only the answers are compared; of other texts every token.
    Raises: BadExport, and what a data set's reader raises.
    """
    if path is None:
        said = [*_own_conversations(text), *_prose(text, built_in(), tokens)]
        return Lines.of(_first(said, tokens), "built-in text")
    if path.suffix in _CHATS:
        return Lines.of(_first(_conversations(text, path), tokens), path.name)
    return Lines.of(_first(_prose(text, path, tokens), tokens), path.name)


def _first(said: Sequence[Said], tokens: int) -> list[Said]:
    """The first lines that fit; at least one."""
    kept: list[Said] = []
    used = 0
    for line in said:
        if kept and used + len(line.ids) > tokens:
            break
        kept.append(line)
        used += len(line.ids)
    return kept


def _prose(text: TextSide, path: Path, tokens: int) -> list[Said]:
    texts = read_texts(
        text.tokenizer,
        (path,),
        path,
        calibration_tokens=0,
        held_out_tokens=max(tokens, LEAST_TOKENS),
    )
    return [Said(ids, (True,) * len(ids)) for ids in texts.held_out]


def _own_conversations(text: TextSide) -> Iterator[Said]:
    """Those of the fixed conversations that this template can render."""
    if not text.templates:
        return
    template = ChatTemplate.from_metadata(text.templates, text.tokenizer)
    for messages in CONVERSATIONS.values():
        if any(message.get("tool_calls") for message in messages):
            continue
        try:
            yield from _answers(messages, template, text)
        except RequestError:  # a form of conversation that the model was not taught
            continue


def _answers(
    messages: Sequence[Mapping[str, Any]], template: ChatTemplate, text: TextSide
) -> Iterator[Said]:
    """Each answer after the prompt that the server would make of what comes before it."""
    dialect = dialect_of(template.source)
    for place, message in enumerate(messages):
        if message["role"] != "assistant" or not message["content"]:
            continue
        prompt = prompt_tokens(template, text.tokenizer, messages[:place], dialect=dialect).tokens
        answer = text.tokenizer.encode(str(message["content"]), add_bos=False)
        if text.tokenizer.eos_id is not None:
            answer.append(text.tokenizer.eos_id)
        ids = (*prompt, *answer)
        yield Said(ids, (False,) * len(prompt) + (True,) * len(answer))


def _conversations(text: TextSide, path: Path) -> list[Said]:
    if not text.templates:
        raise BadExport(
            "this model has no chat template, so conversations cannot be its lines",
            value=path.name,
            expected="a plain text",
            found=path.suffix,
        )
    template = ChatTemplate.from_metadata(text.templates, text.tokenizer)
    return [said for line in _messages(path) for said in _answers(line, template, text)]


def _messages(path: Path) -> Iterator[Sequence[Mapping[str, Any]]]:
    """The conversations of a JSON-lines file. Raises: BadExport naming the line."""
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise BadExport(
                "the file is larger than is of use",
                value=path.name,
                expected=f"at most {_MAX_BYTES} bytes",
                found=f"{path.stat().st_size} bytes",
            )
        lines = path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise BadExport(
            "the lines cannot be read", value=path.name, found=type(error).__name__
        ) from error
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            found = parse_object(path, line.encode(), SMALL).get("messages")
        except FormatError as error:
            raise _bad_line(path, number, error.message) from error
        if not isinstance(found, list) or not all(map(_is_message, found)):
            raise _bad_line(path, number, "no list of messages with role and content")
        yield found


def _is_message(said: object) -> bool:
    return isinstance(said, dict) and isinstance(said.get("role"), str) and "content" in said


def _bad_line(path: Path, number: int, found: str) -> BadExport:
    return BadExport(
        f"line {number} of {path.name} is no conversation",
        value=number,
        expected='{"messages": [{"role": ..., "content": ...}, ...]}',
        found=found,
    )
