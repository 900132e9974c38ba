"""Makes things that ended long ago: ids are made in the past, and the times in rows are set back."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import uuid_utils.compat as uuids

from infra.blobs.folder import FolderBlobs
from infra.postgres.queries.files import NewFile
from schemas.lifecycle import JobState
from tests.integration.jobs import Jobs, record_file


def id_of(days: float) -> UUID:
    """An id as it would have been made this many days ago."""
    fresh = uuids.uuid7()
    then = int((datetime.now(UTC) - timedelta(days=days)).timestamp() * 1000)
    return UUID(int=(then << 80) | (fresh.int & ((1 << 80) - 1)))


class Past:
    """Jobs and files of one database that were made days ago."""

    def __init__(self, jobs: Jobs, blobs: FolderBlobs) -> None:
        self.jobs = jobs
        self.blobs = blobs

    async def job(
        self,
        days: float = 40,
        state: JobState | None = JobState.SUCCEEDED,
        *,
        ended: float | None = None,
        **changes: Any,
    ) -> UUID:
        """A job made `days` ago that ended `ended` days ago, by default as long ago; with state None, still queued."""
        [job_id] = await self.jobs.submit(id=id_of(days), **changes)
        if state is not None:
            await self.jobs.end(job_id, state)
            await self.back(job_id, days if ended is None else ended)
        return job_id

    async def back(self, job_id: UUID, days: float) -> None:
        """Make a job look as if it had ended this many days ago."""
        await self.jobs.fetch(
            "UPDATE job SET finished_at = now() - make_interval(secs => $2 * 86400) WHERE id = $1", job_id, days
        )

    async def tree(self, children: int, days: float = 40) -> tuple[UUID, list[UUID]]:
        """A parent and its children, all of which have ended."""
        parent = id_of(days)
        await self.jobs.submit(id=parent)
        [row] = await self.jobs.claim(parent)
        below = await self.jobs.fan_out(parent, row.epoch, children)
        await self.jobs.fetch(
            "UPDATE job SET state = 'succeeded', waiting = false, finished_at = now() - make_interval(days => $2)"
            " WHERE id = $1 OR parent = $1",
            parent,
            int(days),
        )
        return parent, below

    async def result(self, job_id: UUID, *, epoch: int = 1, tenant: str = "default", row: bool = True) -> UUID:
        """A result file of a job; without `row`, what a failed try leaves: bytes that nothing names."""
        file_id = id_of(40)
        blob = f"{tenant}/jobs/{job_id.hex}/{epoch}/{file_id.hex}/result.json"
        await self.blobs.put(blob, b"{}")
        if row:
            await self._record(file_id, tenant, "result", blob)
        return file_id

    async def upload(self, days: float = 40, *, tenant: str = "default") -> UUID:
        """An uploaded file."""
        file_id = id_of(days)
        blob = f"{tenant}/files/{file_id.hex}"
        await self.blobs.put(blob, b"text")
        await self._record(file_id, tenant, "documents", blob)
        await self.jobs.fetch(
            "UPDATE file SET created_at = now() - make_interval(secs => $2 * 86400) WHERE id = $1", file_id, days
        )
        return file_id

    async def _record(self, file_id: UUID, tenant: str, purpose: str, blob: str) -> None:
        async with self.jobs.database.connection() as connection:
            await record_file(
                connection,
                NewFile(
                    id=file_id,
                    tenant=tenant,
                    filename="f",
                    purpose=purpose,
                    content_type="application/json",
                    bytes=2,
                    sha256="0" * 64,
                    blob=blob,
                ),
            )

    async def left(self, table: str = "job") -> set[UUID]:
        """The ids of the remaining rows."""
        return {row["id"] for row in await self.jobs.fetch(f"SELECT id FROM {table}")}

    async def folders(self, tenant: str = "default", of: str = "jobs") -> list[str]:
        """The folders in object storage under a tenant's folder."""
        return [name async for name in self.blobs.names(f"{tenant}/{of}")]
