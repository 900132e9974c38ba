"""Adapters and aliases of models, in memory."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from uuid import UUID

from schemas.adapters import ReadyAdapter
from schemas.promotions import ChampionChanged, Evidence


@dataclass
class MemoryAdapters:
    """Adapters by the names that requests give them."""

    there: dict[str, ReadyAdapter] = field(default_factory=dict)
    using: list[str] = field(default_factory=list)

    @asynccontextmanager
    async def ready(self, tenant: str, model: str | None, asked: str) -> AsyncIterator[ReadyAdapter | None]:
        self.using.append(asked)
        yield self.there.get(asked)
        self.using.remove(asked)


@dataclass
class MemoryAliases:
    """The aliases of one tenant, and the promotions of jobs."""

    points_to: dict[str, str] = field(default_factory=dict)
    promoted: dict[UUID | None, Evidence | None] = field(default_factory=dict)

    async def champions(self, tenant: str) -> dict[str, str]:
        return self.points_to

    async def champion(self, tenant: str, name: str) -> str | None:
        return self.points_to.get(name)

    async def candidate(self, tenant: str, name: str, model: str, *, field: str = "model") -> str:
        return model

    async def promote(
        self,
        tenant: str,
        name: str,
        model: str,
        *,
        expected: str | None,
        by: str,
        reason: str | None = None,
        evidence: Evidence | None = None,
        job: UUID | None = None,
    ) -> None:
        if job in self.promoted:
            return
        if self.points_to.get(name) != expected:
            raise ChampionChanged("it points elsewhere")
        self.points_to[name] = model
        self.promoted[job] = evidence
