"""A tenant's aliases of models: what they point to, and the step that moves one."""

from collections.abc import Mapping
from typing import Any, Protocol
from uuid import UUID

from schemas.promotions import Evidence


class Aliases(Protocol):
    """The aliases of all tenants. Models have their full names, `base:adapter@version`."""

    async def champions(self, tenant: str) -> Mapping[str, str]:
        """What the tenant's aliases point to."""

    async def champion(self, tenant: str, name: str) -> str | None:
        """The model that an alias points to; None if there is no such alias."""

    async def candidate(self, tenant: str, name: str, model: str, *, field: str = ...) -> str:
        """The full name of a model that may take over an alias. Raises `InvalidInput`."""

    async def promote(
        self,
        tenant: str,
        name: str,
        model: str,
        *,
        expected: str | None,
        by: str,
        reason: str | None = ...,
        evidence: Evidence | None = ...,
        job: UUID | None = ...,
    ) -> Any:
        """Let an alias point to `model`, once for a `job`. Raises `ChampionChanged` unless it points to `expected`."""
