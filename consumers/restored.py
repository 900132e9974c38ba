"""Finds out in a worker that Postgres or the index was restored without the other: at its start, and while it runs."""

import asyncio
from typing import Final, Protocol

import structlog

from consumers.stages.comparing import compare
from consumers.stages.ports import IndexDoubts, VectorIndex
from schemas.errors import DependencyUnavailable
from schemas.retrieval import IndexName
from schemas.watermarks import Age

log = structlog.get_logger(__name__)

EVERY_S: Final = 10.0
"""How often the worker looks whether Postgres was restored."""


class Catalogue(IndexDoubts, Protocol):
    """What is asked of Postgres beside single indexes."""

    async def indexes(self) -> list[IndexName]:
        """Those that collections name, those that are being built first."""

    async def age(self) -> Age:
        """How far Postgres has gone, and in which copy of it."""

    async def pass_number(self, number: int) -> None:
        """Give only higher numbers from now on."""


class RestoreWatch:
    """Compares every index with the catalogue, once at the start and again whenever Postgres has gone back."""

    def __init__(self, catalogue: Catalogue, index: VectorIndex) -> None:
        self._catalogue = catalogue
        self._index = index
        self._compared: Age | None = None

    async def look(self) -> None:
        """Compare if it was not done since Postgres has gone back. While Postgres or the index is away, the next look
        does it."""
        try:
            age = await self._catalogue.age()
            if self._compared is None or not age.follows(self._compared):
                self._compared = None
                await self._compare_all()
                # A restore while they were compared is another copy, and found by the next look.
            self._compared = age
        except DependencyUnavailable as error:
            log.warning("restore_watch.away", error=error.message)

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            await asyncio.sleep(EVERY_S)
            await self.look()

    async def _compare_all(self) -> None:
        # Before a job draws a number: a generation that was lost in the restore still has its index.
        await self._catalogue.pass_number(await self._index.highest_generation())
        for name in await self._catalogue.indexes():
            try:
                await compare(self._catalogue, self._index, name)
            except DependencyUnavailable as error:
                # One damaged index must not hide that others were restored; its own jobs fail with this error.
                log.warning("index.not_compared", collection=name.collection, error=error.message)
