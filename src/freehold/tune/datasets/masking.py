"""An example as tokens: the very prompts that serving renders, and the answers, which are learned.

Room: tune. Made from the calls that serving makes (chat/prompts.py, chat/said.py); must not know
torch or files.

An assistant's turn is learned after exactly the prompt that a server would have given the model for
the history before it. Where a template writes a history otherwise than the model answered, as those
do that leave out earlier reasoning, no single run of tokens is true for all turns: then the example
becomes several renderings, each with the turns that stand in it as they would have been said.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from freehold.chat.dialects import dialect_of
from freehold.chat.said import Speaker, Turn, continuation
from freehold.chat.tools import Tool
from freehold.errors import BadDataset, RequestError

if TYPE_CHECKING:
    from freehold.chat.templates import ChatTemplate
    from freehold.tokenizer import Tokenizer
    from freehold.tune.datasets.examples import Example

__all__ = ["Rendered", "Renderer", "render_example"]

# What a line says for training alone, and no template may see.
_OURS = frozenset({"weight"})


@dataclass(frozen=True, eq=False)
class Rendered:
    """Tokens, and which of them are learned. Shapes: both (T,), int32 and bool."""

    ids: NDArray[np.int32]
    learned: NDArray[np.bool_]


class Renderer:
    """Renders examples for one model.

    `system` leads conversations without a system message, as the server does for a model of the
    catalogue; `thinking` as in a request.
    """

    def __init__(
        self,
        template: ChatTemplate | None,
        tokenizer: Tokenizer,
        *,
        system: str | None = None,
        thinking: bool | None = None,
    ) -> None:
        self._tokenizer, self._system = tokenizer, system
        self._speaker = (
            Speaker(template, tokenizer, dialect_of(template.source), thinking=thinking)
            if template is not None
            else None
        )

    def render(self, example: Example) -> list[Rendered]:
        """One rendering, or several where the template rewrites history.

        Raises: BadDataset, naming the line, for what the model's template does not write.
        """
        try:
            if example.text is not None:
                return [self._text(example.before, example.text)]
            return self._conversation(example)
        except RequestError as error:
            raise BadDataset(
                f"this model cannot be taught it: {error.message}",
                line=example.line,
                value=error.value,
                expected=error.expected,
                found=error.found,
                hint=error.hint,
            ) from error

    def _text(self, before: str, text: str) -> Rendered:
        """A plain text, as a server reads one that is to be continued."""
        prompt = self._tokenizer.encode(before) if before else []
        said = (
            continuation(self._tokenizer, before, text) if before else self._tokenizer.encode(text)
        )
        end = [] if self._tokenizer.eos_id is None else [self._tokenizer.eos_id]
        ids = [*prompt, *said, *end]
        # Nothing comes before the first token to tell it.
        return _rendered(ids, [(max(len(prompt), 1), len(ids))])

    def _conversation(self, example: Example) -> list[Rendered]:
        if self._speaker is None:
            raise BadDataset(
                "a conversation cannot be rendered: this model has no chat template",
                line=example.line,
                hint="train it on plain text: --form text, or prompt and completion as text",
            )
        messages = self._led(example.messages)
        shift = len(messages) - len(example.messages)
        tools = [_tool(tool) for tool in example.tools]
        turns = [
            self._speaker.turn(messages[: place + shift + 1], tools) for place in example.turns
        ]
        if not turns:
            raise BadDataset(
                "nothing in it is learned",
                line=example.line,
                expected="an assistant's message whose weight is not 0",
                found="none",
            )
        return _merged(turns)

    def _led(self, messages: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        plain = [{k: v for k, v in message.items() if k not in _OURS} for message in messages]
        if self._system is None or plain[0]["role"] in ("system", "developer"):
            return plain
        return [{"role": "system", "content": self._system}, *plain]


def render_example(
    example: Example,
    *,
    template: ChatTemplate | None,
    tokenizer: Tokenizer,
    system: str | None = None,
    thinking: bool | None = None,
) -> list[Rendered]:
    """The tokens of one example. For many, make one `Renderer`. Raises: BadDataset."""
    return Renderer(template, tokenizer, system=system, thinking=thinking).render(example)


def _merged(turns: Sequence[Turn]) -> list[Rendered]:
    """As few renderings as hold every turn, token for token, as it would have been said."""
    rows: list[tuple[list[int], list[tuple[int, int]]]] = []
    for turn in reversed(turns):
        own = turn.prompt + turn.said
        run = (len(turn.prompt), len(own))
        row = next((row for row in rows if row[0][: len(own)] == own), None)
        if row is None:
            rows.append((own, [run]))
        else:
            row[1].append(run)
    return [_rendered(ids, runs) for ids, runs in reversed(rows)]


def _rendered(ids: Sequence[int], runs: Sequence[tuple[int, int]]) -> Rendered:
    learned = np.zeros(len(ids), np.bool_)
    for start, end in runs:
        learned[start:end] = True
    return Rendered(np.array(ids, np.int32), learned)


def _tool(tool: Mapping[str, Any]) -> Tool:
    function = tool.get("function", tool)
    return Tool(
        name=function["name"],
        description=function.get("description") or "",
        parameters=function.get("parameters") or {"type": "object"},
        strict=bool(function.get("strict")),
    )
