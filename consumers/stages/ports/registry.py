"""Registers what was trained, so that requests may name it."""

from typing import Protocol

from schemas.adapters import NewAdapter


class AdapterRegistry(Protocol):
    """The registered adapters of all tenants."""

    async def registered(self, tenant: str, new: NewAdapter) -> str:
        """Register a file of the tenant as an adapter; the name of its version, such as `qwen:mine@2`.

        The newest version again is no new one. Raises `InvalidInput` (`adapter_refused`), `Conflict`
        (`too_many_adapters`) and `StorageFull`.
        """
