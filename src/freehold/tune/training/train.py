"""`train`: from a specification to an adapter, in this process.

Room: tune. Puts base, data, what learns and the loop together; must not know servers or terminals.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from freehold.errors import BadTraining
from freehold.formats.json_file import read_json_object
from freehold.library.identity import identity_of
from freehold.loading.text import read_text_side
from freehold.tune.fingerprint import fingerprint_of
from freehold.tune.provenance import Provenance, write_provenance
from freehold.tune.room import in_room
from freehold.tune.training.adapter import LoraShape, add_adapter, load_peft, save_peft
from freehold.tune.training.base import Base, Keep, open_base
from freehold.tune.training.events import EventLog
from freehold.tune.training.lessons import Lessons, read_lessons
from freehold.tune.training.loop import Training
from freehold.tune.training.machine import Machine, available_bytes, row_tokens, settle
from freehold.tune.training.objectives import (
    Objective,
    Preferences,
    Supervised,
    log_probabilities,
    packed,
)
from freehold.tune.training.optimizer import Optimizer
from freehold.tune.training.spec import TrainResult, TrainSpec, checked
from freehold.tune.training.weights import open_plan
from freehold.tune.training.whole import learning_parameters, save_whole

__all__ = ["Lessons", "train", "train_on"]

_KEEPS: Mapping[str, Keep] = {"lora": "frozen", "qlora": "blocks", "full": "learning"}
_LEAST = 2  # examples
_PLACES = {"base", "data", "heldout", "start_from"}  # of this machine, and nobody else's


def train(
    spec: TrainSpec,
    *,
    directory: Path,
    on_event: Callable[[Mapping[str, Any]], None] = lambda _event: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> TrainResult:
    """Reads the data, trains, or goes on from the checkpoint that lies in the directory.

    Mutates: the directory. Raises: as `train_on` and the data's reader.
    """
    checked(spec)
    _check_base(spec)
    with open_plan(Path(spec.base)) as (plan, _):
        context = plan.config.context_tokens
    lessons = read_lessons(spec, context)
    return train_on(
        lessons,
        spec,
        directory=directory,
        on_event=on_event,
        should_stop=should_stop,
        provenance=_provenance(spec),
    )


def train_on(
    lessons: Lessons,
    spec: TrainSpec,
    *,
    directory: Path,
    on_event: Callable[[Mapping[str, Any]], None] = lambda _event: None,
    should_stop: Callable[[], bool] = lambda: False,
    provenance: Provenance | None = None,
) -> TrainResult:
    """Trains, or goes on from the checkpoint that lies in the directory.

    `provenance` is written beside the adapter.
    Mutates: the directory. Raises: BadTraining, Diverged, BadCheckpoint, DiskFull, FormatError,
    LoadError.
    """
    checked(spec)
    done = directory / "result.json"
    if done.exists():
        said = read_json_object(done)
        return TrainResult(**{**said, "adapter_dir": directory / str(said["adapter_dir"])})
    _check_base(spec)
    _check_enough(lessons, spec)
    directory.mkdir(parents=True, exist_ok=True)
    machine = settle(spec)
    spec = replace(spec, row_tokens=row_tokens(spec, machine.device))
    torch.manual_seed(spec.seed)
    base = open_base(
        Path(spec.base), keep=_KEEPS[spec.adapter], dtype=machine.dtype, device=machine.device
    )
    shape, parameters, write = _learners(base, spec)
    optimizer = Optimizer(parameters, spec)
    base.network.checkpointing = _needs_checkpointing(base, spec, machine)
    # One process tells for all.
    told = directory / "events.jsonl" if machine.rank == 0 else Path(os.devnull)
    log = EventLog(told, on_event)
    try:
        training = Training(
            spec=spec,
            machine=machine,
            base=base,
            objective=_objective(base, spec, lessons),
            bundles=lessons.bundles,
            heldout=lessons.heldout,
            optimizer=optimizer,
            directory=directory,
            log=log,
            write=partial(_write, write, provenance),
            should_stop=should_stop,
            identity=_identity(spec, lessons),
            shape=shape,
            split=lessons.split,
        )
        with in_room(directory):
            return training.run()
    finally:
        log.close()
        machine.leave()


def _provenance(spec: TrainSpec) -> Provenance:
    """From what the adapter is made, and how that is rendered."""
    path = Path(spec.base)
    return Provenance(
        base=spec.base_digest or identity_of(path).digest,
        base_name=spec.base_name or path.name,
        datasets=spec.dataset_digests,
        fingerprint=fingerprint_of(read_text_side(path)),
        training={k: v for k, v in asdict(spec).items() if k not in _PLACES},
    )


def _write(write: Callable[[Path], None], provenance: Provenance | None, directory: Path) -> None:
    write(directory)
    if provenance is not None:
        write_provenance(directory, provenance)


def _check_enough(lessons: Lessons, spec: TrainSpec) -> None:
    learned = sum(int(text.learned.sum()) for texts in lessons.bundles for text in texts)
    if len(lessons.bundles) < _LEAST or not learned:
        raise BadTraining(
            "there is too little to learn from",
            value=spec.data,
            expected=f"at least {_LEAST} examples with tokens to learn",
            found=f"{len(lessons.bundles)} examples, {learned} learned tokens",
        )


def _check_base(spec: TrainSpec) -> None:
    if not Path(spec.base).exists():
        raise BadTraining(
            "the base model is not there", value=spec.base, expected="a file or a directory"
        )


def _learners(
    base: Base, spec: TrainSpec
) -> tuple[LoraShape | None, dict[str, torch.nn.Parameter], Callable[[Path], None]]:
    """What learns, and how it is saved. Mutates: base."""
    if spec.adapter == "full":
        return None, learning_parameters(base), partial(save_whole, base, Path(spec.base))
    shape = LoraShape(spec.rank, spec.alpha, spec.targets, spec.dropout)
    parameters = add_adapter(base, shape, seed=spec.seed)
    if spec.start_from is not None:
        load_peft(base, Path(spec.start_from))
    name = spec.base_name or Path(spec.base).name
    return shape, parameters, partial(save_peft, base, shape, base_name=name)


def _objective(base: Base, spec: TrainSpec, lessons: Lessons) -> Objective:
    if spec.method == "sft":
        return Supervised()
    every = [*lessons.bundles, *lessons.heldout]
    reference: dict[int, tuple[float, float]] = {}
    base.network.adapted = False
    with torch.no_grad():
        for row in packed(every, row_tokens=spec.row_tokens, share=True):
            sums = log_probabilities(base.network, row)
            for number in {bundle for bundle, _ in row[1]}:
                reference[number] = (float(sums[number, 0]), float(sums[number, 1]))
    base.network.adapted = True
    return Preferences(spec.beta, reference)


def _needs_checkpointing(base: Base, spec: TrainSpec, machine: Machine) -> bool:
    """Whether a row's activations would take more than the budget, or half of what is free."""
    c = base.network.config
    heads = (c.heads + 2 * c.kv_heads) * c.head_width
    each = 6 * c.width + 3 * heads + 4 * c.mlp_width  # what a layer keeps of a token
    size = torch.finfo(machine.dtype).bits // 8
    needed = c.layers * each * (spec.row_tokens or 0) * size
    if spec.memory_bytes is not None:
        return bool(needed > spec.memory_bytes)
    if machine.device.type == "cuda":
        return bool(needed > torch.cuda.mem_get_info(machine.device)[0] // 2)
    return bool(needed > available_bytes() // 2)


def _identity(spec: TrainSpec, lessons: Lessons) -> str:
    """What a checkpoint must agree with; how it is computed may change."""
    how = {"threads", "memory_bytes", "device", "checkpoint_every_steps", "base_name", "data"}
    how |= {"heldout", "base"} if spec.base_digest else {"heldout"}
    said = {key: value for key, value in asdict(spec).items() if key not in how}
    text = json.dumps(said, sort_keys=True) + lessons.digest
    return hashlib.sha256(text.encode()).hexdigest()
