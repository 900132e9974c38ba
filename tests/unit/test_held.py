"""What a process holds: added once, removed by the try that added it, heartbeat only when old enough."""

import time
from uuid import UUID, uuid4

from consumers.held import Abort, HeldJob, HeldJobs


def job(job_id: UUID | None = None, *, epoch: int = 1, age_s: float = 0.0) -> HeldJob:
    def abort(why: Abort) -> None:
        raise AssertionError(why)

    return HeldJob(job_id or uuid4(), epoch, time.monotonic() + 10, abort, time.monotonic() - age_s)


def test_jobs_are_held_until_removed() -> None:
    held = HeldJobs()
    first, second = job(), job()
    held.add(first)
    held.add(second)
    assert (len(held), held.every()) == (2, [first, second])
    held.remove(first)
    assert held.every() == [second]
    held.remove(first)
    assert len(held) == 1


def test_an_old_try_does_not_remove_the_new_one_of_the_same_job() -> None:
    held = HeldJobs()
    old = job()
    new = job(old.id, epoch=2)
    held.add(old)
    held.add(new)
    held.remove(old)
    assert held.every() == [new]


def test_only_jobs_held_for_long_need_a_heartbeat() -> None:
    held = HeldJobs()
    young, old = job(), job(age_s=5)
    held.add(young)
    held.add(old)
    assert held.older_than(2) == [old]
    assert held.older_than(10) == []
