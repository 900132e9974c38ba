"""Tells the process that trains when the job's owner pauses it: it then saves a checkpoint and ends."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Final
from uuid import UUID

from consumers.stages.ports import Steering
from schemas.errors import DependencyUnavailable

EVERY_S: Final = 1.0
"""How often the stage asks: a step takes about as long, and one query a second for a whole machine costs nothing."""


@asynccontextmanager
async def stopped_when_paused(steering: Steering, job_id: UUID, stop_file: Path) -> AsyncIterator[None]:
    """Within the block: make the stop file once the job is paused."""

    async def watch() -> None:
        while True:
            with suppress(DependencyUnavailable):
                if await steering.paused(job_id):
                    await asyncio.to_thread(stop_file.touch)
                    return
            await asyncio.sleep(EVERY_S)

    watching = asyncio.create_task(watch())
    try:
        yield
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
