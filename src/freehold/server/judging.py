"""What a judge makes of prompts: for each the share of yes against no as its next token.

Room: server. Must not know any surface. The share is a softmax over the logits of the two tokens.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from freehold.chat.judging import JudgePrompt
from freehold.engine.client import Outputs
from freehold.engine.request import Output, Request

if TYPE_CHECKING:
    from freehold.loading import JudgePlan
    from freehold.server.context import Asker
    from freehold.server.resident import Resident
    from freehold.tokenizer import Tokenizer

__all__ = ["Judge", "judge_of", "judged", "share"]

_OPEN = 32  # prompts under way of one request; the queue is everybody's
_numbers = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Judge:
    """How a model judges: its prompt, and the tokens for yes and no."""

    prompt: JudgePrompt
    yes: int
    no: int


def judge_of(plan: JudgePlan | None, tokenizer: Tokenizer) -> Judge | None:
    """The judge that a plan describes. Raises: TemplateError."""
    if plan is None:
        return None
    return Judge(JudgePrompt(plan.template, tokenizer, plan.instruction), plan.yes, plan.no)


def share(yes: float, no: float) -> float:
    """exp(yes) / (exp(yes) + exp(no)), of two logits."""
    return 1.0 / (1.0 + math.exp(min(no - yes, 700.0)))


async def judged(resident: Resident, prompts: Sequence[list[int]], asker: Asker) -> list[float]:
    """A score from 0 to 1 for each prompt. Raises: EngineDied, QueueFull, DeadlineExceeded."""
    judge = resident.judge
    assert judge is not None, "only a judge is asked"
    scores = [0.0] * len(prompts)
    outputs = Outputs(resident.engine)
    waiting = iter(range(len(prompts)))
    done = cached = 0
    resident.opened()
    try:
        for index in itertools.islice(waiting, _OPEN):
            await outputs.submit(_request(resident, judge, prompts[index], index, asker))
        while done < len(prompts):
            index, output = await outputs.next()
            scores[index] = share(*_weights(output))
            cached += output.cached_tokens
            done += 1
            following = next(waiting, None)
            if following is not None:
                await outputs.submit(
                    _request(resident, judge, prompts[following], following, asker)
                )
    finally:
        outputs.cancel()
        resident.closed()
        resident.accounting.finished(
            asker,
            resident.name,
            prompt_tokens=sum(map(len, prompts)) if done else 0,
            completion_tokens=0,
            cached_tokens=cached,
        )
    return scores


def _weights(output: Output) -> tuple[float, float]:
    if output.error is not None:
        raise output.error
    yes, no = output.weights
    return yes, no


def _request(
    resident: Resident, judge: Judge, tokens: list[int], index: int, asker: Asker
) -> Request:
    return Request(
        id=f"{asker.request_id}-judge-{next(_numbers)}",
        tokens=tokens,
        max_tokens=1,
        deadline_s=None if asker.background else resident.request_s,
        owner=asker.key_id,
        branch=index,
        adapter=resident.adapter,
        background=asker.background,
        weighed=(judge.yes, judge.no),
    )
