"""The ports of stages, in memory: each does what its protocol says and no more."""

import math
import re
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4
from zlib import crc32

from consumers.stages.context import StageJob
from consumers.stages.ports import ChildSummary, GenerationOptions, Ports, StoredDocument
from schemas.errors import Conflict, DocumentRefused, NotFound
from schemas.retrieval import GeneratedAnswer, ParsedDocument, Passage, Point, SparseVector
from schemas.topics import Lane


@dataclass
class MemoryBlobs:
    data: dict[str, bytes] = field(default_factory=dict)
    piece: int = 7  # small, so that lines lie across pieces

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
class MemoryIndex:
    points: dict[tuple[str, str], dict[str, Point]] = field(default_factory=dict)
    searches: list[dict[str, Any]] = field(default_factory=list)

    async def ensure(self, tenant: str, collection: str, *, dimension: int | None) -> None:
        self.points.setdefault((tenant, collection), {})

    async def upsert(self, tenant: str, collection: str, points: Sequence[Point]) -> None:
        self.points[tenant, collection].update({point.id: point for point in points})

    async def delete_document(self, tenant: str, collection: str, document_id: str, *, keep: str | None = None) -> None:
        held = self.points.get((tenant, collection), {})
        for point in list(held.values()):
            if point.document_id == document_id and point.content_hash != keep:
                del held[point.id]

    async def search(
        self,
        tenant: str,
        collection: str,
        *,
        sparse: SparseVector,
        dense: Sequence[float] | None,
        top_k: int,
        filter: Mapping[str, Any] | None = None,
    ) -> list[Passage]:
        self.searches.append({"dense": dense, "top_k": top_k, "filter": filter})
        if (tenant, collection) not in self.points:
            raise NotFound(collection)
        found = []
        for p in self.points[tenant, collection].values():
            score = float(len(set(p.sparse.indices) & set(sparse.indices)))
            if score:
                found.append(Passage(p.document_id, p.id, p.title, p.text, p.start, p.end, score, {}, p.metadata))
        return sorted(found, key=lambda passage: -passage.score)[:top_k]

    async def count(self, tenant: str, collection: str) -> int:
        return len(self.points.get((tenant, collection), {}))

    async def drop(self, tenant: str, collection: str) -> None:
        self.points.pop((tenant, collection), None)

    async def check(self) -> None:
        return None

    async def close(self) -> None:
        return None


@dataclass
class WordEncoder:
    name: str = "words"
    encoded: list[str] = field(default_factory=list)

    def encode_documents(self, texts: Sequence[str]) -> list[SparseVector]:
        self.encoded.extend(texts)
        return [self.encode_query(text) for text in texts]

    def encode_query(self, text: str) -> SparseVector:
        ids = sorted({crc32(word.encode()) for word in re.findall(r"\w+", text)})
        return SparseVector(ids, [1.0] * len(ids))


@dataclass
class LengthEmbedder:
    name: str = "lengths"
    dimension: int = 2

    def embed_documents(self, texts: Sequence[str]) -> list[list[float]]:
        return [self.embed_query(text) for text in texts]

    def embed_query(self, text: str) -> list[float]:
        angle = float(len(text) % 7)
        return [math.cos(angle), math.sin(angle)]


class PlainParser:
    def parse(self, data: bytes | str, *, format: str | None, filename: str | None) -> ParsedDocument:
        text = data.decode() if isinstance(data, bytes) else data
        if not text.strip():
            raise DocumentRefused("no text", code="document_empty")
        return ParsedDocument(text, None)


class StopSplitter:
    def split(self, text: str) -> list[tuple[int, int]]:
        return [match.span() for match in re.finditer(r"[^.\s][^.]*\.?", text)]


class FirstPassage:
    name = "first"

    async def generate(self, question: str, passages: Sequence[Passage], options: GenerationOptions) -> GeneratedAnswer:
        if not passages:
            return GeneratedAnswer("없음", [], self.name, found=False)
        return GeneratedAnswer(f"{passages[0].text} [1]", passages[:1], self.name)

    async def close(self) -> None:
        return None


@dataclass
class MemoryCatalogue:
    collections: dict[tuple[str, str], tuple[str, str | None]] = field(default_factory=dict)
    known: dict[tuple[str, str], dict[str, StoredDocument]] = field(default_factory=dict)
    files: dict[tuple[str, str], tuple[str, str]] = field(default_factory=dict)

    async def ensure_collection(self, tenant: str, name: str, *, encoder: str, embedder: str | None) -> None:
        if self.collections.setdefault((tenant, name), (encoder, embedder)) != (encoder, embedder):
            raise Conflict(name)
        self.known.setdefault((tenant, name), {})

    async def documents(self, tenant: str, name: str, ids: Iterable[str]) -> dict[str, StoredDocument]:
        held = self.known.get((tenant, name), {})
        return {known: held[known] for known in ids if known in held}

    async def record_documents(self, tenant: str, name: str, documents: Sequence[StoredDocument]) -> None:
        self.known[tenant, name].update({document.id: document for document in documents})

    async def forget_documents(self, tenant: str, name: str, ids: Sequence[str]) -> list[str]:
        held = self.known.get((tenant, name), {})
        return [known for known in ids if held.pop(known, None)]

    async def is_empty(self, tenant: str, name: str) -> bool:
        if (tenant, name) not in self.collections:
            raise NotFound(name)
        return not self.known[tenant, name]

    async def drop_collection(self, tenant: str, name: str) -> bool:
        self.known.pop((tenant, name), None)
        return self.collections.pop((tenant, name), None) is not None

    async def file_key(self, tenant: str, file_id: str) -> tuple[str, str]:
        if (tenant, file_id) not in self.files:
            raise NotFound(file_id)
        return self.files[tenant, file_id]


@dataclass
class MemoryChildren:
    summaries: list[ChildSummary] = field(default_factory=list)

    async def results(self, job_id: UUID) -> AsyncIterator[ChildSummary]:
        for summary in self.summaries:
            yield summary


@dataclass
class World:
    """All ports of one deployment, and jobs to run in it."""

    blobs: MemoryBlobs = field(default_factory=MemoryBlobs)
    index: MemoryIndex = field(default_factory=MemoryIndex)
    sparse: WordEncoder = field(default_factory=WordEncoder)
    embedder: LengthEmbedder | None = None
    catalogue: MemoryCatalogue = field(default_factory=MemoryCatalogue)
    children: MemoryChildren = field(default_factory=MemoryChildren)
    reports: list[tuple[int, int, str | None]] = field(default_factory=list)

    @property
    def ports(self) -> Ports:
        return Ports(
            blobs=self.blobs,
            index=self.index,
            sparse=self.sparse,
            embedder=self.embedder,
            parser=PlainParser(),
            splitter=StopSplitter(),
            generator=FirstPassage(),
            catalogue=self.catalogue,
            children=self.children,
        )

    def upload(self, data: bytes, name: str = "a.txt") -> str:
        file_id = f"file_{uuid4().hex}"
        self.blobs.data[f"t/files/{file_id}"] = data
        self.catalogue.files["t", file_id] = (f"t/files/{file_id}", name)
        return file_id

    def job(self, kind: str, stage: str, input: dict[str, Any], carry: dict[str, Any] | None = None) -> StageJob:
        async def report(done: int, total: int, message: str | None) -> None:
            self.reports.append((done, total, message))

        now = datetime.now(UTC)
        return StageJob(
            id=uuid4(),
            tenant="t",
            kind=kind,
            stage=stage,
            lane=Lane.INTERACTIVE,
            attempt=1,
            epoch=1,
            input=input,
            carry=carry or {},
            created_at=now - timedelta(seconds=2),
            started_at=now - timedelta(seconds=1),
            report=report,
        )

    @staticmethod
    def again(job: StageJob, **changes: Any) -> StageJob:
        return replace(job, attempt=job.attempt + 1, epoch=job.epoch + 1, **changes)
