"""The engine: schedule, run, sample, publish; over and over.

Room: engine. Is given a model and knows `models/base.py` only; knows token ids, not text. One
thread drives it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from freehold import ops
from freehold.engine.adapters import Adapters
from freehold.engine.logprobs import logprobs_of
from freehold.engine.request import (
    EngineStats,
    GrammarMatcher,
    Output,
    Request,
    TokenLogprob,
    together,
)
from freehold.engine.runner import Part, Runner
from freehold.engine.sampler import Sampler, draw
from freehold.engine.scheduler import Entry, Pacer, Scheduler
from freehold.engine.speculation import MOST_GUESSES, Guesser, Memory, StepCosts
from freehold.errors import BadPrompt, BadSchema, DeadlineExceeded, FreeholdError, PromptTooLong

__all__ = ["Engine"]

_LOGIT_ROWS = 32  # rows of logits a step returns for one prompt, at most


@dataclass(eq=False)
class _Work:
    """A request with what the engine keeps for it."""

    request: Request
    entry: Entry
    sampler: Sampler
    matcher: GrammarMatcher | None
    mask: NDArray[np.uint32] | None
    ends_at: float | None
    prompt_logprobs: list[TokenLogprob | None]
    submitted: float
    guesser: Guesser | None
    adapter: int = -1
    started: float = 0.0
    failure: FreeholdError | None = None


class Engine:
    """Runs many requests over one model. Results never depend on what else runs.

    With `bounds_chunks` a prompt's share of a step is bounded by time, for the sake of others. With
    `speculates` an answer that runs alone takes several tokens of a step where it repeats itself.
    """

    def __init__(
        self,
        runner: Runner,
        *,
        max_running: int = 64,
        max_waiting: int = 256,
        matchers: Callable[[str], GrammarMatcher] | None = None,
        bounds_chunks: bool = True,
        speculates: bool = True,
    ) -> None:
        self.runner = runner
        states = runner.pages.states
        most = max_running if states is None else min(max_running, states.count)
        self.scheduler = Scheduler(runner.pages, max_running=most, max_waiting=max_waiting)
        self.adapters = Adapters()
        self.pacer = Pacer(runner.step_tokens)
        self._matchers = matchers
        self._bounds_chunks = bounds_chunks
        self._speculates = speculates and states is None  # a state cannot be taken back
        self.costs, self._told = StepCosts(), Memory()
        self._guessed_tokens = self._kept_tokens = 0
        self._work: dict[str, _Work] = {}
        self._beside = ThreadPoolExecutor(1, thread_name_prefix="masks")
        self._prompt_tokens = self._generated_tokens = 0

    @property
    def has_work(self) -> bool:
        """Whether a step would do anything."""
        return bool(self._work)

    def stats(self) -> EngineStats:
        """What runs and waits now, and the totals since the start."""
        pages, scheduler = self.runner.pages, self.scheduler
        return EngineStats(
            num_running=len(scheduler.running),
            num_waiting=scheduler.num_waiting,
            kv_usage=1.0 - pages.num_pages_free / pages.count,
            prompt_tokens_total=self._prompt_tokens,
            generation_tokens_total=self._generated_tokens,
            prefix_queries_total=scheduler.queries_tokens,
            prefix_hits_total=scheduler.hits_tokens,
            preemptions_total=scheduler.num_preempted,
            guessed_tokens_total=self._guessed_tokens,
            kept_tokens_total=self._kept_tokens,
        )

    def submit(self, request: Request) -> None:
        """Takes a request.

        Raises: BadPrompt, PromptTooLong, BadSchema, QueueFull, UnknownModel.
        """
        self._check(request)
        adapter = self.adapters.index(request.adapter)
        matcher = None
        if request.grammar is not None:
            if self._matchers is None:
                raise BadSchema("this engine was started without grammars")
            matcher = self._matchers(request.grammar)
        wants_prompt = request.prompt_logprobs is not None
        entry = Entry(
            id=request.id,
            owner=request.owner,
            known=list(request.tokens),
            branch=request.branch,
            max_chunk=_LOGIT_ROWS if wants_prompt else 1 << 30,
            shares_prefix=not wants_prompt,  # a cached page has no logits to report
            scope=(request.owner, request.adapter) if request.adapter else None,
            background=request.background,
        )
        self.scheduler.add(entry)
        self.adapters.hold(request.adapter)
        words = -(-self.runner.model.vocabulary // 32)
        # A grammar's next mask depends on the token before; a weighed token belongs to one place.
        plain = matcher is None and not request.weighed and not wants_prompt
        told = self._told.of((request.owner, request.adapter))
        self._work[request.id] = _Work(
            request=request,
            entry=entry,
            sampler=Sampler(request.sampling, request.tokens, branch=request.branch),
            matcher=matcher,
            mask=None if matcher is None else np.zeros(words, np.uint32),
            ends_at=None if request.deadline_s is None else time.monotonic() + request.deadline_s,
            prompt_logprobs=[None] if wants_prompt else [],
            submitted=time.monotonic(),
            guesser=Guesser(entry.known, told) if plain and self._speculates else None,
            adapter=adapter,
        )

    def cancel(self, request_id: str) -> None:
        """Forgets a request; nothing more comes of it. Unknown ids are ignored: it just ended."""
        work = self._work.pop(request_id, None)
        if work is not None:
            self.scheduler.remove(work.entry)
            self.adapters.release(work.request.adapter)
            if work.guesser is not None:
                asker = work.request.owner, work.request.adapter
                self._told.add(asker, work.entry.known[len(work.request.tokens) :])

    def step(self) -> list[tuple[str, Output]]:
        """Schedule, run, sample; what each request got from it. Mutates: everything inside."""
        expired = self._expire()
        plan = self.scheduler.plan(self.pacer.budget)
        if not plan:
            return expired
        now = time.monotonic()
        for entry, _ in plan:
            work = self._work[entry.id]
            work.started = work.started or now
        guesses = self._guesses(plan)
        parts = [self._part(entry, count, guesses) for entry, count in plan]
        sampling = [self._work[e.id] for e, count in plan if count == e.pending]
        masks = self._fill_masks(sampling)
        started = time.perf_counter()
        logits = self.runner.run(parts)  # (S, V)
        self._learn_speed(parts, time.perf_counter() - started)
        if masks is not None:
            masks.result()
        if guesses:
            return expired + self._publish_guessed(plan[0][0], guesses, logits)
        for entry, _ in plan:
            if entry.shares_prefix:
                self.runner.pages.remember(entry.sequence, entry.known)
        return expired + self._publish(plan, parts, logits)

    def _check(self, request: Request) -> None:
        vocabulary = self.runner.model.vocabulary
        if not request.tokens or not all(0 <= token < vocabulary for token in request.tokens):
            raise BadPrompt(
                "the prompt's tokens are not the model's",
                expected=f"at least one token, each from 0 to {vocabulary - 1}",
                found=f"{len(request.tokens)} tokens",
            )
        if not all(0 <= token < vocabulary for token in request.weighed):
            raise BadPrompt("a weighed token is not the model's", expected=f"0 to {vocabulary - 1}")
        room = self.runner.pages.count * self.runner.pages.page_tokens
        if len(request.tokens) + request.max_tokens > room:
            raise PromptTooLong(
                "the prompt and its answer do not fit the KV cache",
                value=len(request.tokens),
                expected=f"at most {room} tokens in all",
                found=f"{len(request.tokens)} tokens and {request.max_tokens} for the answer",
                hint="ask for a shorter answer, or give the KV cache more memory",
            )

    def _guesses(self, plan: list[tuple[Entry, int]]) -> list[int]:
        """Tokens that may follow the only answer of a step.

        Several answers share what the weights cost without any guess.
        """
        if len(plan) > 1 or plan[0][1] > 1:
            return []
        entry, work = plan[0][0], self._work[plan[0][0].id]
        left = work.request.max_tokens - (len(entry.known) - len(work.request.tokens)) - 1
        room = len(entry.sequence.pages) * self.runner.pages.page_tokens - len(entry.known)
        most = min(MOST_GUESSES, left, room)
        if work.guesser is None or most < 1 or len(entry.known) == len(work.request.tokens):
            return []
        guesses = work.guesser.guess(most)
        return guesses[: self.costs.best(work.guesser.right)] if guesses else []

    def _part(self, entry: Entry, count: int, guesses: list[int]) -> Part:
        start, work = entry.sequence.length, self._work[entry.id]
        if not entry.shares_prefix and start < len(work.request.tokens):
            wanted = count
        else:
            wanted = 1 + len(guesses) if count == entry.pending else 0
        tokens = entry.known[start : start + count] + guesses
        return Part(entry.sequence, tokens, wanted, work.adapter)

    def _fill_masks(self, works: list[_Work]) -> Future[None] | None:
        """Computes the masks while the step runs."""
        constrained = [work for work in works if work.matcher is not None]
        if not constrained:
            return None

        def fill() -> None:
            for work in constrained:
                assert work.matcher is not None
                assert work.mask is not None
                try:
                    work.matcher.fill(work.mask)
                except FreeholdError as failure:  # of this request; the others go on
                    work.failure = failure

        return self._beside.submit(fill)

    def _learn_speed(self, parts: list[Part], seconds: float) -> None:
        count = sum(len(part.tokens) for part in parts)
        if self._bounds_chunks:
            self.pacer.learn(count, seconds)
        if parts[0].wanted == count:
            self.costs.learn(count, seconds)

    def _publish_guessed(
        self, entry: Entry, guesses: list[int], logits: NDArray[np.float32]
    ) -> list[tuple[str, Output]]:
        """What an answer got from the token that was known and from guesses (S, V)."""
        work, outputs = self._work[entry.id], list[Output]()
        entry.sequence.length -= len(guesses)  # none of them is known to be right
        for i in range(len(logits)):
            if entry.shares_prefix:
                self.runner.pages.remember(entry.sequence, entry.known)
            ((_, output),) = self._draw([work], logits[i : i + 1])
            outputs.append(output)
            if output.finish_reason is not None or output.tokens != tuple(guesses[i : i + 1]):
                break
            entry.sequence.length += 1
        kept = len(outputs) - 1
        self._guessed_tokens += len(guesses)
        self._kept_tokens += kept
        assert work.guesser is not None
        work.guesser.learn(len(guesses), kept)
        return [(entry.id, together(outputs))]

    def _publish(
        self, plan: list[tuple[Entry, int]], parts: list[Part], logits: NDArray[np.float32]
    ) -> list[tuple[str, Output]]:
        works: list[_Work] = []
        rows: list[int] = []
        row = 0
        for (entry, _), part in zip(plan, parts, strict=True):
            work = self._work[entry.id]
            if not entry.shares_prefix and part.wanted:
                start = entry.sequence.length - len(part.tokens)
                self._note_prompt(work, start, logits[row : row + part.wanted])
            row += part.wanted
            if entry.pending == 0:
                works.append(work)
                rows.append(row - 1)
            length, prompt = entry.sequence.length, len(work.request.tokens)
            self._prompt_tokens += min(length, prompt) - min(length - len(part.tokens), prompt)
        if not works:
            return []
        if len(rows) < row:
            logits = logits[rows]  # (S, V) of those that draw
        return self._draw(works, logits)

    def _draw(self, works: list[_Work], logits: NDArray[np.float32]) -> list[tuple[str, Output]]:
        """A token for each row of logits (S, V), and what it brings. Mutates: logits, works."""
        noted = [logprobs_of(logits[i], w.request.logprobs) for i, w in enumerate(works)]
        weights = [
            tuple(float(logits[i, token]) for token in w.request.weighed)
            for i, w in enumerate(works)
        ]
        for i, work in enumerate(works):
            if work.sampler.adjusts:
                work.sampler.adjust(logits[i])
            if work.mask is not None:
                ops.mask_logits(logits[i], work.mask)
        tokens = draw(logits, [work.sampler for work in works])
        return [
            (work.request.id, self._advance(work, token, note and note(token), weighed))
            for work, token, note, weighed in zip(works, tokens, noted, weights, strict=True)
        ]

    def _note_prompt(self, work: _Work, start: int, logits: NDArray[np.float32]) -> None:
        """The log probabilities of the prompt tokens that come after these rows, from `start`.

        What was noted before a preemption comes again, and is passed over.
        """
        tokens, notes = work.request.tokens, work.prompt_logprobs
        for row in logits[len(notes) - 1 - start :]:
            if len(notes) == len(tokens):
                return
            note = logprobs_of(row, work.request.prompt_logprobs)
            assert note is not None
            notes.append(note(tokens[len(notes)]))

    def _advance(
        self, work: _Work, token: int, note: TokenLogprob | None, weights: tuple[float, ...]
    ) -> Output:
        """Takes a drawn token and ends the request if it is the last."""
        request, entry = work.request, work.entry
        first = len(entry.known) == len(request.tokens)
        reason = stop_id = error = None
        if token in request.stop_ids and work.failure is None:
            reason, stop_id = "stop", token
        else:
            try:
                self._accept(work, token)
            except FreeholdError as failure:
                reason, error = "error", failure
        if reason is None:
            entry.known.append(token)
            self._generated_tokens += 1
            if work.matcher is not None and work.matcher.finished:
                reason = "stop"
            elif len(entry.known) - len(request.tokens) >= request.max_tokens:
                reason = "length"
        if reason is not None:
            self.cancel(request.id)
        taken = stop_id is None and error is None
        return Output(
            tokens=(token,) if taken else (),
            logprobs=(note,) if note is not None and taken else (),
            prompt_logprobs=tuple(work.prompt_logprobs) or None if first else None,
            finish_reason=reason,
            stop_id=stop_id,
            stop_logprob=note if stop_id is not None else None,
            cached_tokens=max(entry.cached_tokens, 0) if first else 0,
            queue_s=work.started - work.submitted if first else 0.0,
            error=error,
            weights=weights,
            first=first,
        )

    def _accept(self, work: _Work, token: int) -> None:
        if work.failure is not None:
            raise work.failure
        if token < 0:
            raise BadSchema(
                "the grammar allows no token here",
                hint="the schema contradicts itself, or asks for text the model cannot write",
            )
        work.sampler.took(token)
        if work.matcher is not None:
            work.matcher.accept(token)

    def _expire(self) -> list[tuple[str, Output]]:
        """Ends the requests whose time is over."""
        now = time.monotonic()
        late = [w for w in self._work.values() if w.ends_at is not None and now > w.ends_at]
        outputs = []
        for work in late:
            self.cancel(work.request.id)
            error = DeadlineExceeded(
                "the answer was not finished in time",
                value=work.request.deadline_s,
                expected=f"{work.request.deadline_s} s at most",
                found=f"{len(work.entry.known) - len(work.request.tokens)} tokens by then",
            )
            outputs.append((work.request.id, Output(finish_reason="error", error=error)))
        return outputs
