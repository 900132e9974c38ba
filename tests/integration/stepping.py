"""Runs indexing jobs step by step: every call of catalogue and index waits until the test admits, kills or loses it.

The catalogue is the real one. The index is in memory, so that all of it can be inspected after each step.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID

import uuid_utils.compat as uuids

from consumers.stages.context import StageJob
from consumers.stages.ports import ChildSummary, Ports
from consumers.stages.registry import stage
from infra.postgres.database import Database
from infra.postgres.queries.catalogue import CHUNKS
from schemas.catalogue import stamp
from schemas.errors import JobError
from schemas.kinds.indexing import IndexingInput
from schemas.lifecycle import JobState
from schemas.outcomes import Done, Fail, FanOut, Next, Outcome, Snooze
from schemas.retrieval import IndexName
from tests.integration.jobs import Jobs
from tests.integration.whole_catalogue import PostgresCatalogue
from tests.unit.ports_in_memory import World

TENANT = "default"
NAME = "c"
S = JobState
UNGATED = {"search", "current", "hold", "ensure"}
"""`ensure` runs while its collection is locked: if a test stopped there, the others would wait at that lock."""


class Killed(BaseException):
    """Kills the worker of a try."""


@dataclass
class Gate:
    """Where a try waits before each of its steps; `step` names the next one."""

    step: str = ""
    waiting: asyncio.Event = field(default_factory=asyncio.Event)
    go: asyncio.Event = field(default_factory=asyncio.Event)
    killed: bool = False

    async def __call__(self, step: str) -> None:
        self.step = step
        self.waiting.set()
        await self.go.wait()
        self.go.clear()
        if self.killed:
            raise Killed


class Stepped:
    """A port whose every call first waits at the gate."""

    def __init__(self, port: Any, gate: Gate) -> None:
        self._port = port
        self._gate = gate

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._port, name)
        if name in UNGATED:
            return method

        async def stepped(*args: Any, **options: Any) -> Any:
            await self._gate(name)
            return await method(*args, **options)

        return stepped


@dataclass
class Try:
    """A try of a stage. `lost`: another worker has the job by now, but this try does not know it yet."""

    job: StageJob[Any, Any]
    gate: Gate
    task: "asyncio.Task[Outcome]"
    parent: UUID | None
    lost: bool = False


@dataclass
class Ended:
    """How a submitted job ended."""

    result: dict[str, Any] | None = None
    error: JobError | None = None


class Conductor:
    """The jobs of one collection. Each of `tries` waits at a gate; `ended` holds submitted jobs that are over."""

    def __init__(self, database: Database) -> None:
        self.world = World()
        self.catalogue = PostgresCatalogue(database)
        self.jobs = Jobs(database)
        self.tries: list[Try] = []
        self.ended: dict[UUID, Ended] = {}
        self.requests: dict[UUID, IndexingInput] = {}
        self._children: dict[UUID, list[ChildSummary]] = {}
        self._numbers: dict[UUID, int] = {}
        self._live: dict[UUID, int] = {}
        self._then: dict[UUID, tuple[StageJob[Any, Any], FanOut]] = {}

    async def results(self, job_id: UUID, round: int | None = None) -> AsyncIterator[ChildSummary]:
        """The children of a fan-out, for stages that ask. A lost try may see children that still live."""
        children = self._children.get(job_id, [])
        last = max((summary.round for summary in children), default=1)
        for summary in children:
            if summary.round == (round or last):
                yield summary

    async def submit(self, **request: Any) -> UUID:
        """Submit a job and run it to its first gate."""
        given = IndexingInput.model_validate({"collection": NAME, **request})
        [job_id] = await self.jobs.submit(kind="indexing", stage="plan", input=given.model_dump_json())
        self.requests[job_id] = given
        [row] = await self.jobs.fetch(
            "SELECT created_at, clock_timestamp() AS started_at FROM job WHERE id = $1", job_id
        )
        blank = self.world.job("indexing", "plan", given)
        await self._start(replace(blank, id=job_id, tenant=TENANT, **dict(row)))
        return job_id

    async def run(self, **request: Any) -> Ended:
        """Run a job from its submission to its end, while nothing else moves."""
        job_id = await self.submit(**request)
        while (one := self.at(job_id)) is not None:
            await self.let_go(one)
        return self.ended[job_id]

    async def let_go(self, one: Try) -> None:
        """Let a try do one step, to its next gate or its end."""
        one.gate.waiting.clear()
        one.gate.go.set()
        await self._until_waiting(one)

    async def kill(self, one: Try) -> None:
        """Kill a try before its next step; the job's next try waits at its first gate."""
        one.gate.killed = True
        await self.let_go(one)

    async def lose(self, one: Try) -> None:
        """Give the job to another worker while this try continues to run and write."""
        one.lost = True
        await self._start(self._again(one.job), one.parent)

    async def cancel(self, job_id: UUID) -> None:
        """Cancel a submitted job: its tries and those of its children end where they are."""
        await self.jobs.fetch("UPDATE job SET state = 'cancelled' WHERE id = $1", job_id)
        self.ended[job_id] = Ended()
        for one in [one for one in self.tries if job_id in (one.job.id, one.parent)]:
            one.lost = True
            await self.kill(one)

    async def cancel_child(self, one: Try) -> None:
        """Cancel a single child where it is; its parent continues."""
        one.lost = True
        await self.kill(one)
        await self._over(one, Ended())

    def at(self, job_id: UUID) -> Try | None:
        """The try of a submitted job or its children that is not lost."""
        family = (one for one in self.tries if job_id in (one.job.id, one.parent) and not one.lost)
        return next(family, None)

    async def check(self) -> None:
        """Check that the searched index holds, whole, what the catalogue says, at this moment."""
        rows = await self.jobs.fetch(
            f"SELECT c.generation, d.id, d.content_hash, d.written, {CHUNKS} AS chunks FROM collection c"
            " JOIN document d ON d.collection = c.name AND d.tenant = c.tenant WHERE NOT d.deleted"
        )
        for row in rows:
            index = self.world.index.points.get(IndexName(TENANT, NAME, row["generation"]), {})
            wanted = (row["id"], stamp(row["content_hash"], row["written"]))
            found = sum((point.document_id, point.content_hash) == wanted for point in index.values())
            assert found == row["chunks"] > 0, f"a gap: {found} of {row['chunks']} chunks of {row['id']}"

    async def texts(self) -> dict[str, str]:
        """Each document as searches find it after everything has ended; fails when anything else is left."""
        await self.check()
        rows = await self.jobs.fetch("SELECT generation, building FROM collection")
        generations = {row["generation"] for row in rows}
        assert not any(row["building"] for row in rows)
        assert await self.jobs.fetch("SELECT doubt FROM generation WHERE doubt IS NOT NULL") == [], "restored? by whom?"
        assert {row["id"] for row in await self.jobs.fetch("SELECT id FROM generation")} == generations
        points = self.world.index.points
        assert {index.generation for index in points} <= generations, "an index that nobody names"
        rows = await self.jobs.fetch("SELECT id, content_hash, written, source_blob FROM document WHERE NOT deleted")
        held = {row["id"]: stamp(row["content_hash"], row["written"]) for row in rows}
        found: dict[str, str] = {}
        for point in sorted((p for index in points.values() for p in index.values()), key=lambda p: p.start):
            assert held.get(point.document_id) == point.content_hash, f"an orphan: {point}"
            found[point.document_id] = f"{found.get(point.document_id, '')} {point.text}".strip()
        named = {row["source_blob"] for row in rows}
        garbage = {row["blob"] for row in await self.jobs.fetch("SELECT blob FROM blob_garbage")}
        kept = {key for key in self.world.blobs.data if "/collections/" in key}
        assert named <= kept, "a text that is gone"
        assert not named & garbage, "a text that is about to go"
        assert all(any(key == g or key.startswith(f"{g}/") for g in garbage) for key in kept - named), "a text for ever"
        return found

    async def _start(self, job: StageJob[Any, Any], parent: UUID | None = None) -> None:
        gate = Gate()
        stepped = self.world.ports
        stepped.catalogue = stepped.catalogue_writer = stepped.rebuilds = Stepped(self.catalogue, gate)
        stepped.doubts = self.catalogue
        stepped.index = Stepped(stepped.index, gate)
        stepped.children = self
        one = Try(job, gate, asyncio.create_task(self._stage(job, stepped, gate)), parent)
        self.tries.append(one)
        await self._until_waiting(one)

    async def _stage(self, job: StageJob[Any, Any], ports: Ports, gate: Gate) -> Outcome:
        outcome = await stage(job.kind, job.stage)(job, ports)
        await gate("outcome")
        return outcome

    async def _until_waiting(self, one: Try) -> None:
        waits = asyncio.create_task(one.gate.waiting.wait())
        done, _ = await asyncio.wait({waits, one.task}, return_when=asyncio.FIRST_COMPLETED, timeout=60)
        assert done, f"{one.job.stage} is stuck after {one.gate.step}"
        waits.cancel()
        if one.task.done():
            self.tries.remove(one)
            await self._end(one)

    async def _end(self, one: Try) -> None:
        error = one.task.exception()
        if isinstance(error, Killed):
            if not one.lost:
                await self._start(self._again(one.job), one.parent)
            return
        if error is not None and not isinstance(error, JobError):
            raise error
        if one.lost:
            return
        job = one.job
        match Fail(error) if isinstance(error, JobError) else one.task.result():
            case Next(stage=name, carry=carry):
                await self._start(self._again(job, stage=name, carry=carry), one.parent)
            case Snooze():
                await self._start(self._again(job), one.parent)
            case FanOut() as fan:
                summaries = self._children.setdefault(job.id, [])
                job = replace(job, rounds=job.rounds + 1)
                self._then[job.id] = (job, fan)
                first = len(summaries)
                for child in fan.children:
                    told = json.loads(child.input.model_dump_json())  # type: ignore[union-attr]
                    summaries.append(
                        ChildSummary(child.key, child.kind, job.rounds, S.QUEUED, told, None, None, uuids.uuid7())
                    )
                self._live[job.id] = len(fan.children)
                for number, child in enumerate(fan.children, start=first):
                    blank = self.world.job(child.kind, child.stage or "plan", child.input)
                    made = replace(blank, id=uuids.uuid7(), tenant=job.tenant, lane=job.lane)
                    self._numbers[made.id] = number
                    await self._start(made, job.id)
            case Done(result=result):
                await self._over(one, Ended(result=result))
            case Fail(error=failed):
                await self._over(one, Ended(error=failed))
            case other:
                raise AssertionError(other)

    async def _over(self, one: Try, ended: Ended) -> None:
        if one.parent is None:
            self.ended[one.job.id] = ended
            await self.jobs.fetch("UPDATE job SET state = 'succeeded' WHERE id = $1", one.job.id)
            return
        error = ended.error
        told = None if error is None else {"code": error.reason, "message": error.message}
        state = S.SUCCEEDED if ended.result is not None else S.CANCELLED if error is None else S.FAILED
        summaries, number = self._children[one.parent], self._numbers[one.job.id]
        summaries[number] = replace(summaries[number], state=state, result=ended.result, error=told)
        self._live[one.parent] -= 1
        if not self._live[one.parent]:
            job, fan = self._then.pop(one.parent)
            await self._start(self._again(job, stage=fan.then, carry=fan.carry))

    def _again(self, job: StageJob[Any, Any], **changes: Any) -> StageJob[Any, Any]:
        return self.world.again(job, **changes)
