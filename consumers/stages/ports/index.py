"""Where chunks are found."""

from collections.abc import Sequence
from typing import Protocol

from schemas.collections import FusionSettings
from schemas.filters import Condition
from schemas.retrieval import DocumentVersion, IndexName, Passage, Point, Query
from schemas.watermarks import Change, Watermark


class VectorIndex(Protocol):
    """Chunks by physical index. An index belongs to one tenant and is invisible to others."""

    async def ensure(self, index: IndexName, *, dimension: int | None, learned: bool = False) -> None:
        """Create the index unless it exists. `dimension` is that of its dense vectors, None for sparse only.

        Raises `Conflict` when it exists with other arms.
        """

    async def upsert(self, index: IndexName, points: Sequence[Point]) -> None:
        """Write points; one with a known id replaces it. Durable on return. Raises `NotFound`.

        Raises the `version` of the index's watermark to theirs.
        """

    async def prune(self, index: IndexName, documents: Sequence[DocumentVersion], change: Change) -> Watermark | None:
        """Remove each document's points of other content and a lower version.

        Raises the watermark to `change`. Returns the watermark of before; None without an index, which is not an error.
        """

    async def mark(self, index: IndexName) -> Watermark | None:
        """How far the index was written; None when it does not exist."""

    async def highest_generation(self) -> int:
        """Of all indexes that there are, also of those that no collection names; 0 where there is none."""

    async def search(
        self,
        index: IndexName,
        query: Query,
        *,
        top_k: int,
        fusion: FusionSettings,
        filter: Condition | None = None,
    ) -> list[Passage]:
        """The `top_k` best chunks, best first. An index that does not exist raises `NotFound`."""

    async def count(self, index: IndexName) -> int:
        """How many chunks the index holds; 0 when it does not exist."""

    async def drop(self, index: IndexName) -> None:
        """Remove the index. Absent is no error."""
