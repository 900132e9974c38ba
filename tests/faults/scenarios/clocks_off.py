"""10. Workers whose clocks are ten minutes off, ahead and behind."""

import asyncio
import json
import random
import time
from datetime import datetime
from glob import glob
from typing import Any, Final

from tests.faults.grounds import Grounds
from tests.faults.site import LEASE_S, Part
from tests.faults.verdict import Verdict, judge, restarted_s

NAME: Final = "worker clocks 10 minutes off"
BOUND_S: Final = 45.0
LIBRARY: Final = ("/usr/lib/*/faketime/libfaketimeMT.so.1", "/usr/lib*/faketime/libfaketimeMT.so.1")
OFF_S: Final = 600
RATE: Final = 5.0


async def run(grounds: Grounds, quick: bool) -> Verdict:
    library = next((found for place in LIBRARY for found in glob(place)), None)
    if library is None:
        return Verdict(skipped="there is no libfaketime to shift a worker's clock: apt-get install faketime")
    # Leases are measured by the monotonic clock, which no administrator can set: it stays as it is.
    off = {"LD_PRELOAD": library, "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
    async with await grounds.site("clocks") as site:
        [ahead] = await site.hire(1, FAKETIME=f"+{OFF_S}", **off)
        [behind] = await site.hire(1, FAKETIME=f"-{OFF_S}", **off)
        await site.hire(1)
        shifts = [round(_shift(worker.now)) for worker in (ahead, behind)]
        async with site.load.steadily(RATE, _input):
            await asyncio.sleep(4 if quick else 10)
            killed = {site.kill(ahead), site.kill(behind)}
            await asyncio.sleep(2 if quick else 8)
        verdict = await judge(site, bound_s=BOUND_S)
        verdict.recovery_s = restarted_s(site)
        verdict.check(
            all(abs(abs(shift) - OFF_S) < 60 for shift in shifts), f"the clocks were {shifts} s off: nothing was tried"
        )
        again = [one for one in site.journal.read().tries if one.epoch > 1]
        cut = {one.job for one in site.journal.tries if one.pid in killed and one.how is None}
        verdict.check({one.job for one in again} <= cut, "jobs were tried again whose worker lived")
        verdict.check(site.logged("stage.lease_lost") == 0, "a worker took a lease for lost")
        verdict.notes.append(f"clocks {shifts[0]:+} s and {shifts[1]:+} s; jobs longer than a lease kept it")
        return verdict


def _input() -> dict[str, Any]:
    return {"seconds": random.choice([0.1, 0.5, LEASE_S * 1.5])}


def _shift(worker: Part) -> float:
    """How far a worker's clock is off, by the first line of its log."""
    first = json.loads(next(line for line in worker.log.splitlines() if "worker.started" in line))
    return datetime.fromisoformat(first["timestamp"]).timestamp() - time.time()
