"""1. Workers are killed in mid-job, one after the other, under load."""

import random
from typing import Any, Final

from tests.faults.grounds import Grounds
from tests.faults.site import eventually
from tests.faults.verdict import Verdict, judge, restarted_s

NAME: Final = "kill -9 a worker in mid-job, under load"
BOUND_S: Final = 90.0
RATE: Final = 10.0
HELD_BACK_S: Final = 15.0
"""No job that lost its worker may wait so long for leave to be claimed again. The rest is the pace of the machine."""
HELD_BACK: Final = """
SELECT coalesce(max(extract(epoch FROM next_at - at)), 0)::float8 AS longest FROM (
    SELECT data ->> 'state' AS state, at, lead(at) OVER (PARTITION BY job_id ORDER BY id) AS next_at
    FROM job_event WHERE type = 'state') AS told
WHERE state = 'retry_wait'
"""


async def run(grounds: Grounds, quick: bool) -> Verdict:
    rounds, workers = (2, 4) if quick else (5, 11)
    # All but one die in a round: Kafka lets a group wait for the session of a dead member, and would do so each time.
    dying = workers - 1
    async with await grounds.site("killed") as site:
        staff = await site.hire(workers)
        # A job may meet many deaths here: none of them may be its last for lack of attempts.
        async with site.load.steadily(RATE, _input, max_attempts=25):
            for _ in range(rounds):
                await eventually(
                    lambda: len(site.busy(staff)) >= dying, "enough workers are in mid-job", within_s=BOUND_S
                )
                for worker in random.sample(site.busy(staff), dying):
                    site.kill(worker)
        verdict = await judge(site, bound_s=BOUND_S)
        verdict.recovery_s = restarted_s(site)
        cut = [one for one in site.journal.read().tries if one.how is None and one.pid in site.deaths]
        verdict.check(len(site.deaths) == rounds * dying, f"{len(site.deaths)} workers died, not {rounds * dying}")
        [(held_s,)] = await site.fetch(HELD_BACK)
        verdict.check(held_s <= HELD_BACK_S, f"a job waited {held_s:.1f} s for leave to be claimed again")
        verdict.notes.append(
            f"{len(site.deaths)} workers killed, {len(cut)} tries cut off; each was queued again within {held_s:.1f} s"
        )
        return verdict


def _input() -> dict[str, Any]:
    return {"seconds": random.uniform(2, 4), "two_stages": random.random() < 0.3}
