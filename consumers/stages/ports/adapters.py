"""LoRA adapters of a tenant, ready for the engine that runs the job's model."""

from contextlib import AbstractAsyncContextManager
from typing import Protocol

from schemas.adapters import ReadyAdapter


class Adapters(Protocol):
    """The adapters of all tenants."""

    def ready(self, tenant: str, model: str | None, asked: str) -> AbstractAsyncContextManager[ReadyAdapter | None]:
        """The adapter that a job on `model` asked for, by the name in its request; None where it names none.

        It stays where it is until the context ends. Raises `AdapterNotFound`, and `DependencyUnavailable` where it
        cannot be fetched.
        """
