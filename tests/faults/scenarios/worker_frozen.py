"""2. A worker is frozen past its leases and thawed: what it still has to say is refused."""

import contextlib
import time
from typing import Final

from tests.faults.grounds import Grounds
from tests.faults.journal import Try
from tests.faults.site import LEASE_S, NotInTime, Site, eventually
from tests.faults.verdict import Verdict, judge
from tests.freezing import freeze, thaw

NAME: Final = "SIGSTOP a worker past its lease, then SIGCONT"
BOUND_S: Final = 30.0


async def run(grounds: Grounds, quick: bool) -> Verdict:
    rounds = 1 if quick else 2
    async with await grounds.site("frozen", WELIP_WORKER_CONCURRENCY="16") as site:
        [victim] = await site.hire(1)
        worst = 0.0
        for _ in range(rounds):
            worst = max(worst, await _freeze_once(site, victim.now.pid))
        verdict = await judge(site, bound_s=BOUND_S)
        verdict.recovery_s = worst
        late = sum(1 for one in site.journal.read().tries if one.how == "ended" and _is_stale(site, one.job, one.epoch))
        with contextlib.suppress(NotInTime):  # the journal hears of an end before Postgres does
            await eventually(lambda: site.logged("stage.fenced", victim.now) >= late, "all were refused", within_s=10)
        refused = site.logged("stage.fenced", victim.now)
        verdict.check(late > 0, "no late result came: nothing was tried")
        verdict.check(refused >= late, f"{late} stages ended late, {refused} results were refused")
        verdict.notes.append(
            f"{late} late results, all refused; {site.logged('stage.lease_lost', victim.now)} tries aborted"
        )
        return verdict


async def _freeze_once(site: Site, pid: int) -> float:
    """Freeze the worker in mid-job until another has done its jobs; how long these waited for the other one."""
    await site.load.burst(6, seconds=4)
    await eventually(lambda: len(site.journal.running(pid)) == 6, "the worker runs them")
    # The one that keeps the loop to itself has its result ready before the heartbeat can tell it to stop.
    await site.load.burst(1, block_s=3)
    await eventually(lambda: any(one.blocks for one in site.journal.running(pid)), "it keeps the loop to itself")
    held = {one.job for one in site.journal.running(pid)}
    freeze(pid)
    site.frozen.add(pid)
    began = time.monotonic()
    [other] = await site.hire(1)

    def again() -> list[Try]:
        return [one for one in site.journal.read().tries if one.job in held and one.pid == other.now.pid]

    await eventually(lambda: {t.job for t in again()} == held, "another worker took them", within_s=BOUND_S + 10)
    took = max(t.began for t in again()) - began
    await eventually(lambda: all(t.how for t in again()), "another worker did them")
    assert time.monotonic() - began > LEASE_S
    other.retired = True
    other.now.popen.terminate()
    await eventually(lambda: other.part is None, "the other worker left", within_s=40)
    thaw(pid)
    await eventually(lambda: not site.journal.running(pid), "the thawed worker is done with them")
    return took


def _is_stale(site: Site, job: object, epoch: int) -> bool:
    return any(one.job == job and one.epoch > epoch for one in site.journal.tries)
