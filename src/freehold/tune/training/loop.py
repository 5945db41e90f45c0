"""A training from its first step to its adapter, and on from wherever a crash left it.

Room: tune. Joins network, objective, optimizer, checkpoints and events; must not know servers,
terminals or where data come from.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from freehold.errors import BadTraining, Diverged
from freehold.tune.training import checkpoints
from freehold.tune.training.adapter import LoraShape
from freehold.tune.training.base import Base
from freehold.tune.training.events import EventLog
from freehold.tune.training.machine import Machine, peak_bytes
from freehold.tune.training.objectives import Objective, Preferences, packed
from freehold.tune.training.optimizer import Optimizer, rate_at
from freehold.tune.training.packing import Bundle
from freehold.tune.training.pictures import draw
from freehold.tune.training.spec import TrainResult, TrainSpec

__all__ = ["Training"]

Stop = Callable[[], bool]


@dataclass
class _Progress:
    """What a checkpoint remembers besides tensors."""

    step: int = 0
    tokens: int = 0
    computed: int = 0
    seconds: float = 0.0
    train_loss: float = 0.0
    first: float | None = None
    best: float | None = None
    best_step: int | None = None
    worse: int = 0


@dataclass
class Training:
    """A network with what learns in it, bundles to learn from, and a directory for its files.

    `write` saves what was trained into a folder, once the best values are in the network.
    """

    spec: TrainSpec
    machine: Machine
    base: Base
    objective: Objective
    bundles: Sequence[Bundle]
    heldout: Sequence[Bundle]
    optimizer: Optimizer
    directory: Path
    log: EventLog
    write: Callable[[Path], None]
    should_stop: Stop
    identity: str  # of data, base and settings; a checkpoint of another is refused
    shape: LoraShape | None = None
    split: int = 0  # pieces that long examples were cut into, beyond one each
    at: _Progress = field(default_factory=_Progress)
    pace: checkpoints.Pace = field(default_factory=checkpoints.Pace)

    @property
    def steps(self) -> int:
        """How many there will be."""
        each = math.ceil(len(self.bundles) / self.spec.batch_examples)
        every = each * self.spec.epochs
        return every if self.spec.max_steps is None else min(every, self.spec.max_steps)

    def run(self) -> TrainResult:
        """Trains to the end, or until asked to stop. Raises: Diverged, DiskFull, BadCheckpoint."""
        self._resume()
        self._say_start()
        while self.at.step < self.steps and not self._has_enough():
            if self.machine.any_of(self.should_stop()):
                return self._stopped()
            self._step()
            if self._measures():
                self._measure()
            elif self._is_due():
                self._save()
        return self._finish()

    def _resume(self) -> None:
        found = checkpoints.latest(self.directory / "checkpoints")
        if found is None:
            return
        if found.state.get("identity") != self.identity:
            raise BadTraining(
                "this directory holds another training",
                value=str(self.directory),
                expected="the same base, data and settings",
                found="others",
                hint="give the new training a directory of its own",
            )
        checkpoints.load_into(self.optimizer, found)
        self.at = _Progress(**found.state["progress"])
        self.pace.step = self.at.step
        self._say("checkpoint", self.at.step, {"folder": found.path.name})  # if a crash was quicker

    def _say_start(self) -> None:
        facts = {
            "steps": self.steps,
            "examples": len(self.bundles),
            "heldout_examples": len(self.heldout),
            "tokens": sum(len(text.ids) for texts in self.bundles for text in texts),
            "learned_tokens": sum(int(t.learned.sum()) for texts in self.bundles for t in texts),
            "split": self.split,
            "parameters": int(self.optimizer.values.numel()),
            "machine": self.machine.label,
        }
        self._say("started", 0, facts)
        if self.heldout and self.at.first is None:
            self.at.first = self._heldout_loss()
            self._say("heldout", 0, {"loss": self.at.first})

    def _step(self) -> None:
        began = time.perf_counter()
        numbers = self._batch(self.at.step)
        batch = [self.bundles[i] for i in numbers]
        weight = self.objective.weight(batch)
        share = not (self.spec.dropout and self.shape is not None)
        rows = packed(batch, row_tokens=self.spec.row_tokens, share=share)
        total = torch.zeros((), device=self.machine.device)
        for row in rows[self.machine.rank :: self.machine.world]:
            loss = self.objective.loss(self.base.network, row, numbers) / weight
            loss.backward()
            total += loss.detach()
        self.machine.add_up(total)
        self.machine.add_up(self.optimizer.gradients)
        rate = rate_at(self.spec, self.at.step, self.steps)
        norm = self.optimizer.step(rate)
        loss_now = float(total)
        if not (math.isfinite(loss_now) and math.isfinite(norm)):
            raise self._diverged(loss_now)
        at = self.at
        at.step += 1
        at.train_loss = loss_now
        at.tokens += sum(len(text.ids) for texts in batch for text in texts)
        at.computed += sum(row.count for row, _ in rows)
        at.seconds += time.perf_counter() - began
        facts = {"loss": loss_now, "rate": rate, "gradient_norm": norm, "tokens": at.tokens}
        self._say("step", at.step, facts | {"tokens_per_s": round(at.tokens / at.seconds, 1)})

    def _batch(self, step: int) -> list[int]:
        """The examples of a step: each epoch goes through all of them in an order of its own."""
        size, count = self.spec.batch_examples, len(self.bundles)
        each = math.ceil(count / size)
        order = np.random.default_rng([self.spec.seed, step // each]).permutation(count)
        start = step % each * size
        return [int(i) for i in order[start : start + size]]

    def _measures(self) -> bool:
        if not self.heldout:
            return False
        each = math.ceil(len(self.bundles) / self.spec.batch_examples)
        every = self.spec.evaluate_every_steps or each
        return self.at.step % every == 0 or self.at.step == self.steps

    def _is_due(self) -> bool:
        """Whether a checkpoint is."""
        every = self.spec.checkpoint_every_steps
        if every is not None:
            return self.at.step % every == 0
        return self.pace.is_due(self.at.step, steps=self.steps, now_s=time.monotonic())

    def _measure(self) -> None:
        """Measures the held-out loss, and remembers the best one by a checkpoint."""
        at, loss = self.at, self._heldout_loss()
        if not math.isfinite(loss):
            raise self._diverged(loss)
        better = at.best is None or loss < at.best
        at.worse = 0 if better else at.worse + 1
        if better:
            at.best, at.best_step = loss, at.step
        self._say("heldout", at.step, {"loss": loss, **self._rightness()})
        self._save()

    def _has_enough(self) -> bool:
        """Whether the held-out loss has not got better for long enough."""
        at = self.at
        if not self.spec.patience or at.worse < self.spec.patience:
            return False
        self._say("early_stop", at.step, {"best_step": at.best_step, "best_loss": at.best})
        return True

    def _rightness(self) -> dict[str, float]:
        if not isinstance(self.objective, Preferences) or not self.objective.seen:
            return {}
        right = self.objective.right / self.objective.seen
        self.objective.right = self.objective.seen = 0
        return {"preferred": right}

    def _heldout_loss(self) -> float:
        """The mean over the held-out bundles, without gradients."""
        numbers = list(range(len(self.bundles), len(self.bundles) + len(self.heldout)))
        rows = packed(self.heldout, row_tokens=self.spec.row_tokens, share=True)
        total = torch.zeros((), device=self.machine.device, dtype=torch.float64)
        if isinstance(self.objective, Preferences):
            self.objective.right = self.objective.seen = 0
        with torch.no_grad():
            for row in rows[self.machine.rank :: self.machine.world]:
                total += self.objective.loss(self.base.network, row, numbers)
        self.machine.add_up(total)
        return float(total) / self.objective.weight(self.heldout)

    def _save(self) -> None:
        if self.machine.rank:
            return
        state = {
            "step": self.at.step,
            "identity": self.identity,
            "event": self.log.last,
            "progress": asdict(self.at),
        }
        folder = self.directory / "checkpoints"
        folder.mkdir(parents=True, exist_ok=True)
        began = time.monotonic()
        found = checkpoints.save(folder, self.optimizer, state, keep=self.at.best_step)
        ended = time.monotonic()
        self.pace = checkpoints.Pace(self.at.step, ended, ended - began)
        self._say("checkpoint", self.at.step, {"folder": found.path.name})
        draw(self.directory, self.log.events)
        if not Path(self.spec.base).exists():
            raise BadTraining(
                "the base model was removed while it was trained",
                value=self.spec.base,
                expected="the file that training began with",
                found="nothing",
                hint="put it back and start the same again: it goes on from the checkpoint",
            )

    def _stopped(self) -> TrainResult:
        if self.at.step:
            self._save()
        self._say("stopped", None, {"after_step": self.at.step})
        return self._result("stopped", None)

    def _finish(self) -> TrainResult:
        if self.heldout and self.at.best_step not in (None, self.at.step):
            best = self.directory / "checkpoints" / f"step-{self.at.best_step:08d}"
            checkpoints.load_into(self.optimizer, checkpoints.at(best), moments=False)
        out = self.directory / "adapter"
        if self.machine.rank == 0:
            checkpoints.publish(out, self.write)
        result = self._result("finished", out)
        facts: dict[str, Any] = asdict(result) | {"adapter_dir": out.name}
        if self.machine.rank == 0:
            self._say("finished", self.at.step, facts)
            draw(self.directory, self.log.events)
            text = json.dumps(facts, indent=2) + "\n"
            temporary = self.directory / ".result.json.part"
            temporary.write_text(text, encoding="utf-8")
            temporary.replace(self.directory / "result.json")
        return result

    def _result(self, status: str, out: Path | None) -> TrainResult:
        at = self.at
        return TrainResult(
            status=status,
            adapter_dir=out,
            steps=at.step,
            train_loss=at.train_loss,
            heldout_loss=at.best if self.heldout else None,
            first_heldout_loss=at.first,
            tokens=at.tokens,
            computed_tokens=at.computed,
            tokens_per_s=round(at.tokens / at.seconds, 2) if at.seconds else 0.0,
            peak_bytes=peak_bytes(self.machine.device),
            best_step=at.best_step,
        )

    def _diverged(self, loss: float) -> Diverged:
        found = checkpoints.latest(self.directory / "checkpoints")
        kept = f"step {found.step}" if found else "the base as it was"
        return Diverged(
            f"the loss of step {self.at.step + 1} is no number any more",
            value=repr(loss),
            expected="a finite loss",
            found=repr(loss),
            hint=f"{kept} is kept; train with a lower rate than {self.spec.rate:g}",
        )

    def _say(self, kind: str, step: int | None, facts: Mapping[str, Any]) -> None:
        if self.machine.rank == 0:
            self.log.say(kind, step, facts)
