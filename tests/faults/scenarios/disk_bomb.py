"""14. Small files that unpack to more than their tenant may store, beside the jobs of another tenant."""

import asyncio
import io
import os
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from infra.blobs.counted import STEPS
from schemas.topics import Pool
from tests.faults.grounds import Grounds
from tests.faults.probe import POOL
from tests.faults.site import Site, eventually
from tests.faults.tenant import Tenant
from tests.faults.verdict import Verdict, judge, uncharged

NAME: Final = "a disk bomb: small files that unpack beyond the quota"
BOUND_S: Final = 90.0
QUOTA: Final = 32 << 20
BOMBS: Final = 3
PIECE: Final = 200
"""Rows that are packed together, of 27 KB each."""
LONG: Final = 6
MINUTE_S: Final = 60.0
RATE: Final = 4.0


async def run(grounds: Grounds, quick: bool) -> Verdict:
    seconds = 10.0 if quick else MINUTE_S
    async with await grounds.site("bomb", tenant="neighbour", WELIP_LIMIT_FILE_BYTES=f"{QUOTA}") as site:
        await site.hire(1, pools=(POOL, Pool.CPU))
        await site.load.burst(LONG, max_attempts=1, seconds=seconds)
        await eventually(lambda: len(site.journal.read().tries) == LONG, "the neighbour's jobs run", within_s=60)
        async with (
            Tenant(site, "bomber") as bomber,
            site.load.steadily(RATE, _input, max_attempts=1),
            _watched(site) as most,
        ):
            file = await bomber.upload(_bomb(), "corpus.parquet")
            began = time.monotonic()
            bombs = [
                await bomber.index(collection=f"bomb-{number}", corpus={"file": file, "format": "parquet"})
                for number in range(BOMBS)
            ]
            ends = [await bomber.ended(job, within_s=BOUND_S) for job in bombs]
            took = time.monotonic() - began
            await eventually(lambda: _stored(site.blobs, "bomber/jobs/") == 0, "what they wrote is gone", within_s=30)
        verdict = await judge(site, bound_s=seconds + BOUND_S, ends=frozenset({"succeeded", "failed"}))
        verdict.recovery_s, verdict.bound_s = took, BOUND_S
        codes = [(end["state"], (end["error"] or {}).get("code")) for end in ends]
        verdict.check(codes == [("failed", "storage_full")] * BOMBS, f"the bombs ended with {codes}")
        verdict.check(not site.deaths, f"{len(site.deaths)} workers died")
        verdict.check(most[0] > QUOTA // 2, f"{most[0]:,} bytes were stored at most: nothing was tried")
        verdict.check(most[0] <= QUOTA + QUOTA // STEPS, f"{most[0]:,} bytes were stored, of {QUOTA:,}")
        verdict.add(await uncharged(site, harmful="kind = 'indexing'"))
        verdict.notes.append(f"{most[0] >> 20} MiB on the disk at most, of {QUOTA >> 20}; {BOMBS} bombs refused")
        return verdict


def _bomb() -> bytes:
    """Four times the quota, in less than a hundredth of it."""
    texts = pa.table({"text": pa.array(["가나다라 마바사다. " * 1000] * PIECE)})
    packed = io.BytesIO()
    with pq.ParquetWriter(packed, texts.schema, compression="zstd", use_dictionary=False) as writer:
        for _ in range(4 * QUOTA // (PIECE * 27_000)):
            writer.write_table(texts)
    return packed.getvalue()


@asynccontextmanager
async def _watched(site: Site) -> AsyncIterator[list[int]]:
    """The most that was on the disk at a time, while the block runs."""
    most = [0]

    async def watch() -> None:
        while True:
            most[0] = max(most[0], await asyncio.to_thread(_stored, site.blobs))
            await asyncio.sleep(0.05)

    watching = asyncio.create_task(watch())
    try:
        yield most
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)


def _stored(blobs: Path, below: str = "") -> int:
    """Bytes on the disk, those that are being written too."""
    total = 0
    for folder, _, names in os.walk(blobs):
        for name in names if below in f"{folder}/" else ():
            with suppress(FileNotFoundError):
                total += (Path(folder) / name).stat().st_size
    return total


def _input() -> dict[str, Any]:
    return {"seconds": random.uniform(0, 0.5)}
