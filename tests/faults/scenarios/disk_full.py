"""9. The disk of Postgres, of the broker, of the artifacts is full, and then has space again."""

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import asyncpg
import httpx

from infra.local.kafka import KafkaServer
from infra.postgres.database import AWAY
from tests.faults.grounds import Grounds
from tests.faults.load import clean
from tests.faults.servers import Postgres, SmallDisk
from tests.faults.site import Site
from tests.faults.verdict import Verdict, judge

NAME: Final = "disk full: Postgres, the broker, the artifact folder"
BOUND_S: Final = 60.0
RATE: Final = 10.0
LONG: Final = 100_000
"""Letters of a result that is too long for its row, and so becomes an artifact."""


async def run(grounds: Grounds, quick: bool) -> Verdict:
    full_s = 4.0 if quick else 12.0
    try:
        with SmallDisk(grounds.folder / "disk", 4):
            pass
    except PermissionError as error:
        return Verdict(skipped=str(error))
    verdict = Verdict()
    for part in (_of_postgres, _of_the_broker, _of_artifacts):
        verdict.add(await part(grounds, full_s))
    return verdict


async def _of_postgres(grounds: Grounds, full_s: float) -> Verdict:
    """Submissions are refused cleanly or accepted; nothing else. Postgres itself may have to be started again."""
    with SmallDisk(grounds.folder / "disk-postgres", 256) as disk:
        postgres = Postgres(disk.path / "pg")
        await asyncio.to_thread(postgres.start)
        try:
            async with await grounds.site("disk_postgres", postgres=postgres) as site:
                await site.hire(2)
                async with site.load.steadily(RATE, _long_input, max_attempts=25):
                    async with _full(disk, full_s):
                        await _want_log(site.database)
                        await asyncio.sleep(full_s / 2)
                    survived = await asyncio.to_thread(postgres.revive)
                    healed_at = time.time()
                verdict = await judge(site, healed_at=healed_at, bound_s=BOUND_S)
                refused = site.load.refused.total()
                verdict.check(refused > 0, "no submission was refused: the disk was not full")
                verdict.notes.append(
                    f"Postgres' disk: {refused} clean 503s; it {'lived on' if survived else 'stopped itself'}"
                )
                return verdict
        finally:
            await asyncio.to_thread(postgres.stop)


async def _of_the_broker(grounds: Grounds, full_s: float) -> Verdict:
    """Submissions are accepted; the broker, which ends itself, is started again when it has space."""
    with SmallDisk(grounds.folder / "disk-kafka", 96) as disk:
        kafka = KafkaServer(disk.path / "kafka")
        await asyncio.to_thread(kafka.start)
        try:
            async with await grounds.site("disk_kafka", kafka=kafka) as site:
                await site.hire(2)
                async with site.load.steadily(RATE, _input, max_attempts=25):
                    async with _full(disk, full_s):
                        pass
                    survived = kafka.running
                    if not survived:
                        await asyncio.to_thread(kafka.start)
                    healed_at = time.time()
                verdict = await judge(site, healed_at=healed_at, bound_s=BOUND_S)
                refused = site.load.refused.total()
                verdict.check(refused == 0, f"{refused} submissions were refused for the broker's disk")
                verdict.notes.append(
                    f"the broker's disk: submissions answered 202; it {'lived on' if survived else 'stopped itself'}"
                )
                return verdict
        finally:
            await asyncio.to_thread(kafka.stop)


async def _of_artifacts(grounds: Grounds, full_s: float) -> Verdict:
    """Uploads are refused cleanly; jobs wait for space, also one whose work is done and whose result is long."""
    with SmallDisk(grounds.folder / "disk-blobs", 16) as disk:
        async with await grounds.site("disk_blobs", WELIP_BLOBS_URL=f"file://{disk.path}/blobs") as site:
            site.blobs = disk.path / "blobs"
            await site.hire(2)
            async with site.load.steadily(RATE / 2, _input, max_attempts=25):
                await asyncio.sleep(2)
                async with _full(disk, full_s):
                    refused = await _upload(site)
                accepted = await _upload(site)
                healed_at = time.time()
            verdict = await judge(site, healed_at=healed_at, bound_s=BOUND_S)
            verdict.check(
                clean(refused), f"an upload to a full disk was answered {refused.status_code}: {refused.text}"
            )
            verdict.check(
                accepted.is_success, f"an upload after it was answered {accepted.status_code}: {accepted.text}"
            )
            failed = sum(1 for one in site.journal.read().tries if one.how == "raised")
            verdict.check(failed > 0, "no stage failed: the disk was not full")
            verdict.notes.append(
                f"the artifacts' disk: an upload refused by a clean 503; {failed} tries failed, all repeated"
            )
            return verdict


@asynccontextmanager
async def _full(disk: SmallDisk, full_s: float) -> AsyncIterator[None]:
    """The disk stays full for so long, whatever gives space back."""
    await asyncio.sleep(2)

    async def keep_full() -> None:
        while True:
            disk.fill()
            await asyncio.sleep(0.2)

    filling = asyncio.create_task(keep_full())
    try:
        await asyncio.sleep(full_s)
        yield
    finally:
        filling.cancel()
        await asyncio.gather(filling, return_exceptions=True)
        disk.empty()


async def _want_log(database: str) -> None:
    """Let Postgres go through the segments of its log that it holds in reserve: for the next one there is no space."""
    for _ in range(10):
        with contextlib.suppress(*AWAY):
            connection = await asyncpg.connect(database, timeout=5)
            try:
                await connection.execute("SELECT pg_switch_wal()")
                await connection.execute("SELECT pg_logical_emit_message(true, 'faults', '', flush => true)")
            finally:
                connection.terminate()


async def _upload(site: Site) -> httpx.Response:
    async with httpx.AsyncClient(base_url=site.url, timeout=30) as http:
        return await http.post("/v1/files", files={"file": ("a.txt", b"x" * 100_000)}, data={"purpose": "documents"})


def _input() -> dict[str, Any]:
    return {"seconds": random.uniform(0, 1), "two_stages": random.random() < 0.3}


def _long_input() -> dict[str, Any]:
    # Rows that are not small: else it takes long until Postgres wants another page.
    return {**_input(), "letters": 20_000}
