"""Aliases in Postgres, for the gateway that moves them and the stages that promote: each step is one transaction."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, get_args
from uuid import UUID

import asyncpg

from infra.postgres.adapters import resolved
from infra.postgres.database import Database
from infra.postgres.queries import aliases, files
from infra.postgres.queries.aliases import Step
from schemas.adapters import named_adapter
from schemas.aliases import MOST, Action, Alias, base_of
from schemas.errors import Conflict, InvalidInput, NotFound
from schemas.ids import parsed
from schemas.models import MODEL_NAME, ModelNotFound, Models, ModelSpec, Task
from schemas.promotions import ChampionChanged, Evidence

if TYPE_CHECKING:
    from infra.postgres.database import Connection

TASKS: Final = get_args(Task)
NAME: Final = re.compile(MODEL_NAME)
Taken = tuple[Alias, asyncpg.Record]
"""An alias after a step, and the step's entry in the ledger."""


@dataclass(frozen=True, slots=True)
class PostgresAliases:
    """The aliases of all tenants. Implements the port `Aliases`."""

    database: Database
    models: Models

    async def of_job(self, tenant: str, job: UUID) -> Mapping[str, str]:
        """What the tenant's aliases mean for a job that is submitted: some give a share of the jobs to a canary."""
        async with self.database.connection() as connection:
            return {one.name: one.meant(job) for one in await aliases.aliases(connection, tenant)}

    async def champions(self, tenant: str) -> Mapping[str, str]:
        """What the tenant's aliases point to, without canaries."""
        async with self.database.connection() as connection:
            return await aliases.champions(connection, tenant)

    async def known(self, tenant: str, name: str) -> Alias:
        """An alias. Raises `NotFound` (`alias_not_found`) with those there are."""
        async with self.database.connection() as connection:
            return await _known(connection, tenant, name)

    async def champion(self, tenant: str, name: str) -> str | None:
        """The full name of the model that an alias points to; None if there is no such alias."""
        if not NAME.fullmatch(name):  # perhaps nothing that Postgres takes
            return None
        async with self.database.connection() as connection:
            found = await aliases.alias(connection, tenant, name)
        return None if found is None else found.model

    async def pinned(self, tenant: str, model: str, *, field: str = "model") -> str:
        """The full name of a model: `base`, or `base:adapter@version` with the version that is the newest now.

        Raises `ModelNotFound`, naming what there is, `AdapterNotFound`, and `InvalidInput` for an alias.
        """
        row, named = self._row(model), named_adapter(model)
        if row is not None:
            return row.name
        if named is not None and (base := self._row(named.base)) is not None:
            return await resolved(self.database, tenant, base, replace(named, base=base.name), field=field)
        points_to = await self.champion(tenant, model)
        if points_to is not None:
            why = f"{model!r} is an alias itself: name the model that it points to, {points_to!r}"
            raise InvalidInput(why, code="alias_of_alias", field=field)
        there = ", ".join(self.models.names())
        raise ModelNotFound(f"the model {model!r} is not here; there are: {there}, and their adapters", field=field)

    def named(self, model: str) -> str:
        """The full name of a model, as far as it can be told without a look at versions of adapters."""
        row, named = self._row(model), named_adapter(model)
        if row is not None:
            return row.name
        base = None if named is None else self._row(named.base)
        return model if named is None or base is None else str(replace(named, base=base.name))

    async def candidate(self, tenant: str, name: str, model: str, *, field: str = "model") -> str:
        """The full name of a model that may take over an alias.

        Raises what `pinned` raises, and `InvalidInput` when the alias has a model's name (`alias_taken`), or the model
        cannot do what the alias is used for (`tasks_differ`).
        """
        if self.models.knows(name):
            raise InvalidInput(f"{name!r} is a model of this deployment: choose another name", code="alias_taken")
        full = await self.pinned(tenant, model, field=field)
        champion = await self.champion(tenant, name)
        if champion is not None and (missing := self._tasks(champion) - self._tasks(full)):
            why = f"{name!r} is used for {', '.join(sorted(missing))}, which {full!r} cannot do"
            raise InvalidInput(why, code="tasks_differ", field=field)
        return full

    async def promote(
        self,
        tenant: str,
        name: str,
        model: str,
        *,
        expected: str | None,
        by: str,
        reason: str | None = None,
        forced: bool = False,
        evidence: Evidence | None = None,
        job: UUID | None = None,
    ) -> Taken:
        """Let an alias point to `model`, a full name; a canary ends. A `job` promotes once, however often it tries.

        Raises `ChampionChanged` unless the alias points to `expected`, and `Conflict` (`already_champion`,
        `too_many_aliases`).
        """
        async with self.database.unit_of_work() as connection:
            if job is not None and (before := await aliases.entry_of(connection, job)) is not None:
                return await _known(connection, tenant, name), before
            found = await aliases.alias(connection, tenant, name, hold=True)
            expect(name, None if found is None else found.model, expected)
            if found is None:
                moved = await _made(connection, tenant, name, model)
            elif found.model == model:
                raise Conflict(f"{name!r} points to {model!r} already", code="already_champion", field="model")
            else:
                moved = await aliases.point(connection, tenant, name, model)
            step = Step(
                tenant=tenant,
                alias=name,
                action=Action.PROMOTED,
                model=model,
                previous=expected,
                by=by,
                reason=reason,
                forced=forced,
                evaluation=None if evidence is None else evidence.evaluation,
                evidence=await _written(connection, tenant, evidence),
                job=job,
            )
            return moved, await aliases.note(connection, step)

    async def roll_back(self, tenant: str, name: str, *, expected: str | None, by: str, reason: str | None) -> Taken:
        """Take back the last step: the canary if there is one, else the last promotion.

        Raises `NotFound` (`alias_not_found`), `ChampionChanged`, `Conflict` (`nothing_to_roll_back`), and `Conflict`
        (`model_gone`) when the model before is no longer there.
        """
        async with self.database.unit_of_work() as connection:
            found = await self._held(connection, tenant, name, expected)
            target = found.model
            if found.canary_model is None:
                last = await aliases.promotion_of(connection, tenant, name, found.model)
                if last is None or last["previous"] is None:
                    why = f"{name!r} has pointed to no other model before {found.model!r}"
                    raise Conflict(why, code="nothing_to_roll_back", field="alias")
                target = await self._still_there(tenant, name, last["previous"])
            step = Step(
                tenant=tenant,
                alias=name,
                action=Action.ROLLED_BACK,
                model=target,
                previous=found.model,
                canary=found.canary_model,
                by=by,
                reason=reason,
            )
            return await aliases.point(connection, tenant, name, target), await aliases.note(connection, step)

    async def start_canary(
        self, tenant: str, name: str, model: str, share: float, *, expected: str | None, by: str, reason: str | None
    ) -> Taken:
        """Let a share of an alias's jobs run on `model`, a full name, in place of the canary before.

        Raises `NotFound` (`alias_not_found`), `ChampionChanged` and `Conflict` (`already_champion`).
        """
        async with self.database.unit_of_work() as connection:
            found = await self._held(connection, tenant, name, expected)
            if found.model == model:
                raise Conflict(f"{name!r} points to {model!r} already", code="already_champion", field="model")
            step = Step(
                tenant=tenant,
                alias=name,
                action=Action.CANARY_STARTED,
                model=found.model,
                previous=found.model,
                canary=model,
                share=share,
                by=by,
                reason=reason,
            )
            moved = await aliases.point(connection, tenant, name, found.model, model, share)
            return moved, await aliases.note(connection, step)

    async def end_canary(self, tenant: str, name: str, *, by: str) -> Taken:
        """End a canary; the champion stays. Raises `NotFound` (`alias_not_found`, `no_canary`)."""
        async with self.database.unit_of_work() as connection:
            found = await self._held(connection, tenant, name, None)
            if found.canary_model is None:
                raise NotFound(f"{name!r} has no canary", code="no_canary", field="alias")
            step = Step(
                tenant=tenant,
                alias=name,
                action=Action.CANARY_ENDED,
                model=found.model,
                previous=found.model,
                canary=found.canary_model,
                by=by,
            )
            return await aliases.point(connection, tenant, name, found.model), await aliases.note(connection, step)

    async def remove(self, tenant: str, name: str, *, by: str) -> None:
        """Remove an alias; its ledger stays. Raises `NotFound` (`alias_not_found`)."""
        async with self.database.unit_of_work() as connection:
            found = await self._held(connection, tenant, name, None)
            await aliases.remove(connection, tenant, name)
            step = Step(tenant=tenant, alias=name, action=Action.REMOVED, model=None, previous=found.model, by=by)
            await aliases.note(connection, step)

    async def _held(self, connection: "Connection", tenant: str, name: str, expected: str | None) -> Alias:
        found = await _known(connection, tenant, name, hold=True)
        if expected is not None:
            expect(name, found.model, expected)
        return found

    async def _still_there(self, tenant: str, name: str, model: str) -> str:
        try:
            return await self.pinned(tenant, model)
        except InvalidInput as error:
            why = f"{name!r} cannot go back to {model!r}: {error.message}"
            raise Conflict(why, code="model_gone", field="alias") from error

    def _row(self, name: str) -> ModelSpec | None:
        rows = list(self.models)
        return next((row for row in rows if row.name == name), None) or next(
            (row for row in rows if row.title == name), None
        )

    def _tasks(self, model: str) -> set[Task]:
        rows = [row for row in self.models if row.name == base_of(model)]
        able = {task for task in TASKS if any(row.can(task) for row in rows)}
        return able - {"embeddings"} if named_adapter(model) else able


async def _known(connection: "Connection", tenant: str, name: str, *, hold: bool = False) -> Alias:
    found = await aliases.alias(connection, tenant, name, hold=hold)
    if found is not None:
        return found
    there = ", ".join(one.name for one in await aliases.aliases(connection, tenant)) or "none"
    raise NotFound(f"there is no alias {name!r}; there are: {there}", code="alias_not_found", field="alias")


def expect(name: str, points_to: str | None, expected: str | None) -> None:
    """Raise `ChampionChanged` unless the alias points to `expected`; None: unless it is not there."""
    if points_to != expected:
        now = "there is no such alias" if points_to is None else f"it points to {points_to!r}"
        wanted = "no such alias" if expected is None else repr(expected)
        raise ChampionChanged(f"{name!r}: expected {wanted}, but {now}", field="expected")


async def _made(connection: "Connection", tenant: str, name: str, model: str) -> Alias:
    made = await aliases.make(connection, tenant, name, model)
    if made is not None:
        return made
    other = await aliases.alias(connection, tenant, name)
    expect(name, None if other is None else other.model, None)
    raise Conflict(f"there are {MOST} aliases already: remove some", code="too_many_aliases", field="alias")


async def _written(connection: "Connection", tenant: str, evidence: Evidence | None) -> str | None:
    """The figures as the ledger keeps them, with the digest of the dataset, which may be removed later."""
    if evidence is None:
        return None
    if evidence.dataset is not None:
        file = await files.file(connection, parsed("file", evidence.dataset), tenant)
        evidence = evidence.model_copy(update={"dataset_sha256": None if file is None else file["sha256"]})
    return evidence.model_dump_json()
