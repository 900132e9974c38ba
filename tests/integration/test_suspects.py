"""A job that kills its workers is told from those that only ran beside it, which are not charged."""

import json
import time
from collections.abc import Collection
from contextlib import AsyncExitStack
from datetime import timedelta
from uuid import UUID

import pytest

from infra.postgres.queries import claim, deaths
from infra.postgres.queries.deaths import Lost
from producers.rescue import Rescuer
from schemas.lifecycle import JobState
from tests.integration.house import RESCUE
from tests.integration.jobs import Jobs

S = JobState
PATIENT = RESCUE.model_copy(update={"unclaimed": timedelta(minutes=1)})


class Deaths:
    """Jobs moved by hand, with workers that die; every wait is over at once."""

    def __init__(self, jobs: Jobs) -> None:
        self.jobs = jobs
        self.rescuer = Rescuer(jobs.database, PATIENT, lambda: None)

    async def claim(self, *ids: UUID, worker: str = "w") -> None:
        assert len(await self.jobs.claim(*ids, worker=worker)) == len(ids)

    async def die(
        self, *workers: str, after_s: float | None = 1, crowd: Collection[str] = (), charged: bool = True
    ) -> Lost:
        """The workers, or `w`, die `after_s` after they claimed their jobs, or now; `crowd`: with many others."""
        dead = workers or ("w",)
        for worker in () if after_s is None else dead:
            await self.run_for(after_s, worker)
        async with self.jobs.database.connection() as connection:
            lost = await deaths.end_leases(
                connection, 100, proof=PATIENT.proof, dead=dead, crowd=crowd, charged=charged
            )
        await self.jobs.fetch("UPDATE job SET due_at = now() WHERE state = 'retry_wait'")
        return lost

    async def run_for(self, seconds: float, worker: str = "w") -> None:
        """Make it look as if the worker claimed its jobs `seconds` ago, and just renewed their leases by a minute."""
        await self.jobs.fetch(
            "UPDATE job SET claimed_at = now() - make_interval(secs => $1), lease_until = now() + interval '1 min'"
            " WHERE worker = $2",
            seconds,
            worker,
        )

    async def suspects(self, count: int) -> list[UUID]:
        """Jobs in `retry_wait` that were running when two workers died."""
        ids = await self.jobs.submit(count)
        for number in range(deaths.SUSPECTED):
            await self.claim(*ids)
            await self.die()
            if number == 0:
                assert await self.rescuer.sweep() == count
        return ids

    async def let_go(self) -> list[UUID]:
        """The jobs that a sweep queues."""
        before = {row["id"] for row in await self.jobs.fetch("SELECT id FROM job WHERE state = 'queued'")}
        await self.rescuer.sweep()
        rows = await self.jobs.fetch("SELECT id FROM job WHERE state = 'queued' ORDER BY id")
        return [row["id"] for row in rows if row["id"] not in before]

    async def counts(self, *ids: UUID) -> list[tuple[str, int, int, int]]:
        """The state, attempt, deaths and suspicion of each job."""
        rows = {row["id"]: row for row in await self.jobs.rows(ids)}
        return [(r["state"], r["attempt"], r["deaths"], r["suspicion"]) for r in (rows[id] for id in ids)]


@pytest.fixture
def life(jobs: Jobs) -> Deaths:
    return Deaths(jobs)


async def test_deaths_cost_no_attempts_however_many(life: Deaths) -> None:
    ids = await life.jobs.submit(2, max_attempts=2)
    for number in range(1, 6):
        await life.claim(*ids)
        await life.die()
        assert await life.counts(*ids) == [("retry_wait", 0, number, min(number, 2))] * 2
        await life.jobs.fetch("UPDATE job SET state = 'queued'")


async def test_after_a_first_death_all_jobs_continue_at_once(life: Deaths) -> None:
    ids = await life.jobs.submit(20)
    await life.claim(*ids)
    await life.die()
    assert await life.let_go() == ids


async def test_where_one_worker_lives_one_suspect_at_a_time_goes_and_others_beside_it(life: Deaths) -> None:
    first, second, third = await life.suspects(3)
    other, epoch = await life.jobs.running()
    await life.jobs.finish(other, epoch, S.RETRY_WAIT)
    assert await life.let_go() == [first, other]
    assert await life.let_go() == []
    await life.claim(first)
    assert await life.let_go() == []
    await life.jobs.finish(first, (await life.jobs.row(first))["epoch"], S.SUCCEEDED)
    assert await life.let_go() == [second]
    await life.jobs.cancel(second)
    assert await life.let_go() == [third]


async def test_a_suspect_that_outran_its_last_death_holds_back_no_other(life: Deaths) -> None:
    first, second = await life.suspects(2)
    assert await life.let_go() == [first]
    await life.claim(first)
    await life.run_for(1)
    assert await life.let_go() == []
    await life.run_for(5)
    assert await life.let_go() == [second]


async def test_a_suspect_that_died_late_holds_the_others_back_for_half_a_minute(life: Deaths) -> None:
    first, second = await life.suspects(2)
    await life.jobs.fetch("UPDATE job SET died_after = interval '1 h'")
    assert await life.let_go() == [first]
    await life.claim(first)
    await life.run_for(25)
    assert await life.let_go() == []
    await life.run_for(31)
    assert await life.let_go() == [second]


async def test_a_job_that_kills_late_is_told_from_those_that_died_beside_it(life: Deaths) -> None:
    """They start one after the other, and those before it outrun their last death before it kills again."""
    ids = await life.suspects(4)
    killer, after_s = ids[1], 600.0
    passes = "UPDATE job SET claimed_at = claimed_at - make_interval(secs => $1) WHERE state = 'running'"
    age = "SELECT extract(epoch FROM now() - claimed_at)::float8 AS s FROM job WHERE id = $1"
    lease = "UPDATE job SET lease_until = now() + interval '1 min' WHERE state = 'running'"
    await life.jobs.fetch("UPDATE job SET died_after = interval '11 min'")  # 10, and what is left of the lease
    deaths_seen = deaths.SUSPECTED
    while (await life.jobs.row(killer))["state"] != "failed":
        while await life.jobs.fetch("SELECT FROM job WHERE state = 'retry_wait'"):
            await life.claim(*await life.let_go())
            await life.jobs.fetch(passes, 31.0)
        [(ran_s,)] = await life.jobs.fetch(age, killer)
        await life.jobs.fetch(passes, after_s - ran_s)
        await life.jobs.fetch(lease)
        await life.die(after_s=None)
        deaths_seen += 1
        assert deaths_seen <= 7
    assert {row["state"] for row in await life.jobs.rows(ids)} == {"retry_wait", "failed"}


async def test_a_suspect_that_nobody_claims_holds_back_no_other_for_longer_than_a_minute(life: Deaths) -> None:
    first, second = await life.suspects(2)
    assert await life.let_go() == [first]
    await life.jobs.fetch("UPDATE job SET due_at = now() - interval '61 s' WHERE id = $1", first)
    assert await life.let_go() == [second]


async def test_half_as_many_suspects_go_as_workers_live_and_fewer_the_more_is_against_them(life: Deaths) -> None:
    ids = await life.suspects(8)
    async with AsyncExitStack() as sessions:
        for number in range(4):
            session = await sessions.enter_async_context(life.jobs.database.connection())
            await claim.attend(session, f"w{number}")
            sessions.push_async_callback(session.execute, "SELECT pg_advisory_unlock_all()")
        assert await life.let_go() == ids[:2]
        await life.claim(*ids[:2])
        await life.jobs.fetch("UPDATE job SET suspicion = 3 WHERE id = $1", ids[2])
        await life.jobs.finish(ids[0], 3, S.SUCCEEDED)
        assert await life.let_go() == []  # with so much against one, it waits until no other suspect is under way
        await life.jobs.finish(ids[1], 3, S.SUCCEEDED)
        assert await life.let_go() == [ids[2]]


async def test_the_suspect_that_died_soonest_goes_first(life: Deaths) -> None:
    slow, quick = await life.suspects(2)
    await life.jobs.fetch("UPDATE job SET died_after = interval '5 min' WHERE id = $1", slow)
    assert await life.let_go() == [quick]


async def test_a_job_that_kills_its_worker_twice_alone_is_dead_and_its_neighbours_go_on(life: Deaths) -> None:
    [killer] = await life.suspects(1)
    for alone in (1, 2):
        assert await life.let_go() == [killer]
        neighbours = await life.jobs.submit(3, max_attempts=2)
        await life.claim(killer, *neighbours)
        lost = await life.die()
        assert await life.counts(*neighbours) == [("retry_wait", 0, 1, 1)] * 3
        assert (lost.jobs, lost.workers, lost.killers) == (4, {"w"}, [killer] * (alone - 1))
        await life.jobs.fetch("UPDATE job SET state = 'succeeded' WHERE id = ANY($1)", neighbours)
    row = await life.jobs.row(killer)
    assert (row["state"], row["finished_at"] is None) == ("failed", False)
    assert json.loads(row["error"]) == {
        "code": "worker_killed",
        "message": "its stage kills workers: several died while no other suspect ran there",
        "retryable": False,
    }
    letters = await life.jobs.fetch("SELECT job_id, reason FROM dead_letter")
    assert [tuple(letter) for letter in letters] == [(killer, "worker_killed")]


@pytest.mark.parametrize(("seen", "adds"), [(0, 2), (1, 1), (2, 0)])
async def test_a_death_proves_the_less_the_more_deaths_a_neighbour_saw(life: Deaths, seen: int, adds: int) -> None:
    first, second = await life.suspects(2)
    await life.jobs.fetch("UPDATE job SET state = 'queued'")
    await life.jobs.fetch("UPDATE job SET deaths = $2, suspicion = $2 WHERE id = $1", second, seen)
    await life.claim(first, second)
    await life.die()
    assert await life.counts(first, second) == [
        ("retry_wait", 0, 3, 2 + adds),
        ("retry_wait", 0, seen + 1, min(seen + 1, 2)),
    ]


async def test_one_new_killer_does_not_bring_an_innocent_suspect_down(life: Deaths) -> None:
    """Not before it is a suspect itself: then the two no longer go together."""
    [innocent] = await life.suspects(1)
    [killer] = await life.jobs.submit(1)
    for _ in range(deaths.SUSPECTED):
        await life.jobs.fetch("UPDATE job SET state = 'queued'")
        await life.claim(innocent, killer)
        assert (await life.die()).killers == []
    assert await life.counts(innocent, killer) == [("retry_wait", 0, 4, 5), ("retry_wait", 0, 2, 2)]


async def test_a_job_that_outran_its_last_death_is_cleared_of_it(life: Deaths) -> None:
    """Of this one it is not: and it is nobody's rival for it."""
    cleared, killer = await life.suspects(2)
    await life.jobs.fetch("UPDATE job SET state = 'queued'")
    await life.claim(cleared)
    await life.run_for(30)
    await life.claim(killer)
    await life.die(after_s=None)
    assert await life.counts(cleared, killer) == [("retry_wait", 0, 3, 1), ("retry_wait", 0, 3, 4)]


async def test_what_was_proved_against_a_job_stays_when_it_runs_longer(life: Deaths) -> None:
    [killer] = await life.suspects(1)
    for after_s, suspicion in [(1, 4), (30, 4), (30, 6)]:
        await life.jobs.fetch("UPDATE job SET state = 'queued'")
        await life.claim(killer)
        lost = await life.die(after_s=after_s)
        assert (await life.jobs.row(killer))["suspicion"] == suspicion
    assert lost.killers == [killer]


async def test_workers_that_die_at_once_are_judged_each_by_itself(life: Deaths) -> None:
    here, there = await life.suspects(2)
    await life.jobs.fetch("UPDATE job SET state = 'queued'")
    await life.claim(here, worker="here")
    await life.claim(there, worker="there")
    assert (await life.die("here", "there")).workers == {"here", "there"}
    assert await life.counts(here, there) == [("retry_wait", 0, 3, 4)] * 2


async def test_a_crowd_of_workers_that_dies_at_once_speaks_against_nobody(life: Deaths) -> None:
    """A few times: then they may be many killers."""
    [job_id] = await life.jobs.submit(1)
    for number in range(1, 7):
        await life.claim(job_id)
        await life.die(crowd=["w"])
        assert await life.counts(job_id) == [("retry_wait", 0, number, max(0, number - deaths.EXCUSED))]
        await life.jobs.fetch("UPDATE job SET state = 'queued'")


@pytest.mark.parametrize(("workers", "suspicion"), [(2, 1), (3, 0)])
async def test_workers_that_fall_silent_at_once_are_a_crowd_from_three_on(
    life: Deaths, workers: int, suspicion: int
) -> None:
    ids = await life.jobs.submit(workers)
    for number, job_id in enumerate(ids):
        await life.claim(job_id, worker=f"w{number}")
    await life.jobs.fetch("UPDATE job SET lease_until = now() - interval '0.1 s'")
    await life.rescuer.sweep()
    assert await life.counts(*ids) == [("retry_wait", 0, 1, suspicion)] * workers


@pytest.mark.parametrize(("vanished_s", "suspicions"), [((0, 1, 2), (0, 0, 0)), ((0, 1, 60), (1, 1, 1))])
async def test_workers_that_vanish_within_seconds_are_a_crowd_though_sweeps_find_them_one_by_one(
    life: Deaths, monkeypatch: pytest.MonkeyPatch, vanished_s: tuple[int, ...], suspicions: tuple[int, ...]
) -> None:
    ids = await life.jobs.submit(len(vanished_s))
    rescuer = Rescuer(life.jobs.database, PATIENT.model_copy(update={"gone": timedelta(seconds=5)}), lambda: None)
    clock = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: clock)
    async with AsyncExitStack() as sessions:
        ends: list[AsyncExitStack] = []
        for number, job_id in enumerate(ids):
            await life.claim(job_id, worker=f"w{number}")
            own = await sessions.enter_async_context(AsyncExitStack())
            session = await own.enter_async_context(life.jobs.database.connection())
            await claim.attend(session, f"w{number}")
            own.push_async_callback(session.execute, "SELECT pg_advisory_unlock_all()")
            ends.append(own)
        for second in range(vanished_s[-1] + 7):
            clock = 1000.0 + second
            for own, at in zip(ends, vanished_s, strict=True):
                if at == second:
                    await own.aclose()
            await rescuer.sweep()
    rows = {row["id"]: row for row in await life.jobs.rows(ids)}
    assert tuple(rows[job_id]["suspicion"] for job_id in ids) == suspicions
    assert {row["deaths"] for row in rows.values()} == {1}


async def test_what_a_silent_worker_ran_is_judged_together(life: Deaths) -> None:
    """It claimed one after its last heartbeat, so that lease ends a little later."""
    early, late = await life.jobs.submit(2)
    await life.claim(early, late)
    lease = "UPDATE job SET lease_until = now() + make_interval(secs => $2) WHERE id = $1"
    await life.jobs.fetch(lease, early, -0.1)
    await life.jobs.fetch(lease, late, 1.9)
    assert await life.rescuer.sweep() == 0
    await life.jobs.fetch(lease, late, -0.1)
    assert await life.rescuer.sweep() == 2


async def test_the_next_stage_has_seen_no_deaths(life: Deaths) -> None:
    onward, parent = await life.suspects(2)
    await life.jobs.fetch("UPDATE job SET state = 'queued', suspicion = 3")
    await life.claim(onward, parent)
    await life.jobs.finish(onward, 3, S.QUEUED, stage="later", attempt=0)
    assert await life.jobs.fan_out(parent, 3, 1)
    for row in await life.jobs.rows([onward, parent]):
        assert (row["deaths"], row["suspicion"], row["died_after"]) == (0, 0, None)


async def test_another_try_of_the_same_stage_has_seen_them(life: Deaths) -> None:
    [job_id] = await life.suspects(1)
    await life.jobs.fetch("UPDATE job SET state = 'queued'")
    await life.claim(job_id)
    await life.jobs.finish(job_id, 3, S.QUEUED, attempt=0)  # given back by a stopping worker
    assert await life.counts(job_id) == [("queued", 0, 2, 2)]


async def test_leases_that_ended_in_an_outage_are_no_deaths(life: Deaths) -> None:
    [job_id] = await life.suspects(1)
    await life.jobs.fetch("UPDATE job SET state = 'queued'")
    await life.claim(job_id)
    await life.die(charged=False)
    assert await life.counts(job_id) == [("retry_wait", 0, 2, 2)]


async def test_a_rescuer_that_was_cut_off_charges_nobody_until_workers_could_come_back(
    life: Deaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id, _ = await life.jobs.running(lease_s=-1)
    monkeypatch.setattr(life.rescuer, "_charged_from", float("inf"))
    assert await life.rescuer.sweep() == 1
    assert await life.counts(job_id) == [("retry_wait", 0, 0, 0)]
    monkeypatch.undo()
    assert life.rescuer._charged_from == 0
    again, _ = await life.jobs.running(lease_s=-1)
    assert await life.rescuer.sweep() >= 1
    assert await life.counts(again) == [("retry_wait", 0, 1, 1)]


async def test_suspects_come_back_after_the_jobs_that_died_beside_them(life: Deaths) -> None:
    [suspect] = await life.suspects(1)
    await life.jobs.fetch("UPDATE job SET state = 'queued'")
    others = await life.jobs.submit(5)
    await life.claim(suspect, *others)
    async with life.jobs.database.connection() as connection:
        await deaths.end_leases(connection, 100, proof=PATIENT.proof, dead=["w"])
    due = [row["id"] for row in await life.jobs.fetch("SELECT id FROM job ORDER BY due_at")]
    assert due[-1] == suspect


@pytest.mark.parametrize(("seen", "longest_s"), [(3, 1), (12, 256)])
async def test_jobs_wait_the_longer_the_more_of_their_workers_died_from_the_fifth_on(
    life: Deaths, seen: int, longest_s: int
) -> None:
    ids = await life.jobs.submit(20)
    await life.jobs.fetch("UPDATE job SET deaths = $1", seen)
    await life.claim(*ids)
    async with life.jobs.database.connection() as connection:
        await deaths.end_leases(connection, 100, proof=PATIENT.proof, dead=["w"])
    waits = [row["wait"] for row in await life.jobs.fetch("SELECT due_at - now() AS wait FROM job")]
    assert timedelta(seconds=longest_s / 50) < max(waits) < timedelta(seconds=longest_s)


async def test_suspects_of_one_worker_come_back_one_after_the_other(life: Deaths) -> None:
    ids = await life.jobs.submit(4)
    for number in range(deaths.SUSPECTED):
        await life.claim(*ids)
        if number == 0:
            await life.die()
            assert await life.rescuer.sweep() == len(ids)
    await life.run_for(1)
    async with life.jobs.database.connection() as connection:
        await deaths.end_leases(connection, 100, proof=PATIENT.proof, dead=["w"], crowd=[], charged=True)
    due = [row["wait"] for row in await life.jobs.fetch("SELECT due_at - now() AS wait FROM job ORDER BY due_at")]
    waits = [one.total_seconds() for one in due]
    # Each wait has a random share of the kind's first backoff, of a second.
    for place, wait in enumerate(waits):
        least = deaths.SUSPECTS_WAIT_S + deaths.APART_S * place
        assert least - 1 <= wait <= least + 1, waits
    assert RESCUE.every.total_seconds() < deaths.APART_S - 1, "two never become due within one sweep"
