"""A model in this process as a target: many answers in each step, shared prompts computed once.

Room: evals. Joins the room local with the contract of targets; must not know tasks.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from freehold.chat.prompts import RenderedPrompt
from freehold.engine.pages import Sequence as Text
from freehold.engine.request import Request
from freehold.engine.sampler import Sampling
from freehold.errors import FreeholdError, PromptTooLong, RequestError
from freehold.evals.items import Generation, Pair, Prompt
from freehold.evals.reading import ChatReader, TextReader
from freehold.evals.target import Answer, Identity, Scored
from freehold.evals.weighing import Weigher
from freehold.local import Model

__all__ = ["LocalTarget"]

_RUNNING = 32
_POOL_TOKENS = 32768  # of answers together; a short context's own length is enough for one
_WINDOW_TOKENS = 1024


@dataclass
class _Open:
    """An answer under way."""

    number: int
    prompt_tokens: int
    reader: TextReader | ChatReader
    stop: tuple[str, ...]
    text: str = ""
    tokens: int = 0

    def ends_with(self, new: str) -> bool:
        """Adds to the text; whether a stop text ends it now, which is cut off."""
        # A stop text may have begun before.
        start = max(0, len(self.text) - max(map(len, self.stop), default=0))
        self.text += new
        found = [at for stop in self.stop if (at := self.text.find(stop, start)) >= 0]
        self.text = self.text[: min(found, default=len(self.text))]
        return bool(found)


@dataclass
class LocalTarget:
    """`model` with its adapter, if one is named; `system` opens messages that have no system.

    `identity` says which weights these are.
    """

    model: Model
    identity: Identity
    adapter: str = ""
    system: str | None = None
    _open: dict[str, _Open] = field(default_factory=dict)

    def generate(self, prompts: Iterable[Prompt], how: Generation) -> Iterator[tuple[int, Answer]]:
        """Answers as they end; new ones begin as soon as there is room."""
        context = self.model.context_tokens
        engine = self.model.new_engine(max(context, _POOL_TOKENS), max_running=_RUNNING)
        waiting = enumerate(prompts)
        self._open.clear()
        more = True
        while more or engine.has_work:
            while more and len(self._open) < _RUNNING:
                number, prompt = next(waiting, (-1, ""))
                if number < 0:
                    more = False
                    break
                try:
                    engine.submit(self._request(number, prompt, how))
                except RequestError as refused:
                    self._open.pop(str(number), None)
                    yield number, Answer(refused=refused)
            for name, output in engine.step() if engine.has_work else ():
                if output.error is not None:
                    raise output.error
                if name not in self._open:
                    continue
                ended = self._took(self._open[name], output.tokens, output.finish_reason)
                if ended is not None:
                    engine.cancel(name)
                    yield self._open.pop(name).number, ended

    def _request(self, number: int, prompt: Prompt, how: Generation) -> Request:
        if isinstance(prompt, str):
            tokens = self.model.tokenizer.encode(prompt)
            reader: TextReader | ChatReader = TextReader(self.model)
        else:
            rendered = self.rendered(prompt)
            tokens = rendered.tokens
            starts = rendered.starts_in_reasoning
            reader = ChatReader(self.model, starts_in_reasoning=starts)
        self._checked(tokens, how.max_tokens)
        name = str(number)
        self._open[name] = _Open(number, len(tokens), reader, how.stop)
        sampling = Sampling(temperature=how.temperature, top_p=how.top_p, seed=how.seed)
        return Request(
            id=name,
            tokens=tokens,
            max_tokens=how.max_tokens,
            sampling=sampling,
            stop_ids=self.model.tokenizer.eos_ids,
            adapter=self.adapter,
        )

    def _took(self, one: _Open, tokens: tuple[int, ...], reason: str | None) -> Answer | None:
        """The answer, if these tokens or a stop text end it. Mutates: one."""
        for token in tokens:
            one.tokens += 1
            if one.ends_with(one.reader.push(token)):
                reason = "stop"
                break
        else:
            if reason is not None and one.ends_with(one.reader.finish()):
                reason = "stop"
        if reason is None:
            return None
        return Answer(
            text=one.text,
            finish_reason=reason,
            prompt_tokens=one.prompt_tokens,
            generated_tokens=one.tokens,
        )

    def score(self, pairs: Iterable[tuple[Pair, ...]]) -> Iterator[tuple[int, list[Scored]]]:
        """The log probabilities of each group's continuations; a shared prompt is read once."""
        weigher = Weigher(self.model, self.model.adapter_index(self.adapter))
        yield from weigher.weigh(enumerate(map(self._tokens_of, pairs)))

    def _tokens_of(
        self, group: tuple[Pair, ...]
    ) -> list[tuple[tuple[int, ...], list[int]]] | FreeholdError:
        try:
            return [self._split(pair) for pair in group]
        except RequestError as refused:
            return refused

    def _split(self, pair: Pair) -> tuple[tuple[int, ...], list[int]]:
        """A prompt's tokens and a continuation's, cut as the field cuts them.

        Space at the prompt's end goes to the continuation; what a tokenizer joins across the border
        is the prompt's as far as the prompt alone has tokens.
        """
        prompt, continuation = pair.prompt, pair.continuation
        if not isinstance(prompt, str):
            before = self.rendered(prompt).tokens
            after = self.model.tokenizer.encode(continuation, add_bos=False)
        else:
            bare = prompt.rstrip()
            continuation = prompt[len(bare) :] + continuation
            before = self.model.tokenizer.encode(bare) if bare else self._beginning()
            if bare:
                after = self.model.tokenizer.encode(bare + continuation)[len(before) :]
            else:
                after = self.model.tokenizer.encode(continuation, add_bos=False)
        self._checked(before + after, 0)
        return tuple(before), after

    def _beginning(self) -> list[int]:
        """What the model's training put before every document."""
        tokenizer = self.model.tokenizer
        first = tokenizer.bos_id if tokenizer.bos_id is not None else tokenizer.eos_id
        return [0 if first is None else first]

    def read(self, texts: Iterable[str]) -> Iterator[tuple[int, Scored]]:
        """Whole texts, in windows that follow one another without overlap."""
        size = min(_WINDOW_TOKENS, self.model.context_tokens)
        runner = self.model.new_runner(size, sequences=2)
        adapter = self.model.adapter_index(self.adapter)
        for number, text in enumerate(texts):
            known = self._beginning() + self.model.tokenizer.encode(text, add_bos=False)
            total = 0.0
            for start in range(0, len(known) - 1, size):
                piece = known[start : start + size + 1]
                weigher = Weigher(self.model, adapter)
                total += weigher.read(runner, Text(), piece)
            yield number, Scored(logprob=total, tokens=len(known) - 1)

    def rendered(self, prompt: Sequence[Mapping[str, Any]]) -> RenderedPrompt:
        """Messages as a server would render them. Raises: TemplateError."""
        messages = list(prompt)
        roles = {message.get("role") for message in messages[:1]}
        if self.system is not None and not roles & {"system", "developer"}:
            messages = [{"role": "system", "content": self.system}, *messages]
        return self.model.rendered(messages)

    def _checked(self, tokens: list[int], room: int) -> list[int]:
        if len(tokens) + room <= self.model.context_tokens:
            return tokens
        raise PromptTooLong(
            "the item does not fit the model's context; it was not shortened",
            value=len(tokens),
            expected=f"at most {self.model.context_tokens} tokens in all",
            found=f"{len(tokens)} tokens, and {room} for the answer",
        )
