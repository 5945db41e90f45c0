"""A worker that learns nothing: it counts steps, keeps checkpoints, and ends as its data says.

The first message of its data is JSON: how many steps, how long each takes, at which step it kills
itself once, and with which error it fails.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from freehold.tune.training.events import EventLog
from freehold.tune.training.spec import read_spec


def main(folder: Path) -> int:
    spec = read_spec((folder / "spec.json").read_text())
    line = json.loads(Path(spec.data).read_text().splitlines()[0])
    script = json.loads((line.get("messages") or line["prompt"])[0]["content"])
    if "error" in script:
        said = {
            "code": script.get("code", "tune.bad_training"),
            "message": script["error"],
            "hint": "line 1",
        }
        (folder / "error.json").write_text(json.dumps(said))
        return 1
    stopping: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _frame: stopping.append(number))
    log = EventLog(folder / "events.jsonl", lambda _event: None)
    kept = folder / "kept"
    step = int(kept.read_text()) if kept.exists() else 0
    log.say("started", 0, {"steps": script["steps"], "examples": 4})
    while step < script["steps"]:
        if stopping:
            save(log, kept, step)
            log.say("stopped", None, {"after_step": step})
            return 3
        step += 1
        time.sleep(script.get("step_s", 0.0))
        log.say("step", step, {"loss": 1.0 / step, "tokens": 10 * step, "rate": spec.lr})
        if step % 2 == 0:
            save(log, kept, step)
        dead = folder / "died"
        if step == script.get("dies_at") and (script.get("always") or not dead.exists()):
            dead.write_text("x")
            os.kill(os.getpid(), signal.SIGKILL)
    log.say("heldout", step, {"loss": 0.25})
    (folder / "adapter").mkdir(exist_ok=True)
    (folder / "adapter" / "adapter_config.json").write_text("{}")
    (folder / "adapter" / "adapter_model.safetensors").write_text(folder.name)
    result: dict[str, Any] = {"adapter_dir": "adapter", "steps": step, "tokens": 10 * step}
    result |= {"train_loss": 1.0 / step, "heldout_loss": 0.25}
    (folder / "result.json").write_text(json.dumps(result))
    log.close()
    return 0


def save(log: EventLog, kept: Path, step: int) -> None:
    kept.with_suffix(".part").write_text(str(step))
    kept.with_suffix(".part").replace(kept)
    log.say("checkpoint", step, {"folder": f"step-{step}"})


if __name__ == "__main__":
    raise SystemExit(main(Path(sys.argv[1])))
