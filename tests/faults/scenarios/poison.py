"""11. Jobs that kill their worker, and messages that nobody can read."""

import asyncio
import random
from typing import Any, Final

from aiokafka import AIOKafkaProducer

from schemas.topics import Lane, topic_name
from tests.faults.grounds import Grounds
from tests.faults.probe import KIND
from tests.faults.site import Site, eventually
from tests.faults.verdict import Verdict, judge, uncharged

NAME: Final = "a poison job that kills its worker, and unreadable messages"
BOUND_S: Final = 150.0
ATTEMPTS: Final = 2
"""Fewer than the workers that die: deaths cost none."""
LONG: Final = 9
MINUTE_S: Final = 60.0
"""So many jobs, of so long, run beside the poison."""
RATE: Final = 4.0
DEATHS: Final = 8
"""Of so many workers, at most, one poison job is found out; four is the least."""
POISON: Final = "input ->> 'dies' IS NOT NULL"
TOPIC: Final = topic_name(KIND, "act", Lane.INTERACTIVE)
UNREADABLE: Final = (b"", b"\xff\xfe", b"not JSON", b"[]", b'{"version": 2}', b'{"job_id": "nobody"}', b"x" * 100_000)


async def run(grounds: Grounds, quick: bool) -> Verdict:
    async with await grounds.site("poison") as site:
        staff = await site.hire(3)
        kept = await _dead_messages(site)
        await site.load.burst(LONG, max_attempts=ATTEMPTS, seconds=5.0 if quick else MINUTE_S)
        await eventually(
            lambda: sum(len(site.journal.running(one.now.pid)) for one in staff) == LONG, "they all run", within_s=60
        )
        async with site.load.steadily(RATE, _input, max_attempts=ATTEMPTS):
            await site.load.submit(max_attempts=ATTEMPTS, seconds=0.3, dies="killed")
            await _publish(site)
            if not quick:
                await asyncio.sleep(3)
                await site.load.submit(max_attempts=ATTEMPTS, seconds=0.3, dies="memory")
            poisoned = 1 if quick else 2
            await site.until_row(
                f"SELECT count(*) >= {poisoned} FROM job WHERE state = 'failed'", "poison jobs ended", within_s=BOUND_S
            )
        verdict = await judge(site, bound_s=BOUND_S, ends=frozenset({"succeeded", "failed"}))
        rows = await site.fetch(f"SELECT state, error ->> 'code' AS code FROM job WHERE {POISON}")
        ended = [(row["state"], row["code"]) for row in rows]
        verdict.check(ended == [("failed", "worker_killed")] * poisoned, f"poison jobs ended with {ended}")
        verdict.add(await uncharged(site, harmful=POISON))
        [(took,)] = await site.fetch(
            "SELECT max(extract(epoch FROM finished_at - created_at))::float8 FROM job WHERE state = 'failed'"
        )
        verdict.recovery_s = took
        dead = len(site.deaths)
        verdict.check(4 * poisoned <= dead <= DEATHS * poisoned, f"{dead} workers died of {poisoned} poison jobs")
        if kept is not None:
            now = await _dead_messages(site)
            verdict.check(now == kept + len(UNREADABLE), f"{now} dead letters of {len(UNREADABLE)} unreadable messages")
        verdict.notes.append(
            f"{dead} workers died of {poisoned} poison jobs; {len(UNREADABLE)} unreadable messages passed over"
        )
        return verdict


async def _publish(site: Site) -> None:
    """Among the summonses, what nobody can read; a message without a value too."""
    producer = AIOKafkaProducer(bootstrap_servers=site.kafka)
    await producer.start()
    try:
        for value in (*UNREADABLE[1:], None):
            await producer.send_and_wait(TOPIC, value, key=b"unreadable")
    finally:
        await producer.stop()


async def _dead_messages(site: Site) -> int | None:
    """How many messages are kept as dead letters; None where none are kept."""
    if (await site.fetch("SELECT to_regclass('dead_letter')"))[0][0] is None:
        return None
    return int((await site.fetch("SELECT count(*) FROM dead_letter WHERE source = 'message'"))[0][0])


def _input() -> dict[str, Any]:
    return {"seconds": random.uniform(0.2, 1)}
