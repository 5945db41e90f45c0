"""What a training's worker says, as a job's events and state.

Room: server. Pure: from lines to words; must not know processes or the database.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from freehold.store import Said

__all__ = ["heard", "new_lines"]

_MOST_BYTES = 4 << 20
_COUNTED = ("steps", "examples", "heldout_examples", "tokens", "learned_tokens", "split")


def new_lines(path: Path, start: int) -> tuple[list[dict[str, Any]], int]:
    """The whole lines after `start`, and where they end. A line that is being written waits."""
    try:
        with path.open("rb") as file:
            file.seek(start)
            raw = file.read(_MOST_BYTES)
    except FileNotFoundError:
        return [], start
    end = raw.rfind(b"\n") + 1
    said = [json.loads(line) for line in raw[:end].splitlines()]
    return [event for event in said if isinstance(event, dict)], start + end


def heard(event: Mapping[str, Any], state: dict[str, Any]) -> Said | None:
    """One event in words; None for one that is told otherwise. Mutates: state."""
    kind, step = str(event.get("kind")), event.get("step")
    total = state.get("steps")
    match kind:
        case "started":
            state["steps"] = event.get("steps")
            facts = {key: event[key] for key in _COUNTED if key in event}
            return Said(f"Training started: {event.get('steps')} steps", data=facts)
        case "step":
            loss = event.get("loss")
            state["step"], state["trained_tokens"] = step, event.get("tokens")
            state["last"] = {**state.get("last", {}), "train_loss": loss}
            data = {"type": "metrics", "step": step, "train_loss": loss, "total_steps": total}
            data["learning_rate"] = event.get("rate")
            return Said(f"Step {step}/{total}: training loss={_number(loss)}", data=data)
        case "heldout":
            loss = event.get("loss")
            state["last"] = {**state.get("last", {}), "full_valid_loss": loss}
            data = {"type": "metrics", "step": step, "full_valid_loss": loss, "total_steps": total}
            return Said(f"Step {step}/{total}: validation loss={_number(loss)}", data=data)
        case "checkpoint":
            kept = {"step": step, "at": event.get("at"), **state.get("last", {})}
            before = [one for one in state.get("checkpoints", ()) if one["step"] != step]
            state["checkpoints"] = [*before, kept]
            return Said(f"Checkpoint kept at step {step}", data={"step": step})
        case "early_stop":
            data = {"best_step": event.get("best_step"), "step": step}
            return Said(f"Stopped early: step {event.get('best_step')} was the best", data=data)
        case "stopped":
            return Said(f"Training stopped after step {event.get('after_step')}")
        case _:
            return None


def _number(value: object) -> str:
    return f"{value:.4f}" if isinstance(value, float) else str(value)
