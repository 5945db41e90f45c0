"""Jobs: one worker each, no event lost, nobody else's shown."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from freehold.errors import BadRequest, NotFound
from freehold.store import Job, Jobs, Said, Store, open_store

CLAIM_ALL = """
import json, sys
from pathlib import Path
from freehold.store import open_store
store = open_store(None, Path(sys.argv[1]))
print("ready", flush=True)
sys.stdin.readline()
found = []
while (job := store.jobs.claim("batch", sys.argv[2])) is not None:
    found.append(job.id)
    store.jobs.finish(job.id, sys.argv[2], "succeeded", say=[Said("done")])
store.close()
print(json.dumps(found))
""".replace("import open_store", "import Said, open_store")


@pytest.fixture
def store(home: Path) -> Iterator[Store]:
    opened = open_store(None, home)
    yield opened
    opened.close()


@pytest.fixture
def jobs(store: Store) -> Jobs:
    return store.jobs


def new(jobs: Jobs, *, owner: str = "ann", kind: str = "batch") -> Job:
    return jobs.create(owner=owner, kind=kind, spec={"n": 1}, say=[Said("created")])


def claimed(jobs: Jobs, worker: str = "w1") -> Job:
    job = jobs.claim("batch", worker)
    assert job is not None
    return job


def test_a_job_is_claimed_once_and_the_oldest_first(jobs: Jobs) -> None:
    first, second = new(jobs), new(jobs)
    assert [claimed(jobs).id, claimed(jobs).id] == [first.id, second.id]
    assert jobs.claim("batch", "w2") is None


def test_a_job_of_another_kind_is_not_claimed(jobs: Jobs) -> None:
    new(jobs, kind="fine_tuning")
    assert jobs.claim("batch", "w1") is None


def test_two_processes_never_claim_the_same_job(store: Store, home: Path) -> None:
    made = {new(store.jobs).id for _ in range(40)}
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", CLAIM_ALL, str(home), f"w{number}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(2)
    ]
    for worker in workers:
        assert worker.stdout is not None
        assert worker.stdout.readline() == "ready\n"
    said = [worker.communicate("\n", timeout=60)[0] for worker in workers]
    claimed = [name for each in said for name in json.loads(each)]
    assert len(claimed) == len(made)
    assert set(claimed) == made
    for name in made:
        told = [event.message for event in store.jobs.events(name, owner="ann")]
        assert told == ["created", "done"]


def test_a_dead_workers_job_is_taken_over_with_its_state(jobs: Jobs) -> None:
    job = new(jobs)
    dead = jobs.claim("batch", "dead", lease_s=-1.0)
    assert dead is not None
    jobs.beat(job.id, "dead", {"lines": 3}, lease_s=-1.0)
    again = claimed(jobs, "w2")
    assert (again.id, again.state, again.started_at) == (job.id, {"lines": 3}, dead.started_at)


def test_a_living_workers_job_is_left_alone(jobs: Jobs) -> None:
    new(jobs)
    claimed(jobs)
    assert jobs.claim("batch", "w2") is None


def test_a_worker_that_lost_its_job_changes_nothing(jobs: Jobs) -> None:
    job = new(jobs)
    jobs.claim("batch", "slow", lease_s=-1.0)
    claimed(jobs, "w2")
    assert jobs.beat(job.id, "slow", {"mine": True}, say=[Said("late")]) is None
    assert jobs.finish(job.id, "slow", "succeeded", say=[Said("late")]) is None
    found = jobs.get(job.id, owner="ann")
    assert found is not None
    assert (found.status, found.state) == ("running", {})
    assert [event.message for event in jobs.events(job.id, owner="ann")] == ["created"]


def test_an_earlier_life_of_a_worker_gives_its_jobs_back_at_once(jobs: Jobs) -> None:
    job = new(jobs)
    claimed(jobs, "server")
    assert jobs.claim("batch", "server") is None
    assert jobs.release("server") == 1
    assert claimed(jobs, "server").id == job.id


def test_events_are_numbered_without_a_gap_and_come_after_a_number(jobs: Jobs) -> None:
    job = new(jobs)
    claimed(jobs)
    jobs.beat(job.id, "w1", {"step": 1}, say=[Said("one", data={"loss": 2.5}), Said("two")])
    assert jobs.tell(job.id, "warn", "three") == 4
    events = jobs.events(job.id, owner="ann")
    assert [(event.seq, event.message) for event in events] == [
        (1, "created"),
        (2, "one"),
        (3, "two"),
        (4, "three"),
    ]
    assert (events[1].data, events[3].level) == ({"loss": 2.5}, "warn")
    assert [event.seq for event in jobs.events(job.id, owner="ann", after=2, limit=1)] == [3]


def test_a_state_that_cannot_be_kept_tells_nothing_either(jobs: Jobs) -> None:
    job = new(jobs)
    claimed(jobs)
    with pytest.raises(ValueError, match="JSON compliant"):
        jobs.beat(job.id, "w1", {"step": 1}, say=[Said("bad", data={"loss": float("nan")})])
    found = jobs.get(job.id, owner="ann")
    assert found is not None
    assert found.state == {}
    assert len(jobs.events(job.id, owner="ann")) == 1


def test_another_owner_sees_and_changes_nothing(jobs: Jobs) -> None:
    job = new(jobs)
    assert jobs.get(job.id, owner="bob") is None
    assert jobs.list(owner="bob", kind="batch") == []
    assert jobs.events(job.id, owner="bob") == ()
    assert not jobs.delete(job.id, owner="bob")
    with pytest.raises(NotFound):
        jobs.ask(job.id, "cancel", owner="bob")
    assert jobs.get(job.id, owner="ann") == job


def test_pages_come_newest_first_and_end(jobs: Jobs) -> None:
    made = [new(jobs).id for _ in range(5)]
    page = jobs.list(owner="ann", kind="batch", limit=2)
    assert [job.id for job in page] == made[:2:-1]
    rest = jobs.list(owner="ann", kind="batch", after=page[-1].id)
    assert [job.id for job in rest] == made[2::-1]
    oldest = jobs.list(owner="ann", kind="batch", newest_first=False, limit=1)
    assert oldest[0].id == made[0]
    with pytest.raises(NotFound):
        jobs.list(owner="bob", kind="batch", after=made[0])


def test_a_waiting_job_is_cancelled_at_once_and_a_running_one_is_told(jobs: Jobs) -> None:
    job = new(jobs)
    done = jobs.ask(job.id, "cancel", owner="ann", say=[Said("cancelled")])
    assert (done.status, done.finished_at is not None) == ("cancelled", True)
    assert jobs.claim("batch", "w1") is None
    job = new(jobs)
    claimed(jobs)
    assert jobs.ask(job.id, "cancel", owner="ann").status == "running"
    beaten = jobs.beat(job.id, "w1")
    assert beaten is not None
    assert beaten.asked == "cancel"


def test_a_paused_job_waits_until_it_is_resumed(jobs: Jobs) -> None:
    job = new(jobs)
    claimed(jobs)
    jobs.ask(job.id, "pause", owner="ann")
    jobs.finish(job.id, "w1", "paused", {"step": 7})
    assert jobs.claim("batch", "w1") is None
    assert jobs.ask(job.id, "resume", owner="ann").status == "queued"
    again = claimed(jobs)
    assert (again.state, again.asked) == ({"step": 7}, None)


@pytest.mark.parametrize("what", ["cancel", "pause", "resume"])
def test_nothing_can_be_asked_of_a_job_that_has_ended(jobs: Jobs, what: str) -> None:
    job = new(jobs)
    claimed(jobs)
    jobs.finish(job.id, "w1", "succeeded")
    with pytest.raises(BadRequest, match="has ended"):
        jobs.ask(job.id, what, owner="ann")


def test_deleting_takes_events_and_items_along(store: Store) -> None:
    jobs = store.jobs
    job = new(jobs)
    store.evals.put_item(job.id, 0, {"right": True})
    with pytest.raises(BadRequest, match="not ended"):
        jobs.delete(job.id, owner="ann")
    claimed(jobs)
    jobs.finish(job.id, "w1", "failed")
    assert jobs.delete(job.id, owner="ann")
    with store.database.read() as connection:
        for table in ("jobs", "job_events", "eval_items"):
            assert connection.exec_driver_sql(f"SELECT count(*) FROM {table}").scalar() == 0
