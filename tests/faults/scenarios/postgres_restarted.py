"""4. Postgres is restarted every 10 to 20 seconds, in order or by a crash, under load."""

import asyncio
import random
import time
from typing import Any, Final

from tests.faults.grounds import Grounds
from tests.faults.verdict import Verdict, judge

NAME: Final = "Postgres restarted every 10 to 20 s"
BOUND_S: Final = 45.0
RATE: Final = 8.0


async def run(grounds: Grounds, quick: bool) -> Verdict:
    restarts = 2 if quick else 4
    async with await grounds.site("restarted") as site:
        await site.hire(2)
        async with site.load.steadily(RATE, _input, max_attempts=10):
            for n in range(restarts):
                await asyncio.sleep(random.uniform(5, 8) if quick else random.uniform(10, 20))
                await asyncio.to_thread(grounds.postgres.crash if n % 2 else grounds.postgres.stop)
                await asyncio.sleep(1)
                await asyncio.to_thread(grounds.postgres.start)
            healed_at = time.time()
        verdict = await judge(site, healed_at=healed_at, bound_s=BOUND_S)
        verdict.notes.append(
            f"{restarts} restarts, each second one a crash; {site.load.refused.total()} clean refusals, repeated"
        )
        return verdict


def _input() -> dict[str, Any]:
    return {"seconds": random.uniform(0.1, 3), "two_stages": random.random() < 0.5}
