"""Stores checkpoints while training goes on; a newer one takes the place of one that still waits."""

import asyncio
import shutil
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Self

from consumers.stages.patience import patient
from schemas.kinds.training.plan import Saved


class Saving:
    """`async with Saving(store) as saving:`; what still waits at the end of the block is dropped.

    `store` stores one checkpoint. While object storage is away it is tried again. Its other errors are raised by the
    next call.
    """

    def __init__(self, store: Callable[[Saved], Awaitable[None]]) -> None:
        self._store = store
        self._waiting: Saved | None = None
        self._task: asyncio.Task[None] | None = None
        self.newest: Path | None = None
        """The folder of the newest checkpoint on this machine's disk."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def offer(self, saved: Saved) -> None:
        """Store this checkpoint as soon as the one before is stored."""
        self.check()
        before, self.newest = self.newest, Path(saved.folder)
        waited, self._waiting = self._waiting, saved
        if self._task is None:
            self._task = asyncio.create_task(self._run())
        elif waited is None:
            return  # the one before is being stored
        if before is not None:
            await asyncio.to_thread(shutil.rmtree, before)

    def check(self) -> None:
        """Raise what storing raised."""
        if self._task is not None and self._task.done():
            self._task.result()

    async def settled(self) -> None:
        """Until everything is stored."""
        if self._task is not None:
            await self._task

    async def _run(self) -> None:
        while self._waiting is not None:
            saved, self._waiting = self._waiting, None
            await patient(partial(self._store, saved))
            if self._waiting is not None:
                await asyncio.to_thread(shutil.rmtree, saved.folder)
        self._task = None
