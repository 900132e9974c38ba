"""3. Kafka is restarted, and then away for two minutes: submissions are accepted all the while."""

import asyncio
import time
from typing import Any, Final

from tests.faults.grounds import Grounds
from tests.faults.verdict import Verdict, judge

NAME: Final = "Kafka restarted, then away for 2 minutes"
BOUND_S: Final = 60.0
RATE: Final = 5.0


async def run(grounds: Grounds, quick: bool) -> Verdict:
    away_s = 15.0 if quick else 120.0
    async with await grounds.site("away") as site:
        await site.hire(2)
        async with site.load.steadily(RATE, _input):
            try:
                await asyncio.sleep(2)
                await asyncio.to_thread(grounds.kafka.restart)
                await asyncio.sleep(5)
                grounds.kafka.kill()
                await asyncio.sleep(away_s)
            finally:
                if not grounds.kafka.running:
                    await asyncio.to_thread(grounds.kafka.start)
            healed_at = time.time()
        verdict = await judge(site, healed_at=healed_at, bound_s=BOUND_S)
        refused = site.load.refused.total()
        verdict.check(refused == 0, f"{refused} submissions were refused while Kafka was away")
        verdict.notes.append(
            f"away for {away_s:g} s; every submission answered 202, the slowest in {site.load.slowest_s:.2f} s"
        )
        return verdict


def _input() -> dict[str, Any]:
    return {"seconds": 0.2, "two_stages": True}
