"""One choice of an answer: tokens become text, text becomes events.

Room: server. Decodes, looks for stop texts, and lets the dialect's parser tell text, reasoning and
tool calls apart; must not know any surface.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING

from freehold.chat.parsing import AnswerParser
from freehold.chat.pieces import CallArguments, CallStart, Piece, Reasoning, Text
from freehold.engine.request import Output
from freehold.server.ask import (
    Ask,
    Choice,
    Event,
    Finish,
    ReasoningDelta,
    TextDelta,
    TokenText,
    ToolCall,
    ToolCallDelta,
    ToolCallStart,
)

if TYPE_CHECKING:
    from freehold.chat.prompts import RenderedPrompt
    from freehold.server.resident import Resident

__all__ = ["ChoiceStream", "StopFinder", "collect_choice"]


class StopFinder:
    """Lets text through up to the first stop text; holds back what may be the start of one."""

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = stops
        self._longest = max(map(len, stops), default=0)
        self._held = ""
        self.found: str | None = None

    def push(self, text: str) -> str:
        """The text that is certain now; after `found` is set, nothing more."""
        if not self._stops:
            return text
        if self.found is not None:
            return ""
        text = self._held + text
        ends = [(text.find(stop) + len(stop), stop) for stop in self._stops if stop in text]
        if ends:
            # The first that is whole, as token by token would find it; of two the longer.
            end, self.found = min(ends, key=lambda place: (place[0], -len(place[1])))
            self._held = ""
            return text[: end - len(self.found)]
        keep = max(
            (n for n in range(1, min(self._longest, len(text) + 1)) if self._may_begin(text[-n:])),
            default=0,
        )
        cut = len(text) - keep
        self._held = text[cut:]
        return text[:cut]

    def finish(self) -> str:
        """What was held back, now that nothing follows."""
        held, self._held = self._held, ""
        return held

    def _may_begin(self, text: str) -> bool:
        return any(stop.startswith(text) for stop in self._stops)


class ChoiceStream:
    """Turns one choice's outputs into events."""

    def __init__(self, index: int, resident: Resident, ask: Ask, rendered: RenderedPrompt) -> None:
        self.reason: str | None = None
        self.tokens = 0  # up to the end of the answer
        self.reasoning_tokens = 0
        self._index = index
        self._resident = resident
        chat = ask.messages is not None
        self._parser = AnswerParser(
            resident.dialect,
            ask.tools,
            reasoning=resident.reasoning if chat else None,
            starts_in_reasoning=rendered.starts_in_reasoning,
            tool_calls=chat and bool(ask.tools) and ask.tool_choice.kind != "none",
        )
        self._stops = StopFinder(ask.stop)
        self._decoder = resident.tokenizer.stream(skip_special=False, continuing=True)
        self._shown = resident.shown_specials if chat else frozenset[int]()
        self._notes: list[TokenText] = []
        self._ended_by: TokenText | None = None
        self._called = False
        self._in_reasoning = rendered.starts_in_reasoning

    @property
    def finished(self) -> bool:
        """Whether nothing more comes of this choice."""
        return self.reason is not None

    def take(self, output: Output) -> list[Event]:
        """The events of what was added; after the last of them the choice is finished.

        Text that comes together is one event.
        """
        if self.finished:
            return []
        notes = iter(output.logprobs)
        if output.stop_logprob is not None:
            self._ended_by = self._resident.token_texts(output.stop_logprob)
        events: list[Event] = []
        for token in output.tokens:
            self.tokens += 1
            self._notes += [self._resident.token_texts(note) for note in islice(notes, 1)]
            special = self._resident.tokenizer.is_special(token)
            if special and token not in self._shown:
                continue
            text = self._stops.push(self._decoder.push(token))
            if text:
                events += self._events(self._parser.push(text))
            self.reasoning_tokens += self._in_reasoning
            if self._stops.found is not None:
                return _joined(events) + self._end("stop")
        events = _joined(events)
        if output.finish_reason is not None:
            rest = self._stops.push(self._decoder.finish()) + self._stops.finish()
            if rest:
                events += self._events(self._parser.push(rest))
            events += self._end(output.finish_reason)
        return events

    def _end(self, reason: str) -> list[Event]:
        events = self._events(self._parser.finish())
        if self._notes:
            events.append(TextDelta(self._index, "", self._taken_notes()))
        called = self._called and not self._parser.broken
        self.reason = "tool_calls" if called and reason == "stop" else reason
        return [*events, Finish(self._index, self.reason, self._stops.found, self._ended_by)]

    def _taken_notes(self) -> tuple[TokenText, ...]:
        notes, self._notes = tuple(self._notes), []
        return notes

    def _events(self, pieces: Sequence[Piece]) -> list[Event]:
        events: list[Event] = []
        index = self._index
        for piece in pieces:
            self._in_reasoning = isinstance(piece, Reasoning)
            if isinstance(piece, Text):
                events.append(TextDelta(index, piece.text, self._taken_notes()))
            elif isinstance(piece, Reasoning):
                events.append(ReasoningDelta(index, piece.text))
            elif isinstance(piece, CallStart):
                self._called = True
                events.append(ToolCallStart(index, piece.index, piece.id, piece.name))
            else:
                assert isinstance(piece, CallArguments), "the parser has a new kind of piece"
                events.append(ToolCallDelta(index, piece.index, piece.text))
        return events


def _joined(events: list[Event]) -> list[Event]:
    """Neighbours of one kind as one."""
    out: list[Event] = []
    for event in events:
        last = out[-1] if out else None
        if isinstance(event, TextDelta) and isinstance(last, TextDelta):
            text, notes = last.text + event.text, last.logprobs + event.logprobs
            out[-1] = replace(last, text=text, logprobs=notes)
        elif isinstance(event, ReasoningDelta) and isinstance(last, ReasoningDelta):
            out[-1] = replace(last, text=last.text + event.text)
        elif (
            isinstance(event, ToolCallDelta)
            and isinstance(last, ToolCallDelta)
            and event.index == last.index
        ):
            out[-1] = replace(last, arguments=last.arguments + event.arguments)
        else:
            out.append(event)
    return out


def collect_choice(index: int, events: Sequence[Event]) -> Choice:
    """One whole choice out of the events of an answer."""
    text: list[str] = []
    reasoning: list[str] = []
    starts: dict[int, ToolCallStart] = {}
    arguments: dict[int, list[str]] = {}
    notes: list[TokenText] = []
    finish = None
    for event in events:
        if getattr(event, "choice", None) != index:
            continue
        if isinstance(event, TextDelta):
            text.append(event.text)
            notes += event.logprobs
        elif isinstance(event, ReasoningDelta):
            reasoning.append(event.text)
        elif isinstance(event, ToolCallStart):
            starts[event.index] = event
        elif isinstance(event, ToolCallDelta):
            arguments.setdefault(event.index, []).append(event.arguments)
        elif isinstance(event, Finish):
            finish = event
    assert finish is not None, "a choice ended without its reason"
    calls = tuple(
        ToolCall(start.id, start.name, "".join(arguments.get(i, ())))
        for i, start in sorted(starts.items())
    )
    return Choice(
        index=index,
        text="".join(text),
        reasoning="".join(reasoning),
        tool_calls=calls,
        finish_reason=finish.reason,
        stop_sequence=finish.stop_sequence,
        logprobs=tuple(notes),
        ended_by=finish.ended_by,
    )
