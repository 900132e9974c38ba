"""Files that jobs publish: bytes in object storage, and a row that names them once they are complete."""

import hashlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Final, Protocol
from uuid import UUID

import uuid_utils.compat as uuids

from infra.postgres.database import Database
from infra.postgres.queries import files
from infra.postgres.queries.files import NewFile
from schemas.catalogue import StoredFile
from schemas.errors import Conflict, InvalidInput, LeaseLost, NotFound
from schemas.ids import parsed, shown

MAX_NAME_CHARS: Final = 255
MAX_PURPOSE_CHARS: Final = 64


class Stored(Protocol):
    """What publishing needs of object storage."""

    async def put_stream(self, key: str, chunks: AsyncIterator[bytes], *, content_type: str = ...) -> int:
        """Store a stream; returns the bytes stored. When it raises, nothing is stored."""


@dataclass(frozen=True, slots=True)
class PublishedFiles:
    """The files of all tenants, published by this `worker`."""

    database: Database
    blobs: Stored
    worker: str

    def of(self, tenant: str, job_id: UUID, epoch: int) -> "JobFiles":
        """The files of one tenant, for one try of a job."""
        return JobFiles(self, tenant, job_id, epoch)


@dataclass(frozen=True, slots=True)
class JobFiles:
    """The files of one tenant, and the one try that publishes more."""

    files: PublishedFiles
    tenant: str
    job_id: UUID
    epoch: int

    async def publish(
        self,
        stream: AsyncIterator[bytes],
        filename: str,
        purpose: str,
        *,
        content_type: str = "application/octet-stream",
        lives_s: float | None = None,
    ) -> str:
        """Store the stream as the job's file of this name and purpose, for `lives_s` seconds if given; returns its id.

        The blob is listed as garbage before it is written, like an upload's. So if the try dies and leaves no row,
        retention deletes what it wrote. Raises `InvalidInput`, `LeaseLost`, and `Conflict` (`file_too_slow`) for a
        stream that took a day.
        """
        _check(filename, purpose)
        file_id = uuids.uuid7()
        # The path belongs to this try and this file; no other try writes there.
        blob = f"{self._folder}/{self.epoch}/{file_id.hex}"
        async with self.files.database.connection() as connection:
            await files.expect(connection, blob)
        digest = hashlib.sha256()

        async def read() -> AsyncIterator[bytes]:
            async for piece in stream:
                digest.update(piece)
                yield piece

        size = await self.files.blobs.put_stream(blob, read(), content_type=content_type)
        async with self.files.database.connection() as connection:
            published = await files.publish(
                connection,
                NewFile(file_id, self.tenant, filename, purpose, content_type, size, digest.hexdigest(), blob, lives_s),
                job=self.job_id,
                epoch=self.epoch,
                worker=self.files.worker,
                folder=self._folder,
            )
        if not published.ours:
            raise LeaseLost(f"job_{self.job_id.hex} is another worker's now: the file {filename!r} is not published")
        if not published.made:
            raise Conflict(f"the file {filename!r} took longer than a day to write", code="file_too_slow")
        return shown("file", file_id)

    async def remove(self, file_id: str) -> None:
        """Remove one of the tenant's files; its bytes are noted as garbage."""
        async with self.files.database.connection() as connection:
            await files.delete(connection, parsed("file", file_id), self.tenant)

    async def find(self, file_id: str) -> StoredFile:
        """One of the tenant's files. Raises `NotFound`."""
        async with self.files.database.connection() as connection:
            row = await files.file(connection, parsed("file", file_id), self.tenant)
        if row is None:
            raise NotFound(f"there is no file {file_id}: upload it first", code="file_not_found", field="file")
        return StoredFile(row["blob"], row["filename"], row["purpose"], row["bytes"], row["sha256"])

    @property
    def _folder(self) -> str:
        return f"{self.tenant}/jobs/{self.job_id.hex}"


def _check(filename: str, purpose: str) -> None:
    for field, value, most in ("filename", filename, MAX_NAME_CHARS), ("purpose", purpose, MAX_PURPOSE_CHARS):
        if not 0 < len(value) <= most or not value.isprintable():
            raise InvalidInput(f"{value[:100]!r} is no {field}: 1 to {most} printable characters", field=field)
