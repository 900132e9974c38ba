"""What may be done to jobs: each act does it to the tables (`do`) and to the model (`predict`), and both must agree."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar, Final, Protocol
from uuid import UUID

from consumers.retry import retry_delay
from infra.postgres.queries import claim, deaths, moves, rescue, steering, submit
from infra.postgres.queries.moves import Move
from infra.postgres.queries.submit import NewJob
from producers.dispatcher import Dispatcher
from schemas.errors import DependencyUnavailable
from schemas.lifecycle import JobState
from tests.integration.house import RESCUE
from tests.integration.jobs import Jobs, new_child
from tests.integration.life_model import IDS, NOBODY, Summons, Try, World, in_bulk

S = JobState
Answer = tuple[Any, IDS]
"""The answer, and the parents that the caller must wake."""

HOUR_S: Final = 3600.0
PAGE: Final = 100
OUTCOMES: Final = ("next", "done", "retry", "retry later", "snooze", "give back", "fail", "cancelled")


class Act(Protocol):
    """`skips`: the act passes over rows that others hold, so beside others it may do less than alone."""

    skips: ClassVar[bool]

    async def do(self, jobs: Jobs) -> Answer: ...

    def predict(self, world: World, skip: IDS = NOBODY) -> Answer: ...


@dataclass(frozen=True)
class Submit:
    new: tuple[NewJob, ...]
    skips: ClassVar[bool] = False

    async def do(self, jobs: Jobs) -> Answer:
        made = await jobs.make(*self.new)
        async with jobs.database.connection() as connection:
            first = [await self._first(connection, job) for job in self.new]
        return ([one is not None for one in made], first), NOBODY

    async def _first(self, connection: Any, job: NewJob) -> UUID | None:
        if job.idempotency_key is None:
            return None
        found = await submit.find_idempotent(connection, job.tenant, job.idempotency_key)
        assert found is not None
        assert found[1] == job.fingerprint
        return found[0]

    def predict(self, world: World, skip: IDS = NOBODY) -> Answer:
        made = world.submit(self.new)
        first = [
            None if job.idempotency_key is None else world.find_idempotent(job.tenant, job.idempotency_key)
            for job in self.new
        ]
        return (made, first), NOBODY


@dataclass(frozen=True)
class Claim:
    summons: tuple[Summons, ...]
    worker: str
    skips: ClassVar[bool] = True

    async def do(self, jobs: Jobs) -> Answer:
        async with jobs.database.connection() as connection:
            rows = await claim.claim(connection, self.summons, worker=self.worker, lease_s=HOUR_S)
        names = ("id", "epoch", "worker", "attempt", "max_attempts")
        return {Try(*(getattr(row, name) for name in names)) for row in rows}, NOBODY

    def predict(self, world: World, skip: IDS = NOBODY) -> Answer:
        return world.claim(self.summons, self.worker, skip), NOBODY


@dataclass(frozen=True)
class Heartbeat:
    held: tuple[tuple[UUID, int], ...]
    worker: str
    skips: ClassVar[bool] = False

    async def do(self, jobs: Jobs) -> Answer:
        return await jobs.heartbeat(*self.held, worker=self.worker, lease_s=HOUR_S), NOBODY

    def predict(self, world: World, skip: IDS = NOBODY) -> Answer:
        return world.heartbeat(self.held, self.worker), NOBODY


@dataclass(frozen=True)
class Progress:
    one: Try
    done: int
    skips: ClassVar[bool] = False

    async def do(self, jobs: Jobs) -> Answer:
        async with jobs.database.connection() as connection:
            await claim.progress(connection, *self.one[:2], self.done, 9, "on the way", worker=self.one.worker)
        return None, NOBODY

    def predict(self, world: World, skip: IDS = NOBODY) -> Answer:
        return world.progress(self.one[:2], self.one.worker, self.done), NOBODY


@dataclass(frozen=True)
class Finish:
    """The ends of one worker's tries."""

    moves: tuple[Move, ...]
    worker: str
    skips: ClassVar[bool] = False

    async def do(self, jobs: Jobs) -> Answer:
        async with jobs.database.connection() as connection:
            return _with_parents(await moves.finish(connection, self.moves, worker=self.worker))

    def predict(self, world: World, skip: IDS = NOBODY) -> Answer:
        return _with_parents(world.finish(self.moves, self.worker))


def _with_parents(moved: list[moves.Moved | None]) -> Answer:
    return moved, frozenset(one.parent for one in moved if one is not None and one.parent is not None)


@dataclass(frozen=True)
class FanOut:
    one: Try
    children: tuple[UUID, ...]
    skips: ClassVar[bool] = False

    async def do(self, jobs: Jobs) -> Answer:
        parent = await jobs.row(self.one.job)
        limits = {"tenant": parent["tenant"], "max_attempts": parent["max_attempts"]}
        lanes = {id: "bulk" if in_bulk(id) else "interactive" for id in self.children}
        children = [new_child(id=id, key=id.hex, lane=lanes[id], **limits) for id in self.children]
        held = await jobs.wait_for(*self.one[:2], children, then="sum", carry=self._carry(), worker=self.one.worker)
        return self._answer(held)

    def predict(self, world: World, skip: IDS = NOBODY) -> Answer:
        return self._answer(world.fan_out(self.one[:2], self.one.worker, "sum", self._carry(), self.children))

    def _carry(self) -> str:
        return f'{{"children": {len(self.children)}}}'

    def _answer(self, held: bool) -> Answer:
        return held, frozenset({self.one.job}) if held and not self.children else NOBODY


@dataclass(frozen=True)
class Cancel:
    id: UUID
    tenant: str
    skips: ClassVar[bool] = False

    async def do(self, jobs: Jobs) -> Answer:
        live, parents = await jobs.cancel(self.id, self.tenant)
        return live, frozenset(parents)

    def predict(self, world: World, skip: IDS = NOBODY) -> Answer:
        return world.cancel(self.id, self.tenant)


@dataclass(frozen=True)
class Resume:
    parents: tuple[UUID, ...]
    skips: ClassVar[bool] = False

    async def do(self, jobs: Jobs) -> Answer:
        return await jobs.resume(*self.parents), NOBODY

    def predict(self, world: World, skip: IDS = NOBODY) -> Answer:
        return world.resume_parents(self.parents), NOBODY


@dataclass(frozen=True)
class Release:
    """A round of a dispatcher, with room for all."""

    skips: ClassVar[bool] = True

    async def do(self, jobs: Jobs) -> Answer:
        return await Dispatcher(jobs.database, lambda: None, window=PAGE).round() or 0, NOBODY

    def predict(self, world: World, skip: IDS = NOBODY) -> Answer:
        return world.release(skip), NOBODY


@dataclass(frozen=True)
class Pause:
    """Pause a job, or let it go on."""

    id: UUID
    tenant: str
    go_on: bool
    skips: ClassVar[bool] = False

    async def do(self, jobs: Jobs) -> Answer:
        async with jobs.database.unit_of_work() as connection:
            await (steering.resume if self.go_on else steering.pause)(connection, self.id, self.tenant, {})
        return None, NOBODY

    def predict(self, world: World, skip: IDS = NOBODY) -> Answer:
        (world.unpause if self.go_on else world.pause)(self.id, self.tenant)
        return None, NOBODY


@dataclass(frozen=True)
class Rescue:
    """One of the rescuer's statements."""

    step: str
    skips: ClassVar[bool] = True

    async def do(self, jobs: Jobs) -> Answer:
        async with jobs.database.unit_of_work() as connection:
            match self.step:
                case "queue_due":
                    return await rescue.queue_due(connection, PAGE), NOBODY
                case "end_leases":
                    lost = await deaths.end_leases(connection, PAGE, proof=RESCUE.proof)
                    return _frozen((lost.jobs, lost.parents))
                case "end_expired":
                    return _frozen(await rescue.end_expired(connection, PAGE))
                case _:
                    return await rescue.summon_again(connection, PAGE, unclaimed_s=30), NOBODY

    def predict(self, world: World, skip: IDS = NOBODY) -> Answer:
        match self.step:
            case "queue_due":
                return world.queue_due(skip), NOBODY
            case "end_leases":
                return world.end_leases(skip)
            case "end_expired":
                return world.end_expired(skip)
            case _:
                return world.summon_again(skip), NOBODY


def _frozen(answer: tuple[int, Iterable[UUID]]) -> Answer:
    return answer[0], frozenset(answer[1])


STEPS: Final = ("queue_due", "end_leases", "end_expired", "summon_again")


def move(one: Try, outcome: str) -> Move:
    """What the executor turns an outcome into."""
    id, epoch, _, attempt, max_attempts = one
    error = '{"code": "dependency_unavailable"}'
    match outcome:
        case "next":
            return Move(id, epoch, S.QUEUED, stage="later", carry=f'{{"epoch": {epoch}}}', attempt=0)
        case "done":
            return Move(id, epoch, S.SUCCEEDED, result=f'{{"epoch": {epoch}}}')
        case "retry" | "retry later":
            if retry_delay(DependencyUnavailable("away"), attempt=attempt, max_attempts=max_attempts) is None:
                return Move(id, epoch, S.FAILED, error=error, code="dependency_unavailable", dead=True)
            return Move(id, epoch, S.RETRY_WAIT, error=error, delay_s=0 if outcome == "retry" else HOUR_S)
        case "snooze":
            return Move(id, epoch, S.RETRY_WAIT, delay_s=HOUR_S, attempt=attempt - 1)
        case "give back":
            return Move(id, epoch, S.QUEUED, attempt=attempt - 1)
        case "fail":
            return Move(id, epoch, S.FAILED, error='{"code": "invalid_input"}', code="invalid_input")
    return Move(id, epoch, S.CANCELLED)
