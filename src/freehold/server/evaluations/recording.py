"""A finished run in the record of the model that answered, where a promotion looks for it.

Room: server. Joins a run with weights and record; must not know how it was run.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from freehold.evals import Identity, ItemResult, Metric, Result, record_result
from freehold.evals.items import Data, digest_of
from freehold.evals.statistics import share_estimate
from freehold.library.identity import identity_of
from freehold.store import Job

if TYPE_CHECKING:
    from freehold.server.context import House
    from freehold.server.evaluations.rows import Rows

__all__ = ["record_run"]

_METRIC = Metric(name="passed", about="all criteria of the evaluation are met")


def record_run(house: House, job: Job, rows: Rows, statuses: Sequence[str]) -> None:
    """Writes the event; of a run over answers that came along, nothing. Blocks: it may hash.

    Runs of one evaluation over the same rows and with the same sampling have one task digest,
    whatever the model: they can be compared. Raises: UnknownModel, StoreUnusable, OSError.
    """
    asking = job.spec["asking"]
    if asking is None:
        return
    weights = identity_of(house.residents.weights_of(asking["model"]), home=house.settings.home)
    asked = {key: value for key, value in asking.items() if key != "model"}
    items = tuple(
        ItemResult(index=number, id=str(number), values={"passed": float(status == "pass")})
        for number, status in enumerate(statuses)
    )
    result = Result(
        task=job.spec["eval_name"],
        task_digest=digest_of([job.spec["testing_criteria"], asked, rows.digest]),
        data=Data(name=rows.name, digest=rows.digest, licence="the owner's", source="a run"),
        main=_METRIC.name,
        target=Identity(name=asking["model"], digest=weights.digest, via="server"),
        estimates={_METRIC.name: share_estimate(statuses.count("pass"), len(statuses))},
        metrics=(_METRIC,),
        items=items,
        total=len(items),
    )
    record_result(house.store.events, result, by={"run": job.id, "evaluation": job.parent})
