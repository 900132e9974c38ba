"""The agent of aliases: waiting jobs follow an alias that moved, and a canary that is worse is rolled back."""

import asyncio
import json
from collections.abc import Callable
from dataclasses import asdict
from typing import Any, Final
from uuid import UUID

import orjson
import structlog

from infra.metrics import CANARIES
from infra.postgres.database import Database
from infra.postgres.queries import aliases
from infra.postgres.queries.aliases import Step
from producers.arms import Compared, compare, due
from schemas.aliases import Action, Alias, base_of
from schemas.errors import DependencyUnavailable
from schemas.kinds.kind import Kind
from schemas.kinds.registry import kind_of
from schemas.models import Models

log = structlog.get_logger(__name__)

EVERY_S: Final = 1.0
PAGE: Final = 200
"""Jobs that follow in one transaction; an input may have a megabyte."""
LATE_S: Final = 10.0
"""Whoever read an alias before it moved has submitted by then, or failed."""
MOST: Final = 5_000
"""Jobs of each arm that are compared, the newest."""
FIRST: Final = UUID(int=0)
BY: Final = "welip"


class AliasKeeper:
    """Looks after the aliases of all tenants. Any number of processes may do so side by side."""

    def __init__(self, database: Database, models: Models, wake_relay: Callable[[], None]) -> None:
        self._database = database
        self._models = models
        self._wake_relay = wake_relay

    async def run(self) -> None:
        """A round every second until cancelled; keeps trying while Postgres is away."""
        while True:
            try:
                await self.round()
            except DependencyUnavailable as error:
                log.warning("aliases.away", error=error.message)
            except Exception as error:
                # Aliases that stay as they are are harmless; ending relay and rescuer with it would not be.
                log.error("aliases.defect", exc_info=error)
            await asyncio.sleep(EVERY_S)

    async def round(self) -> int:
        """Let jobs follow, and compare canaries that are due; how many jobs followed."""
        async with self._database.connection() as connection:
            tended = await aliases.tended(connection)
        moved = 0
        for alias, settled in tended:
            if not settled:
                moved += await self._follow(alias)
            if alias.canary_model is not None:
                await self._look(alias, alias.canary_model)
        return moved

    async def _follow(self, alias: Alias) -> int:
        """Send the jobs that wait for a former model to the present one.

        Jobs that another model has begun keep to it, and so do those whose work the present one cannot do.
        """
        moved, after = 0, FIRST
        while True:
            async with self._database.unit_of_work() as connection:
                held = await aliases.alias(connection, alias.tenant, alias.name, hold=True)
                if held is None or held.changed_at != alias.changed_at:
                    return moved
                rows = await aliases.outdated(connection, alias, after, PAGE)
                jobs = [
                    (row["id"], _settled(kind, row["input"], alias.model))
                    for row in rows
                    if (kind := self._able(row["kind"], alias.model)) is not None
                ]
                base = base_of(alias.model)
                count = await aliases.move(connection, jobs, base=base, model=alias.model) if jobs else 0
            if count:
                self._wake_relay()
                log.info("aliases.jobs_moved", alias=alias.name, model=alias.model, jobs=count)
            moved += count
            if len(rows) < PAGE:
                break
            after = rows[-1]["id"]
        if not moved:
            async with self._database.connection() as connection:
                await aliases.settle(connection, alias, LATE_S)
        return moved

    def _able(self, name: str, model: str) -> Kind | None:
        """The kind of this name, if the model can do its work."""
        kind = kind_of(name)
        if kind is None or kind.task is None or self._models.find(base_of(model), kind.task) is None:
            return None
        return kind

    async def _look(self, alias: Alias, canary: str) -> None:
        """Compare a canary with the champion once enough of its jobs have ended."""
        async with self._database.connection() as connection:
            if not await aliases.enough(connection, alias, due(alias.canary_looks)):
                return
            ours = await aliases.ended(connection, alias, canary, MOST)
            theirs = await aliases.ended(connection, alias, alias.model, MOST)
        found = await asyncio.to_thread(compare, ours, theirs, look=alias.canary_looks + 1)
        async with self._database.unit_of_work() as connection:
            if not await aliases.look(connection, alias):
                return
            if found.worse is not None:
                await aliases.point(connection, alias.tenant, alias.name, alias.model)
                await aliases.note(connection, _rolled_back(alias, found))
        log.info("canary.compared", alias=alias.name, model=canary, look=found.look, worse=found.worse)
        CANARIES.labels("kept" if found.worse is None else "rolled_back").inc()


def _rolled_back(alias: Alias, found: Compared) -> Step:
    return Step(
        tenant=alias.tenant,
        alias=alias.name,
        action=Action.ROLLED_BACK,
        model=alias.model,
        previous=alias.model,
        canary=alias.canary_model,
        share=alias.canary_share,
        by=BY,
        reason=found.worse,
        evidence=orjson.dumps(asdict(found)).decode(),
    )


def _settled(kind: Kind, input: str, model: str) -> str:
    """The input with another model's name in it. Not read by Postgres, whose jsonb takes no NUL."""
    told: dict[str, Any] = json.loads(input)
    *path, field = kind.asks
    asked = told
    for part in path:
        asked = asked[part]
    asked[field] = model
    return json.dumps(told, ensure_ascii=False, separators=(",", ":"))
