"""Blobs and files, in memory."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import timedelta
from hashlib import sha256
from uuid import UUID, uuid4

from schemas.catalogue import StoredFile
from schemas.errors import NotFound


@dataclass
class MemoryBlobs:
    data: dict[str, bytes] = field(default_factory=dict)
    piece: int = 7  # small, so that lines span pieces

    async def put(self, key: str, data: bytes, *, content_type: str = "") -> None:
        self.data[key] = data

    async def put_stream(self, key: str, chunks: AsyncIterator[bytes], *, content_type: str = "") -> int:
        self.data[key] = b"".join([chunk async for chunk in chunks])
        return len(self.data[key])

    async def get(self, key: str) -> bytes:
        if key not in self.data:
            raise NotFound(key)
        return self.data[key]

    async def stream(self, key: str, *, start: int = 0, length: int | None = None) -> AsyncIterator[bytes]:
        data = (await self.get(key))[start:][:length]
        step = max(self.piece, len(data) // 100)
        for at in range(0, len(data), step):
            yield data[at : at + step]

    async def delete(self, prefix: str) -> int:
        gone = [key for key in self.data if key == prefix or key.startswith(f"{prefix}/")]
        for key in gone:
            del self.data[key]
        return len(gone)

    async def check(self) -> None:
        return None


@dataclass
class MemoryFiles:
    """The files of one tenant, all published by one try."""

    blobs: MemoryBlobs
    named: dict[str, StoredFile] = field(default_factory=dict)

    def of(self, tenant: str, job_id: UUID, epoch: int) -> "MemoryFiles":
        return self

    async def publish(
        self,
        stream: AsyncIterator[bytes],
        filename: str,
        purpose: str,
        *,
        content_type: str = "",
        lives_s: float | None = None,
    ) -> str:
        file_id = f"file_{uuid4().hex}"
        size = await self.blobs.put_stream(f"t/files/{file_id}", stream)
        older = [known for known, one in self.named.items() if (one.filename, one.purpose) == (filename, purpose)]
        for known in older:
            del self.named[known]
        self.named[file_id] = StoredFile(
            f"t/files/{file_id}", filename, purpose, size, sha256(self.blobs.data[f"t/files/{file_id}"]).hexdigest()
        )
        return file_id

    async def remove(self, file_id: str) -> None:
        self.named.pop(file_id, None)

    async def find(self, file_id: str) -> StoredFile:
        if file_id not in self.named:
            raise NotFound(file_id, code="file_not_found")
        return self.named[file_id]


@dataclass
class MemoryExpiry:
    """When which blob is deleted."""

    after: dict[str, timedelta] = field(default_factory=dict)

    async def expire(self, key: str, after: timedelta) -> None:
        self.after[key] = after
