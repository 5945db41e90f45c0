"""From a request to a job: everything that can be refused is refused before anything is trained.

Room: server. Knows cards, files and data sets; must not know torch.
"""

from __future__ import annotations

import re
import secrets
import time
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from freehold.errors import BadDataset, BadRequest, NotFound, SetupError, UnknownModel, WrongTask
from freehold.library.gate import require
from freehold.library.record import record_dataset_admitted
from freehold.server.routes.openai.fine_tuning_form import FineTuningBody, Settled
from freehold.server.tuning.running import check_consent
from freehold.store import BASES, Dataset, Job, Said, StoredFile
from freehold.tune.datasets import Example, Preference, read_examples
from freehold.tune.training.spec import TrainSpec

if TYPE_CHECKING:
    from freehold.server.cards import ModelCard
    from freehold.server.context import Asker, House

__all__ = ["begin"]

_LEAST = 2  # examples
_SUFFIX = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)


def begin(house: House, asker: Asker, body: FineTuningBody, seed: int) -> Job:
    """The job, queued.

    Raises: BadRequest, NotFound, UnknownModel, WrongTask, NotAdmitted, what the gate raises.
    """
    if find_spec("torch") is None:
        raise SetupError(
            "training needs packages that are not installed",
            expected="the extra `tune`",
            found="no torch",
            hint="pip install 'freehold[tune]'",
        )
    card = _base(house, body.model)
    require(card.path, "tune", settings=house.settings, name=card.id)
    training = _file(house, asker, body.training_file, "training_file")
    files = [training]
    if body.validation_file is not None:
        files.append(_file(house, asker, body.validation_file, "validation_file"))
        if files[0].sha256 == files[1].sha256:
            raise BadRequest(
                "the validation file is the training file",
                param="validation_file",
                hint="what was learned by heart says nothing",
            )
    digests = {file.id: f"sha256:{file.sha256}" for file in files}
    rows = {}
    for file, field in zip(files, ("training_file", "validation_file"), strict=False):
        check_consent(house, digests[file.id])
        rows[file.id] = _num_examples(house, body, file, field)
        _admit(house, asker, file, rows[file.id], dict(body.metadata or {}))
    method = Settled(body, rows[training.id])
    usual = TrainSpec(base="", data="", method="dpo" if method.type == "dpo" else "sft").rate
    suffix = _suffix(house, card, body.suffix)
    spec: dict[str, Any] = {
        "model": card.id,
        "training_file": training.id,
        "validation_file": body.validation_file,
        "digests": digests,
        "method": method.as_method(),
        "hyperparameters": method.shown,
        "metadata": body.metadata,
        "fine_tuned_model": f"{card.id}:ft-{suffix}",
        "train": method.spec(usual) | {"seed": seed, "dataset_digests": [digests[training.id]]},
    }
    return house.store.jobs.create(
        owner=asker.key_id,
        kind="fine_tuning",
        spec=spec,
        say=[Said(f"Created fine-tuning job for {card.id}"), Said("The job is queued")],
    )


def _base(house: House, model: str) -> ModelCard:
    card = next((card for card in house.residents.cards() if card.id == model), None)
    if card is None:
        raise UnknownModel("no model has this id", param="model", value=model)
    if card.kind != "chat" or card.parent is not None:
        raise WrongTask(
            "this model cannot be fine-tuned",
            param="model",
            value=model,
            expected="a chat model that is not an adapter",
            found="an adapter" if card.parent else card.kind,
        )
    return card


def _file(house: House, asker: Asker, file_id: str, field: str) -> StoredFile:
    file = house.store.files.get(file_id, owner=asker.key_id)
    if file is None:
        raise NotFound("no file of yours has this id", param=field, value=file_id)
    if file.purpose != "fine-tune" or not file.bytes:
        raise BadRequest(
            "the file is not one to train on",
            param=field,
            expected="purpose fine-tune, and at least one line",
            found=f"purpose {file.purpose}, {file.bytes} bytes",
        )
    return file


def _admit(house: House, asker: Asker, file: StoredFile, rows: int, said: dict[str, str]) -> None:
    """Data on record may be trained on; other data is put on record by what the request says."""
    digest = f"sha256:{file.sha256}"
    if house.store.datasets.find(digest, owner=asker.key_id):
        return
    basis, consent = said.get("basis"), said.get("consent")
    if basis not in BASES or (basis == "consent" and not consent):
        raise BadRequest(
            "nothing is on record that says why this data may be trained on",
            param="metadata.consent" if basis == "consent" else "metadata.basis",
            value=basis,
            expected="metadata.basis: " + ", ".join(BASES) + "; with consent a reference to it",
            hint="`freehold dataset add` records a data set beforehand",
        )
    dataset = Dataset(
        owner=asker.key_id,
        name=file.id,
        digest=digest,
        rows=rows,
        tokens=None,
        form="auto",
        licence=said.get("licence", ""),
        basis=basis,
        consent=consent,
        provenance=said.get("provenance", f"uploaded as {file.filename}"),
        created_at=time.time(),
        facts={"bytes": file.bytes, "file_id": file.id},
    )
    house.store.datasets.put(dataset)
    record_dataset_admitted(house.store.events, dataset)


def _num_examples(house: House, body: FineTuningBody, file: StoredFile, field: str) -> int:
    """How many there are, every line read. Raises: BadRequest, naming the line."""
    method = "supervised" if body.method is None else body.method.type
    wanted = Preference if method == "dpo" else Example
    count = 0
    try:
        for one in read_examples(house.store.files.place(file.id)):
            if not isinstance(one, wanted):
                raise BadRequest(
                    f"line {one.line} is not what the method {method} learns from",
                    param=field,
                    expected="preferences" if method == "dpo" else "conversations",
                )
            count += 1
    except BadDataset as error:
        raise BadRequest(str(error), param=field) from error
    if count < _LEAST and field == "training_file":
        raise BadRequest(
            "there is too little to learn from",
            param=field,
            expected=f"at least {_LEAST} examples",
            found=str(count),
        )
    return count


def _suffix(house: House, card: ModelCard, asked: str | None) -> str:
    if asked is None:
        return secrets.token_hex(4)
    if not _SUFFIX.fullmatch(asked):
        raise BadRequest(
            "the suffix is not usable",
            param="suffix",
            value=asked,
            expected="letters, digits and . _ -",
        )
    name = f"{card.id}:ft-{asked}"
    jobs = house.store.jobs.unfinished("fine_tuning")
    taken = {each.id for each in house.residents.cards()}
    if name in taken | {job.spec["fine_tuned_model"] for job in jobs}:
        raise BadRequest(
            f"a model is called {name!r} already, or will be",
            param="suffix",
            value=asked,
            hint="take another suffix, or delete that model",
        )
    return asked
