"""What a model would have said: an answer as the tokens that follow the prompt of its history.

Room: chat. Knows templates, dialects and a tokenizer's face; must not know training or requests.
The prompt is the one that is served; the answer is the template's own text of it, ended where an
answer ends, and accepted only if it is read back as what was to be said.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from freehold.chat.control import ControlStrings
from freehold.chat.guarding import Given, Marks, encode, free_marks
from freehold.chat.history import normalised
from freehold.chat.parsing import AnswerParser
from freehold.chat.pieces import CallArguments, CallStart, Reasoning, Text
from freehold.chat.prompts import RenderedPrompt, prompt_tokens
from freehold.chat.reasoning import ReasoningFormat, reasoning_of, thinking_variables
from freehold.chat.rendering import Rendering
from freehold.chat.tools import Tool
from freehold.errors import TemplateError

if TYPE_CHECKING:
    from freehold.chat.dialects import Dialect
    from freehold.chat.templates import ChatTemplate
    from freehold.tokenizer import Tokenizer

__all__ = ["Read", "Speaker", "Turn", "continuation", "shown_specials"]

Message = Mapping[str, Any]


def shown_specials(
    tokenizer: Tokenizer, dialect: Dialect, reasoning: ReasoningFormat | None
) -> frozenset[int]:
    """The control tokens that whoever reads an answer must see."""
    shown = {*dialect.markers, *(reasoning.markers if reasoning else ())}
    control = ControlStrings.of(tokenizer)
    # A mark may be more than one control token, and text beside it.
    return frozenset(
        part for mark in shown for part in control.split(mark) if isinstance(part, int)
    )


@dataclass(frozen=True)
class Turn:
    """A prompt's tokens and the answer's, which end with a token that ends answers."""

    prompt: list[int]
    said: list[int]


@dataclass(frozen=True)
class Read:
    """An answer as a server takes it apart: text, reasoning, calls as (name, arguments)."""

    text: str
    reasoning: str
    calls: tuple[tuple[str, Any], ...] = ()

    @property
    def bare(self) -> Read:
        """Without the white space that templates take off or put around the parts."""
        return Read(self.text.strip(), self.reasoning.strip(), self.calls)


class Speaker:
    """A model's template, dialect and tokenizer, as they are served."""

    def __init__(
        self,
        template: ChatTemplate,
        tokenizer: Tokenizer,
        dialect: Dialect,
        *,
        thinking: bool | None = None,
    ) -> None:
        self._template, self._tokenizer, self._dialect = template, tokenizer, dialect
        self._thinking = thinking
        self._reasoning = reasoning_of(template.source)
        self._names = thinking_variables(self._reasoning, thinking, {})
        self._control = ControlStrings.of(tokenizer)
        marks = self._reasoning.markers if self._reasoning else ()
        self._own = ControlStrings.written(tokenizer, [*dialect.markers, *marks])
        self._shown = shown_specials(tokenizer, dialect, self._reasoning)

    def turn(self, messages: Sequence[Message], tools: Sequence[Tool] = ()) -> Turn:
        """The answer that the last message is, after the prompt of those before it.

        Raises: TemplateError when the template refuses the messages, or writes no answer that is
        read back as the last one; BadRequest as `prompt_tokens`.
        """
        *history, message = messages
        prompt = prompt_tokens(
            self._template,
            self._tokenizer,
            history,
            dialect=self._dialect,
            tools=tools,
            thinking=self._thinking,
        )
        wanted = self._wanted(message)
        read = None
        for said in self._answers(history, message, wanted, tools, prompt):
            read = self.read(said, tools, prompt)
            if read.bare == wanted.bare:
                return Turn(prompt.tokens, said)
        raise _unsaid(wanted, read)

    def read(self, said: Sequence[int], tools: Sequence[Tool], prompt: RenderedPrompt) -> Read:
        """The answer as a server takes it apart."""
        parser = AnswerParser(
            self._dialect,
            tools,
            reasoning=self._reasoning,
            starts_in_reasoning=prompt.starts_in_reasoning,
            tool_calls=bool(tools),
        )
        seen = [t for t in said if t in self._shown or not self._tokenizer.is_special(t)]
        text = self._tokenizer.decode(seen, skip_special=False, continuing=True)
        texts: dict[type, str] = {Text: "", Reasoning: ""}
        calls: list[tuple[str, str]] = []
        for piece in [*parser.push(text), *parser.finish()]:
            if isinstance(piece, CallStart):
                calls.append((piece.name, ""))
            elif isinstance(piece, CallArguments):
                calls[-1] = (calls[-1][0], calls[-1][1] + piece.text)
            else:
                texts[type(piece)] += piece.text
        # What is no JSON equals nothing that was to be called.
        return Read(texts[Text], texts[Reasoning], tuple((n, _json(a)) for n, a in calls))

    def _wanted(self, message: Message) -> Read:
        """What the message says, with reasoning that stands in its text taken out."""
        (plain,) = normalised([message])
        content, thought = str(plain["content"]), str(plain.get("reasoning_content") or "")
        format_ = self._reasoning
        if format_ and not thought and content.lstrip().startswith(format_.start):
            begun, end, rest = content.lstrip().partition(format_.end)
            if end:
                content, thought = rest.lstrip("\n"), begun.removeprefix(format_.start)
        functions = [call["function"] for call in plain.get("tool_calls", ())]
        return Read(content, thought, tuple((f["name"], f["arguments"]) for f in functions))

    def _answers(
        self,
        history: Sequence[Message],
        message: Message,
        wanted: Read,
        tools: Sequence[Tool],
        prompt: RenderedPrompt,
    ) -> Iterator[list[int]]:
        """The answer's tokens: as the template writes them, then with reasoning put in."""
        plain = {key: value for key, value in message.items() if key != "reasoning_content"}
        plain["content"] = wanted.text
        full = {**plain, "reasoning_content": wanted.reasoning} if wanted.reasoning else plain
        texts = _Texts(self, [*history, full], tools)
        before = texts.prompt(history)
        whole = texts.whole([*history, full])
        if whole.startswith(before):
            yield self._tokens(before, whole[len(before) :], texts.marks, prompt)
        composed = self._composed(
            before, texts.whole([*history, plain]), texts.safe(wanted.reasoning)
        )
        if composed is not None:
            yield self._tokens(before, composed, texts.marks, prompt)

    def _composed(self, before: str, whole: str, thought: str) -> str | None:
        """The answer where a template opens reasoning in prompts, or leaves it out."""
        if self._reasoning is None:
            return None
        begin, opening = _opening(before, self._reasoning)
        if not whole.startswith(begin):
            return None
        body = _without_block(whole[len(begin) :], self._reasoning)
        if self._reasoning.end in opening:
            return None if thought else body
        if not thought and not opening:
            return body
        block = self._reasoning.block(thought)
        if opening:
            opened = opening if block.startswith(opening) else self._reasoning.start
            block = block.removeprefix(opened)
        return block + self._dialect.answer(body)

    def _tokens(self, before: str, said: str, marks: Marks, prompt: RenderedPrompt) -> list[int]:
        """The answer's tokens after the prompt's, cut or closed at the token that ends it."""
        said = self._closed(self._dialect.answer(said))
        whole = encode(before + said, self._tokenizer, self._control, marks)
        alone = encode(said, self._tokenizer, self._control, marks)
        text = marks.out_of(said)
        return _chosen(self._tokenizer, prompt.tokens, whole, alone, text)

    def _closed(self, said: str) -> str:
        """Up to the first token that ends an answer, or to its last word and such a token."""
        kept: list[int | str] = []
        for part in self._control.split(said):
            kept.append(part)
            if isinstance(part, int) and part in self._tokenizer.eos_ids:
                break
        else:
            kept = [*_trimmed(kept), _end_of(self._tokenizer)]
        return "".join(p if isinstance(p, str) else self._tokenizer.token(p) for p in kept)

    def rendering(
        self, messages: Sequence[Message], tools: Sequence[Tool], marks: Marks
    ) -> tuple[Rendering, Sequence[Message]]:
        """A rendering and its messages, safe from control tokens."""
        told = self._dialect.history(normalised(messages))
        given = Given(told, list(tools), self._names)
        safe = given.guarded(self._control, marks.inside)
        safe = safe.guarded(self._own, marks.apart, besides="assistant")
        return Rendering(self._template, self._dialect, safe.tools, safe.variables), safe.messages

    def free_marks(self, messages: Sequence[Message], tools: Sequence[Tool]) -> Marks:
        """Marks that stand nowhere in what is rendered."""
        told = self._dialect.history(normalised(messages))
        return free_marks([self._template.source, *Given(told, tools, self._names).texts()])

    def safe(self, text: str, marks: Marks) -> str:
        """A text of the model's own in which no control token stands."""
        return self._control.broken_by(text, marks.inside)


class _Texts:
    """A conversation's renderings as texts, all with the same marks."""

    def __init__(
        self, speaker: Speaker, messages: Sequence[Message], tools: Sequence[Tool]
    ) -> None:
        self._speaker, self._tools = speaker, tools
        self.marks = speaker.free_marks(messages, tools)

    def prompt(self, messages: Sequence[Message]) -> str:
        rendering, safe = self._speaker.rendering(messages, self._tools, self.marks)
        return rendering.text(safe)

    def whole(self, messages: Sequence[Message]) -> str:
        rendering, safe = self._speaker.rendering(messages, self._tools, self.marks)
        return rendering.whole(safe)

    def safe(self, text: str) -> str:
        return self._speaker.safe(text, self.marks)


def continuation(tokenizer: Tokenizer, before: str, said: str) -> list[int]:
    """The tokens of a plain text that continues another, which a server reads on its own."""
    prompt = tokenizer.encode(before)
    whole = tokenizer.encode(before + said)
    alone = tokenizer.encode(said, add_bos=False)
    return _chosen(tokenizer, prompt, whole, alone, said)


def _chosen(
    tokenizer: Tokenizer, prompt: list[int], whole: list[int], alone: list[int], text: str
) -> list[int]:
    """The tokens of a continuation: from the whole text's where these begin with the prompt's.

    Where a token spans the end of the prompt, no model could say it: then from the text alone.
    """
    rest = whole[len(prompt) :]
    found = (rest, alone) if whole[: len(prompt)] == prompt else (alone,)
    # Some vocabularies put a space before every text that follows a control token.
    for expected in (text, f" {text}"):
        for said in found:
            if tokenizer.decode(said, skip_special=False, continuing=True) == expected:
                return said
    raise TemplateError(
        "the answer has no tokens of its own after its prompt",
        expected="tokens that read as the answer's text",
        hint="the vocabulary cannot spell some of its characters",
    )


def _opening(prompt: str, reasoning: ReasoningFormat) -> tuple[str, str]:
    """The prompt up to the reasoning that it opens, and that opening, if it does."""
    at = prompt.rfind(reasoning.start)
    if at >= 0:
        after = prompt[at + len(reasoning.start) :]
        if not after.strip() or after.strip() == reasoning.end:
            return prompt[:at], prompt[at:]
    return prompt, ""


def _without_block(body: str, reasoning: ReasoningFormat) -> str:
    """An answer without the empty reasoning that a template puts first."""
    if body.startswith(reasoning.start):
        inside, end, rest = body[len(reasoning.start) :].partition(reasoning.end)
        if end and not inside.strip():
            return rest.lstrip("\n")
    return body


def _trimmed(parts: list[int | str]) -> list[int | str]:
    """Without the control tokens and the white space that come last."""
    while parts:
        last = parts.pop()
        if isinstance(last, str) and last.rstrip():
            return [*parts, last.rstrip()]
    return parts


def _end_of(tokenizer: Tokenizer) -> int:
    if tokenizer.eos_id is None:
        raise TemplateError("this model has no token that ends an answer")
    return tokenizer.eos_id


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _unsaid(wanted: Read, read: Read | None) -> TemplateError:
    def shape(what: Read) -> str:
        parts = [f"{len(what.text.strip())} characters of text"]
        parts += [f"{len(what.reasoning.strip())} of reasoning"] if what.reasoning else []
        parts += [f"{len(what.calls)} calls"] if what.calls else []
        return ", ".join(parts)

    return TemplateError(
        "the chat template does not write this answer so that a server reads it back",
        expected=shape(wanted),
        found="no answer after the prompt" if read is None else shape(read),
        hint="the model was not taught answers of this form: text beside calls, several calls at "
        "once, or reasoning",
    )
