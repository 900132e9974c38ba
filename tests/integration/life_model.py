"""A plain Python model of the life of jobs (docs/lifecycle.md): predicts what each statement must do to them."""

import json
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, Self
from uuid import UUID

from infra.postgres.queries.moves import Move, Moved
from infra.postgres.queries.submit import NewJob
from schemas.lifecycle import LIVE, TERMINAL, JobState

S = JobState
IDS = frozenset[UUID]
NOBODY: Final[IDS] = frozenset()


def in_bulk(child: UUID) -> bool:
    """Every other child is in the lane bulk, all else in the other one."""
    return bool(child.int % 2)


class Summons(NamedTuple):
    """The part of a message that a claim reads."""

    job: UUID
    epoch: int
    stage: str


class Try(NamedTuple):
    """What a worker knows about a job that it has claimed."""

    job: UUID
    epoch: int
    worker: str
    attempt: int
    max_attempts: int


@dataclass(slots=True)
class Life:
    """A job. The fields down to `expires` are columns of its row; `told` is its history."""

    id: UUID
    tenant: str
    max_attempts: int
    parent: UUID | None = None
    key: str | None = None
    state: JobState = S.QUEUED
    stage: str = "run"
    epoch: int = 0
    attempt: int = 0
    worker: str | None = None
    deaths: int = 0
    suspicion: int = 0
    waiting: bool = False
    marked: bool = False
    done: int = 0
    carry: str | None = None
    result: str | None = None
    error: str | None = None
    paused: bool = False
    held: bool = False
    expires: bool = False
    bulk: bool = False
    hooked: bool = False
    lease_over: bool = False
    due: bool = False
    expired: bool = False
    silent: bool = False
    queued_long: bool = False
    dead: bool = False
    told: list[str] = field(default_factory=list)

    @property
    def live(self) -> bool:
        return self.state in LIVE

    @property
    def leased(self) -> bool:
        return self.state is S.RUNNING and not self.waiting

    def held_by(self, one: tuple[UUID, int], worker: str) -> bool:
        """The fence."""
        return self.leased and (self.id, self.epoch, self.worker) == (*one, worker)

    @property
    def suspect(self) -> bool:
        return self.suspicion >= 2 and self.live and not self.waiting

    def let(self, timer: str) -> None:
        """Let a timer run out (`World.timers`)."""
        setattr(self, timer, True)
        self.queued_long |= timer == "silent"

    def go_on(self, stage: str, carry: str | None) -> None:
        """Go to another stage, which has not seen any deaths yet."""
        self.stage, self.carry = stage, carry
        self.deaths = self.suspicion = 0

    def go(self, state: JobState) -> None:
        self.state = state
        self.told.append(state.value)
        self.silent = self.queued_long = self.lease_over = self.due = self.held = False
        if state is not S.RUNNING:
            self.worker = None
            self.waiting = False

    def row(self) -> dict[str, Any]:
        names = "id tenant max_attempts parent key stage epoch attempt worker waiting marked done carry result error"
        names += " deaths suspicion expires leased paused held"
        shown = {name: getattr(self, name) for name in names.split()}
        return {**shown, "state": self.state.value, "finished": self.state in TERMINAL, "told": self.told}


class World:
    """All jobs, and the messages in the outbox. Each method predicts the effect and answer of the query of its name.

    `skip` names rows that a statement passes over because another statement holds them.
    """

    def __init__(self) -> None:
        self.jobs: dict[UUID, Life] = {}
        self.outbox: Counter[Summons] = Counter()

    def copy(self) -> Self:
        return deepcopy(self)

    def live(self) -> list[Life]:
        return [job for job in self.jobs.values() if job.live]

    def children(self, parent: UUID) -> list[Life]:
        return [job for job in self.jobs.values() if job.parent == parent]

    def shown(self) -> dict[str, Any]:
        """What the tables must contain."""
        ended = [job for job in self.jobs.values() if job.hooked and job.parent is None and not job.live]
        return {
            "jobs": {job.id: job.row() for job in self.jobs.values()},
            "outbox": +self.outbox,
            "deliveries": Counter((job.id, f"job.{job.state}") for job in ended),
            "dead letters": Counter(job.id for job in self.jobs.values() if job.dead),
        }

    def submit(self, new: Sequence[NewJob]) -> list[bool]:
        taken = {(job.tenant, job.key) for job in self.jobs.values() if job.key is not None}
        made = []
        for job in new:
            made.append((job.tenant, job.idempotency_key) not in taken)
            if made[-1]:
                if job.idempotency_key is not None:
                    taken.add((job.tenant, job.idempotency_key))
                self._add(
                    Life(
                        job.id,
                        job.tenant,
                        job.max_attempts,
                        key=job.idempotency_key,
                        expires=job.expires_in_s is not None,
                        hooked=job.webhook is not None,
                    )
                )
        return made

    def find_idempotent(self, tenant: str, key: str) -> UUID | None:
        return next((job.id for job in self.jobs.values() if (job.tenant, job.key) == (tenant, key)), None)

    def claim(self, summons: Iterable[Summons], worker: str, skip: IDS = NOBODY) -> set[Try]:
        claimed = set()
        for job in self._of(message.job for message in summons):
            fresh = Summons(job.id, job.epoch, job.stage) in summons
            if fresh and job.state is S.QUEUED and not job.held and not job.expired and job.id not in skip:
                job.go(S.RUNNING)
                job.epoch += 1
                job.attempt += 1
                job.worker = worker
                claimed.add(Try(job.id, job.epoch, worker, job.attempt, job.max_attempts))
        return claimed

    def heartbeat(self, held: Collection[tuple[UUID, int]], worker: str) -> dict[UUID, bool]:
        kept = {}
        for one in held:
            job = self.jobs.get(one[0])
            if job is not None and job.held_by(one, worker):
                job.lease_over = False
                kept[job.id] = job.marked
        return kept

    def progress(self, one: tuple[UUID, int], worker: str, done: int) -> None:
        job = self.jobs[one[0]]
        if job.held_by(one, worker):
            job.done = done
            job.told.append("progress")

    def finish(self, moves: Sequence[Move], worker: str) -> list[Moved | None]:
        return [self._finish(move, worker) for move in moves]

    def _finish(self, move: Move, worker: str) -> Moved | None:
        job = self.jobs[move.id]
        if not job.held_by((move.id, move.epoch), worker):
            return None
        cancelled = job.marked and move.state in LIVE
        job.go(S.CANCELLED if cancelled else move.state)
        if move.stage is not None:
            job.go_on(move.stage, move.carry)
        if move.attempt is not None:
            job.attempt = move.attempt
        job.result = move.result
        job.error = None if move.error is None else json.loads(move.error)["code"]
        job.dead = job.state is S.FAILED and move.dead
        job.due = job.state is S.RETRY_WAIT and move.delay_s == 0
        if job.state is S.QUEUED:
            self._summon(job)
        return Moved(job.state, job.parent)

    def fan_out(self, one: tuple[UUID, int], worker: str, then: str, carry: str, children: Sequence[UUID]) -> bool:
        job = self.jobs[one[0]]
        if job.marked or not job.held_by(one, worker):
            return False
        job.waiting, job.worker, job.lease_over, job.done = True, None, False, 0
        job.go_on(then, carry)
        job.attempt, job.epoch = 0, job.epoch + 1
        job.told.append("stage")
        for child in children:
            bulk = in_bulk(child)
            self._add(Life(child, job.tenant, job.max_attempts, parent=job.id, bulk=bulk, held=bulk))
        return True

    def resume_parents(self, parents: Iterable[UUID]) -> int:
        ready = [p for p in self._of(parents) if p.waiting and not any(child.live for child in self.children(p.id))]
        for parent in ready:
            self._queue(parent)
        return len(ready)

    def cancel(self, id: UUID, tenant: str) -> tuple[bool, IDS]:
        root = self.jobs[id]
        if root.tenant != tenant or not root.live:
            return False, NOBODY
        tree = [root]
        for job in tree:
            tree += self.children(job.id)
        touched = [job for job in tree if job.live]
        for job in touched:
            job.marked = True
            if not job.leased:
                job.go(S.CANCELLED)
        parents = {job.parent for job in touched if not job.live and job.parent is not None}
        return True, frozenset(parents - {job.id for job in touched})

    def queue_due(self, skip: IDS = NOBODY) -> int:
        """Queue due jobs. No worker is known to live, so one suspect at a time goes; it runs no longer than before."""
        suspects = [job for job in self.live() if job.suspect]
        away = any(job.leased or (job.state is S.QUEUED and not job.queued_long) for job in suspects)
        line = sorted((job for job in suspects if job.due), key=lambda job: job.id)[: 0 if away else 1]
        due = [job for job in self.live() if job.due and (not job.suspect or job in line) and job.id not in skip]
        for job in due:
            if job.bulk:
                job.go(S.QUEUED)
                job.held = True
            else:
                self._queue(job)
        return len(due)

    def release(self, skip: IDS = NOBODY) -> int:
        """Release every held job whose parent is not paused: there is room for all."""
        turn = [job for job in self.live() if job.held and job.id not in skip]
        turn = [job for job in turn if job.parent is None or not self.jobs[job.parent].paused]
        for job in turn:
            job.held = job.queued_long = False
            self._summon(job)
        return len(turn)

    def pause(self, id: UUID, tenant: str) -> None:
        job = self.jobs[id]
        if not job.live or job.paused or job.tenant != tenant:
            return
        job.paused = True
        job.told.append("paused")
        for child in self.children(id):
            if child.state is S.QUEUED and child.bulk and "running" not in child.told:
                child.held, child.silent = True, False

    def unpause(self, id: UUID, tenant: str) -> None:
        job = self.jobs[id]
        if job.live and job.paused and job.tenant == tenant:
            job.paused = False
            job.told.append("resumed")

    def end_leases(self, skip: IDS = NOBODY) -> tuple[int, IDS]:
        lost = [job for job in self.live() if job.lease_over and job.id not in skip]
        suspected = Counter(job.worker for job in lost if job.suspicion)
        suspects = Counter(job.worker for job in lost if job.suspect)
        for job in lost:
            if not job.suspect:
                job.suspicion += 1
            elif suspects[job.worker] == 1:
                job.suspicion += 2 if suspected[job.worker] == 1 else 1
        for job in lost:
            job.deaths += 1
            killer = job.suspicion >= 6
            failed = (killer or job.max_attempts == 1) and not job.marked
            job.dead = failed
            job.error = None if job.marked else "worker_killed" if killer else "lease_expired"
            job.attempt -= not failed and not job.marked
            job.go(S.CANCELLED if job.marked else S.FAILED if failed else S.RETRY_WAIT)
        return len(lost), frozenset(job.parent for job in lost if job.parent is not None and not job.live)

    def end_expired(self, skip: IDS = NOBODY) -> tuple[int, IDS]:
        late = [job for job in self.live() if job.expired and job.state is not S.RUNNING and job.id not in skip]
        for job in late:
            job.error = "expired"
            job.go(S.FAILED)
        return len(late), frozenset(job.parent for job in late if job.parent is not None)

    def summon_again(self, skip: IDS = NOBODY) -> int:
        silent = [job for job in self.live() if job.silent and job.id not in skip]
        for job in silent:
            self._summon(job)
        return len(silent)

    def summon_all(self) -> None:
        for job in self.live():
            if job.state is S.QUEUED and not job.held:
                self._summon(job)

    def sweep(self, *, thorough: bool) -> None:
        """One round of the rescuer."""
        self.queue_due()
        self.resume_parents(self.end_leases()[1])
        if thorough:
            self.resume_parents(self.end_expired()[1])
            self.summon_again()
            self.resume_parents(list(self.jobs))

    def timers(self) -> list[tuple[UUID, str]]:
        """What may happen as time passes: a job's id with the flag to set."""
        found = []
        for job in self.live():
            found += [(job.id, "lease_over")] if job.leased else []
            found += [(job.id, "due")] if job.state is S.RETRY_WAIT else []
            found += [(job.id, "silent")] if job.state is S.QUEUED and not job.held else []
            found += [(job.id, "expired")] if job.expires and not job.expired else []
        return found

    def _of(self, ids: Iterable[UUID]) -> list[Life]:
        return [self.jobs[id] for id in dict.fromkeys(ids) if id in self.jobs]

    def _add(self, job: Life) -> None:
        self.jobs[job.id] = job
        if not job.held:
            self._summon(job)

    def _queue(self, job: Life) -> None:
        job.go(S.QUEUED)
        self._summon(job)

    def _summon(self, job: Life) -> None:
        job.silent = False
        self.outbox[Summons(job.id, job.epoch, job.stage)] += 1
