"""Files of a tenant: those that were uploaded, and those that jobs publish."""

from collections.abc import AsyncIterator
from typing import Protocol
from uuid import UUID

from schemas.catalogue import StoredFile


class Files(Protocol):
    """The files of one tenant, and where one try of a job publishes new ones."""

    async def publish(
        self,
        stream: AsyncIterator[bytes],
        filename: str,
        purpose: str,
        *,
        content_type: str = "application/octet-stream",
        lives_s: float | None = None,
    ) -> str:
        """Store the stream, never whole in memory, as a file that is listed once it is complete; returns its id,
        `file_<hex>`. `lives_s`: seconds until it expires; None: never.

        A job has one file of a name and purpose: publishing it again, as a repeated try does, replaces it under a new
        id. Raises `LeaseLost` for a try whose job another worker has, and `InvalidInput` for a name or a purpose that
        no upload could have either. What `stream` raises passes through; then nothing is published.
        """

    async def remove(self, file_id: str) -> None:
        """Remove a file of the job's tenant. One that is not there is no error."""

    async def find(self, file_id: str) -> StoredFile:
        """A file of the job's tenant. Raises `NotFound` (`file_not_found`)."""


class FileStore(Protocol):
    """The files of all tenants. A stage gets the `Files` of its own job instead."""

    def of(self, tenant: str, job_id: UUID, epoch: int) -> Files:
        """What one try may do."""
