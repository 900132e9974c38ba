"""Registers what was trained, so that requests may name it."""

from typing import Protocol
from uuid import UUID

from schemas.adapters import NewAdapter
from schemas.lineage import Lineage


class AdapterRegistry(Protocol):
    """The registered adapters of all tenants."""

    async def registered(self, tenant: str, new: NewAdapter, lineage: Lineage, run: UUID | None) -> str:
        """Register a file of the tenant as an adapter; the name of its version, such as `qwen:mine@2`.

        The newest version again is no new one. `lineage` is kept with it, as is `run`, its run in the experiment
        tracker. Raises `InvalidInput` (`adapter_refused`), `Conflict` (`too_many_adapters`) and `StorageFull`.
        """
