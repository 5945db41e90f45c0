"""From a reference and a data set to an adapter: asked for, trained in a child process, recorded.

Room: tune. Joins library, record and the worker; must not know terminals or HTTP, nor load torch.
"""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from freehold import library
from freehold.config import Settings
from freehold.errors import BadTraining, FreeholdError, NotAdmitted, SetupError, TuneError
from freehold.formats.json_file import read_json_object
from freehold.library.gate import require
from freehold.library.identity import identity_of
from freehold.library.progress import Progress, silent
from freehold.library.record import Terms, Weights, open_record, record_tuned
from freehold.library.terms import subject_of
from freehold.store import open_store
from freehold.tune.datasets.registry import LOCAL, digest_of
from freehold.tune.provenance import read_provenance
from freehold.tune.training.spec import TrainResult, TrainSpec, checked, read_spec
from freehold.tune.worker import ERROR, SPEC, STOPPED

if TYPE_CHECKING:
    from freehold.store import Events

__all__ = ["Tuned", "check_installed", "place_of", "record_result", "run_worker", "tune"]


@dataclass(frozen=True)
class Tuned:
    """What a training left behind: its folder, and what it came to."""

    name: str
    directory: Path
    result: TrainResult


def check_installed() -> None:
    """Raises: SetupError where torch is not installed; it is not loaded."""
    if find_spec("torch") is None:
        raise SetupError(
            "training needs packages that are not installed",
            value="torch",
            expected="the extra `tune`",
            found="no torch",
            hint="pip install 'freehold[tune]'",
        )


def place_of(name: str, settings: Settings) -> Path:
    """The folder of a training by its name. Raises: BadTraining for what is no name."""
    plain = name.replace("-", "").replace("_", "").replace(".", "")
    if not (plain.isascii() and plain.isalnum() and name[0] not in ".-" and len(name) <= 64):
        raise BadTraining(
            "this cannot be a name",
            value=name[:80],
            expected="letters, digits, '.', '_' and '-', at most 64",
            found=repr(name)[:80],
        )
    return settings.home / "tuned" / name


def tune(  # noqa: PLR0913 - each by its name
    ref: str,
    spec: TrainSpec,
    name: str,
    *,
    settings: Settings,
    processes: int = 1,
    again: bool = False,
    progress: Progress = silent,
    on_event: Callable[[Mapping[str, Any]], None] = lambda _event: None,
) -> Tuned:
    """Trains, and records what came of it; goes on where a training of this name broke off.

    `spec` says what to learn from, a file that was admitted, and how; its base and system message
    are settled here, as serving has them. `again` begins anew.
    Raises: NotAdmitted, LicenceDenied, AcceptanceNeeded, UnknownLicence, UnknownModel, SetupError,
    TuneError, and whatever the worker met.
    """
    check_installed()
    checked(spec)
    require(ref, "tune", settings=settings)
    path = library.resolve(ref, settings=settings)
    directory = place_of(name, settings)
    digests = _grounds(spec, settings)
    base = identity_of(path, home=settings.home, progress=progress)
    whole = checked(
        replace(
            spec,
            base=str(path),
            base_name=str(ref),
            base_digest=base.digest,
            dataset_digests=digests,
            system=spec.system or library.suggested_system(str(ref)),
        )
    )
    _prepare(directory, whole, again=again)
    run_worker(directory, processes=processes, on_event=_watching(progress, on_event))
    licences = subject_of(ref, settings=settings).licences
    licence = licences[0].id if len(licences) == 1 else None
    with open_record(settings) as events:
        record_result(events, directory, name, home=settings.home, licence=licence)
    return Tuned(name, directory, _result(directory))


def _grounds(spec: TrainSpec, settings: Settings) -> tuple[str, ...]:
    """The digest of the data, which was admitted and not withdrawn. Raises: NotAdmitted."""
    digest = digest_of(Path(spec.data))
    store = open_store(settings.database, settings.home)
    try:
        known = store.datasets.find(digest, owner=LOCAL)
        withdrawn = store.datasets.is_withdrawn(digest)
    finally:
        store.close()
    if withdrawn or not known:
        raise NotAdmitted(
            "this data was withdrawn: nothing is trained on it any more"
            if withdrawn
            else "nothing says why this data may be trained on",
            value=Path(spec.data).name,
            expected="a data set that was taken in with its grounds",
            found="one that was withdrawn" if withdrawn else "a file that nobody took in",
            hint="freehold dataset add FILE --name NAME --basis ... --licence ...",
        )
    return (digest,)


def _prepare(directory: Path, spec: TrainSpec, *, again: bool) -> None:
    """Puts the specification into its folder.

    Raises: BadTraining where something was trained there already with another one.
    """
    if again:
        shutil.rmtree(directory, ignore_errors=True)
    path = directory / SPEC
    if path.exists() and (directory / "events.jsonl").exists():
        began = asdict(read_spec(path.read_text("utf-8")))
        other = [name for name, value in asdict(spec).items() if began[name] != value]
        if other:
            raise BadTraining(
                f"{directory.name} is another training",
                value=directory.name,
                expected="the settings that it began with",
                found="others: " + ", ".join(other),
                hint="choose another --name, or begin anew with --again",
            )
        return
    directory.mkdir(parents=True, exist_ok=True)
    temporary = directory / f".{SPEC}.part"
    temporary.write_text(spec.as_json(), encoding="utf-8")
    temporary.replace(path)


def _watching(
    progress: Progress, on_event: Callable[[Mapping[str, Any]], None]
) -> Callable[[Mapping[str, Any]], None]:
    steps = 0

    def hear(event: Mapping[str, Any]) -> None:
        nonlocal steps
        if event["kind"] == "started":
            steps = int(event["steps"])
        if event["kind"] in ("started", "step"):
            progress("train", int(event["step"]), steps)
        on_event(event)

    return hear


def run_worker(
    directory: Path, *, processes: int, on_event: Callable[[Mapping[str, Any]], None]
) -> None:
    """Runs the training of a folder in a child process, and waits for it.

    An interrupt is passed on: the child keeps a checkpoint before it ends. Raises: TuneError.
    """
    module = ["-m", "freehold.tune.worker", str(directory)]
    if processes > 1:
        module = ["-m", "torch.distributed.run", f"--nproc-per-node={processes}", *module]
    with subprocess.Popen([sys.executable, *module], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        try:
            for line in child.stdout:
                if line.startswith("{"):
                    on_event(json.loads(line))
        except KeyboardInterrupt:
            child.send_signal(signal.SIGINT)
            child.wait()
            raise
        status = child.wait()
    if status:
        raise _failure(directory, status)


def _failure(directory: Path, status: int) -> FreeholdError:
    hint = "start the same again: it goes on from the last checkpoint"
    if status == STOPPED:
        return TuneError("the training was stopped", value=directory.name, hint=hint)
    if (directory / ERROR).exists():
        said = read_json_object(directory / ERROR)
        return _known(said)
    return TuneError(
        "the training's process ended",
        value=directory.name,
        expected="an exit status of 0",
        found=f"signal {-status}" if status < 0 else f"status {status}",
        hint=hint,
    )


def _known(said: Mapping[str, Any]) -> FreeholdError:
    """The worker's error as it was raised there."""
    kind = _by_code(FreeholdError, str(said.get("code"))) or TuneError
    words = {key: str(said.get(key) or "") for key in ("expected", "found", "hint")}
    return kind(str(said.get("message")), value=said.get("value"), **words)


def _by_code(kind: type[FreeholdError], code: str) -> type[FreeholdError] | None:
    if kind.code == code:
        return kind
    found: Sequence[type[FreeholdError] | None] = [
        _by_code(each, code) for each in kind.__subclasses__()
    ]
    return next((each for each in found if each is not None), None)


def record_result(
    events: Events, directory: Path, name: str, *, home: Path, licence: str | None
) -> None:
    """Writes what a finished training's folder holds into the record, unless it is there.

    Raises: StoreUnusable, FormatError.
    """
    result = _result(directory)
    assert result.adapter_dir is not None, "a training that ends has a result"
    said = read_provenance(result.adapter_dir)
    assert said is not None, "the worker writes it beside the adapter"
    identity = identity_of(result.adapter_dir, home=home)
    if any(event.kind == "tuned" for event in events.about(identity.digest)):
        return
    record_tuned(
        events,
        Weights(
            identity=identity,
            name=name,
            location=result.adapter_dir,
            terms=Terms(licence=licence),
        ),
        base=said.base,
        datasets=said.datasets,
        training={"settings": dict(said.training), "result": _came(result)},
    )


def _result(directory: Path) -> TrainResult:
    done = read_json_object(directory / "result.json")
    return TrainResult(**{**done, "adapter_dir": directory / str(done["adapter_dir"])})


def _came(result: TrainResult) -> dict[str, Any]:
    return {
        "steps": result.steps,
        "train_loss": result.train_loss,
        "heldout_loss": result.heldout_loss,
        "heldout_loss_before": result.first_heldout_loss,
        "tokens": result.tokens,
    }
