"""6. Workers join and leave while long jobs run: no job runs twice; with too short a drain it is handed back unpaid."""

import asyncio
from typing import Final

from tests.faults.grounds import Grounds
from tests.faults.site import Site, Worker, eventually
from tests.faults.verdict import Verdict, judge

NAME: Final = "workers join and leave every 5 s while long jobs run"
BOUND_S: Final = 20.0
EVERY_S: Final = 5.0


async def run(grounds: Grounds, quick: bool) -> Verdict:
    verdict = await _patient(grounds, seconds=8 if quick else 30, changes=3 if quick else 7)
    verdict.add(await _hasty(grounds, changes=1 if quick else 2))
    return verdict


async def _patient(grounds: Grounds, *, seconds: float, changes: int) -> Verdict:
    """The drain is longer than the jobs: each runs once, to its end."""
    async with await grounds.site("patient", WELIP_WORKER_DRAIN=f"{seconds * 2 + 10}") as site:
        staff = await site.hire(3)
        for _ in range(changes):
            await asyncio.gather(asyncio.sleep(EVERY_S), site.load.burst(4, seconds=seconds))
            await _change(site, staff, staff[0])
        verdict = await judge(site, bound_s=seconds + BOUND_S)
        twice = sum(1 for tries in site.journal.by_job().values() if len(tries) > 1)
        verdict.doubled += twice
        verdict.check(twice == 0, f"{twice} jobs ran more than once though their workers could drain")
        verdict.recovery_s, verdict.bound_s = await _waited_s(site), BOUND_S
        verdict.notes.append(f"{changes} workers left and came in mid-job")
        return verdict


async def _hasty(grounds: Grounds, *, changes: int) -> Verdict:
    """The drain is shorter than the jobs: they are handed back, and no attempt is charged."""
    async with await grounds.site("hasty", WELIP_WORKER_DRAIN="0.5") as site:
        staff = await site.hire(2)
        for _ in range(changes):
            await site.load.burst(8, seconds=6)
            leaving = await eventually(lambda: site.busy(staff), "a worker has work", within_s=BOUND_S)
            await _change(site, staff, leaving[0])
        verdict = await judge(site, bound_s=BOUND_S)
        [(claims, attempts)] = await site.fetch("SELECT max(epoch), max(attempt) FROM job")
        verdict.check(claims > 1, "no job was handed back: nothing was tried")
        verdict.check(attempts == 1, f"a job that was handed back has attempt {attempts}")
        return verdict


async def _change(site: Site, staff: list[Worker], leaving: Worker) -> None:
    """A worker leaves as a deployment makes it leave; another comes."""
    staff.remove(leaving)
    leaving.retired = True
    leaving.now.popen.terminate()
    staff += site.staff(1)


async def _waited_s(site: Site) -> float:
    """The longest time from the submission of a job to its first claim."""
    waits = await site.fetch("SELECT max(extract(epoch FROM started_at - created_at))::float8 FROM job")
    return float(waits[0][0])
