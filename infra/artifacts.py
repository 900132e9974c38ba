"""What jobs produce and is too large for a row: a blob, and a file that names it."""

import hashlib
from typing import Any
from uuid import UUID

import uuid_utils.compat as uuids

from infra.postgres.database import Database
from infra.postgres.queries import files
from infra.postgres.queries.files import NewFile


class Artifacts:
    """Stores bytes under a path that holds the job's epoch and the file's id: no try ever overwrites another's."""

    def __init__(self, database: Database, blobs: Any) -> None:
        self._database = database
        self._blobs = blobs

    async def store(
        self, tenant: str, job_id: UUID, epoch: int, *, filename: str, content_type: str, data: bytes
    ) -> str:
        """Store `data`; returns the file's id."""
        file_id = uuids.uuid7()
        key = f"{tenant}/jobs/{job_id.hex}/{epoch}/{file_id.hex}/{filename}"
        await self._blobs.put(key, data, content_type=content_type)
        async with self._database.connection() as connection:
            await files.add(
                connection,
                NewFile(
                    id=file_id,
                    tenant=tenant,
                    filename=filename,
                    purpose="result",
                    content_type=content_type,
                    bytes=len(data),
                    sha256=hashlib.sha256(data).hexdigest(),
                    blob=key,
                ),
            )
        return f"file_{file_id.hex}"
