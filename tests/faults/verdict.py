"""The invariant, held against Postgres, the workers' journal and the artifacts: nothing lost, nothing doubled."""

import json
import time
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, Protocol
from uuid import UUID

from schemas.lifecycle import TERMINAL, JobState, may_move
from tests.faults.effects import wrong
from tests.faults.journal import Try
from tests.faults.probe import KIND
from tests.faults.site import NotInTime, Site

LIVE = "SELECT NOT EXISTS (SELECT 1 FROM job WHERE state NOT IN ('succeeded', 'failed', 'cancelled'))"
SHOWN = 5


class Seen(Protocol):
    """What a site saw of its processes: when they died, which were frozen, and where they leave artifacts."""

    deaths: dict[int, float]
    frozen: set[int]
    blobs: Path


@dataclass(slots=True)
class Verdict:
    """What a scenario found. `bound_s`: how long its recovery may take; `problems`: whatever else is not right."""

    jobs: int = 0
    lost: int = 0
    doubled: int = 0
    recovery_s: float = 0.0
    bound_s: float = 0.0
    notes: list[str] = field(default_factory=list)
    skipped: str | None = None
    problems: list[str] = field(default_factory=list)

    @property
    def good(self) -> bool:
        return not (self.lost or self.doubled or self.problems or self.recovery_s > self.bound_s)

    def check(self, holds: bool, otherwise: str) -> None:
        """Note a problem unless something holds."""
        if not holds:
            self.problems.append(otherwise)

    def add(self, other: "Verdict") -> None:
        """Take in the verdict of another part of the same scenario."""
        self.jobs += other.jobs
        self.lost += other.lost
        self.doubled += other.doubled
        self.recovery_s = max(self.recovery_s, other.recovery_s)
        self.bound_s = max(self.bound_s, other.bound_s)
        self.notes += other.notes
        self.problems += other.problems


async def judge(
    site: Site, *, healed_at: float | None = None, bound_s: float, ends: frozenset[str] = frozenset({"succeeded"})
) -> Verdict:
    """Wait until every job has ended, and hold the invariant against all of them.

    `healed_at` (seconds since the Unix epoch): when the last fault ended; recovery is from then until the
    last job that was accepted before has ended. `ends`: how jobs may end.
    """
    verdict = Verdict(bound_s=bound_s)
    try:
        await site.until_row(LIVE, "every job has ended", within_s=bound_s + 10)
    except NotInTime as error:
        verdict.problems.append(str(error))
    rows = await site.fetch("SELECT id, kind, state, epoch, attempt, result, error, finished_at FROM job")
    told: dict[UUID, list[JobState]] = defaultdict(list)
    for event in await site.fetch("SELECT job_id, data FROM job_event WHERE type = 'state' ORDER BY job_id, id"):
        told[event["job_id"]].append(JobState(json.loads(event["data"])["state"]))
    verdict.jobs = len(rows)
    ended = {row["id"] for row in rows if row["state"] in TERMINAL}
    lost = [job for job in site.load.accepted if job not in ended] + [
        row["id"] for row in rows if row["id"] not in ended and row["id"] not in site.load.accepted
    ]
    verdict.lost = len(lost)
    verdict.problems += [f"lost: {job.hex}" for job in lost[:SHOWN]]
    doubled: dict[UUID, str] = {}
    tries = site.journal.by_job()
    for row in rows:
        if why := twice(dict(row), told[row["id"]], tries.get(row["id"], []), site):
            doubled[row["id"]] = why
        elif row["id"] in ended and row["state"] not in ends:
            verdict.problems.append(f"{row['id'].hex} ended as {row['state']}: {row['error']}")
    verdict.doubled = len(doubled)
    verdict.problems = [f"doubled: {job.hex}: {why}" for job, why in list(doubled.items())[:SHOWN]] + verdict.problems
    verdict.problems += site.load.problems[:SHOWN]
    if defects := sum(part.log.count(".defect") for part in site.parts):
        verdict.problems.append(f"{defects} defects in the logs of {site.folder}")
    if healed_at is not None:
        last = max(
            (
                row["finished_at"].timestamp()
                for row in rows
                if row["finished_at"] and _waited(row["id"], site, healed_at)
            ),
            default=healed_at,
        )
        verdict.recovery_s = max(0.0, last - healed_at)
    return verdict


async def uncharged(site: Site, *, harmful: str) -> Verdict:
    """Whether every job that is not `harmful`, a condition on its row, succeeded in its first attempt."""
    rows = await site.fetch(
        "SELECT kind, state, attempt, error ->> 'code' AS code FROM job"
        f" WHERE ({harmful}) IS NOT TRUE AND (state <> 'succeeded' OR attempt <> 1)"
    )
    found = [f"{row['kind']} {row['state']}, attempt {row['attempt']}, {row['code']}" for row in rows[:SHOWN]]
    return Verdict(problems=[f"{len(rows)} neighbours failed or were charged: {found}"] if rows else [])


def restarted_s(site: Site) -> float:
    """The longest time from the death of a worker to the next try of a job that it ran."""
    worst = 0.0
    now = time.monotonic()
    for tries in site.journal.by_job().values():
        for one, after in zip(tries, [*tries[1:], None], strict=True):
            if one.how is None and one.pid in site.deaths:
                worst = max(worst, (now if after is None else after.began) - site.deaths[one.pid])
    return worst


def _waited(job: UUID, site: Site, healed_at: float) -> bool:
    return site.load.accepted.get(job, 0.0) <= healed_at


def twice(row: Mapping[str, Any], told: list[JobState], tries: list[Try], site: Seen) -> str | None:
    """How a job took effect more than once, or against the rules; None: it did not.

    `told`: the states of its history; `tries`: the journal's, in the order they began.
    """
    finishes = [state for state in told if state in TERMINAL]
    if row["state"] in TERMINAL and finishes != [row["state"]]:
        return f"it is {row['state']}, and its history tells of {len(finishes)} ends: {finishes}"
    for old, new in zip([JobState.QUEUED, *told], told, strict=False):
        if not may_move(old, new):
            return f"its history goes from {old} to {new}"
    if (claims := told.count(JobState.RUNNING)) != row["epoch"] and row["kind"] == KIND:  # a fan-out counts as one
        return f"epoch {row['epoch']} after {claims} claims"
    epochs = [one.epoch for one in tries]
    if len(set(epochs)) != len(epochs) or any(epoch > row["epoch"] for epoch in epochs):
        return f"tries with the epochs {epochs}, its row has {row['epoch']}"
    for one, after in pairwise(tries):
        over = one.over or site.deaths.get(one.pid, float("inf"))
        if after.began < over and one.pid not in site.frozen:
            return f"epochs {one.epoch} and {after.epoch} ran at the same time"
    if row["state"] == JobState.SUCCEEDED and row["kind"] == KIND:  # others write no journal
        last = [one for one in tries if one.epoch == row["epoch"] and one.how == "ended"]
        if len(last) != 1:
            return f"it succeeded in epoch {row['epoch']}, in which {len(last)} tries ended"
        return wrong(site.blobs, row["id"], row["epoch"], json.loads(row["result"]))
    return None
