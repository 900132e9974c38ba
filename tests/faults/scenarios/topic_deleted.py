"""12. A topic is deleted with a backlog in it: all of it still runs."""

import asyncio
import time
from typing import Final

from aiokafka.admin import AIOKafkaAdminClient

from schemas.topics import Lane, topic_name
from tests.faults.grounds import Grounds
from tests.faults.probe import KIND
from tests.faults.site import Site
from tests.faults.verdict import Verdict, judge

NAME: Final = "a topic deleted with a backlog in it"
BOUND_S: Final = 90.0
UNCLAIMED_S: Final = 5
TOPIC: Final = topic_name(KIND, "act", Lane.INTERACTIVE)


async def run(grounds: Grounds, quick: bool) -> Verdict:
    jobs = 60 if quick else 200
    async with await grounds.site(
        "topic", WELIP_RESCUE_UNCLAIMED=f"{UNCLAIMED_S}", WELIP_WORKER_CONCURRENCY="2"
    ) as site:
        await site.hire(2)
        await site.load.burst(jobs, seconds=0.3)
        await site.until_row(
            "SELECT NOT EXISTS (SELECT 1 FROM outbox) AND count(*) > 3 FROM job WHERE state = 'succeeded'",
            "all messages are on the topic",
            within_s=30,
        )
        [(left,)] = await site.fetch("SELECT count(*) FROM job WHERE state = 'queued'")
        await _delete(site)
        deleted_at = time.time()
        await asyncio.gather(site.load.burst(10), asyncio.sleep(1))
        verdict = await judge(site, healed_at=deleted_at, bound_s=BOUND_S)
        verdict.check(left > jobs / 4, f"only {left} jobs were left on the topic: nothing was tried")
        [(most,)] = await site.fetch("SELECT max(epoch) FROM job")
        verdict.check(most == 1, f"a job was claimed {most} times")
        verdict.notes.append(f"{left} of {jobs} jobs were still on it")
        return verdict


async def _delete(site: Site) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=site.kafka)
    await admin.start()
    try:
        await admin.delete_topics([TOPIC])
    finally:
        await admin.close()
