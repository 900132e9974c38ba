"""The vector index, in memory."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from schemas.collections import FusionSettings
from schemas.errors import Conflict, NotFound
from schemas.filters import Condition
from schemas.retrieval import (
    DocumentVersion,
    IndexName,
    Passage,
    Point,
    Query,
)
from schemas.watermarks import Change, Watermark


@dataclass
class MemoryIndex:
    points: dict[IndexName, dict[str, Point]] = field(default_factory=dict)
    arms: dict[IndexName, tuple[int | None, bool]] = field(default_factory=dict)
    marks: dict[IndexName, Watermark] = field(default_factory=dict)

    async def ensure(self, index: IndexName, *, dimension: int | None, learned: bool = False) -> None:
        if self.arms.setdefault(index, (dimension, learned)) != (dimension, learned):
            raise Conflict(f"{index} has other arms")
        self.points.setdefault(index, {})

    async def upsert(self, index: IndexName, points: Sequence[Point]) -> None:
        self._points(index).update({point.id: point for point in points})
        mark = self.marks.get(index, Watermark())
        self.marks[index] = replace(mark, version=max([mark.version, *(point.version for point in points)]))

    async def prune(self, index: IndexName, documents: Sequence[DocumentVersion], change: Change) -> Watermark | None:
        if index not in self.points:
            return None
        mark = self.marks.get(index, Watermark())
        self.marks[index] = mark.raised(change)
        now = {document.id: document for document in documents}
        held = self.points.get(index, {})
        for point in list(held.values()):
            newest = now.get(point.document_id)
            if newest and point.version < newest.version and point.content_hash != newest.content_hash:
                del held[point.id]
        return mark

    async def mark(self, index: IndexName) -> Watermark | None:
        return self.marks.get(index, Watermark()) if index in self.points else None

    async def highest_generation(self) -> int:
        return max((index.generation for index in self.points), default=0)

    async def search(
        self,
        index: IndexName,
        query: Query,
        *,
        top_k: int,
        fusion: FusionSettings,
        filter: Condition | None = None,
    ) -> list[Passage]:
        found = []
        for p in self._points(index).values():
            score = float(len(set(p.sparse.indices) & set(query.sparse.indices)))
            if score:
                place = (p.document_id, p.id, p.title, p.text, p.start, p.end, score)
                found.append(Passage(*place, metadata=p.metadata, content_hash=p.content_hash))
        return sorted(found, key=lambda passage: -passage.score)[:top_k]

    async def count(self, index: IndexName) -> int:
        return len(self.points.get(index, {}))

    async def drop(self, index: IndexName) -> None:
        self.points.pop(index, None)
        self.arms.pop(index, None)
        self.marks.pop(index, None)

    async def check(self) -> None:
        return None

    async def close(self) -> None:
        return None

    def _points(self, index: IndexName) -> dict[str, Point]:
        if index not in self.points:
            raise NotFound(f"no index {index}")
        return self.points[index]
