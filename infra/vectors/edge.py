"""The vector index in this process: Qdrant Edge, a shard a collection; the embedded default, for one worker process."""

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, TypeVar

import qdrant_edge as qe

from infra.vectors import points as p
from infra.vectors.fusion import ARM_DEPTH
from infra.vectors.shards import Shard, Shards
from schemas.errors import Conflict, DependencyUnavailable, InvalidInput
from schemas.retrieval import Passage, Point, SparseVector

T = TypeVar("T")
READERS: Final = 4


class EdgeIndex:
    """Implements `VectorIndex` under the folder `root`, which one process may use at a time (`Conflict` otherwise).

    Searches run in a few threads beside one another and beside the writer; all writes take turns in one thread.
    """

    def __init__(self, root: Path, *, open_at_most: int = 32) -> None:
        self._shards = Shards(root.resolve(), open_at_most=open_at_most)
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="welip-index-read")
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="welip-index-write")

    async def ensure(self, tenant: str, collection: str, *, dimension: int | None) -> None:
        """Create the collection unless it exists. Raises `Conflict` when it exists with another dimension."""
        name = p.index_name(tenant, collection)

        def work() -> None:
            self._shards.create(name, dimension=dimension, tenant=tenant, collection=collection)
            with self._shard(name, collection) as shard:
                if shard.dimension != dimension:
                    raise Conflict(
                        f"collection {collection!r} has dense vectors of length {shard.dimension}, not {dimension}"
                    )

        await self._run(self._writer, work)

    async def upsert(self, tenant: str, collection: str, points: Sequence[Point]) -> None:
        """Write points; on disk on return. Raises `NotFound` for an unknown collection."""

        def work() -> None:
            p.check_points(points)
            with self._shard(p.index_name(tenant, collection), collection) as shard:
                for point in points:
                    _check_dimension(shard, point.dense)
                for first in range(0, len(points), p.UPSERT_BATCH):
                    batch = [_engine_point(point) for point in points[first : first + p.UPSERT_BATCH]]
                    shard.engine.update(qe.UpdateOperation.upsert_points(batch))
                # The write-ahead log is in the page cache until a flush: it survives a crash of the process, not of
                # the machine.
                shard.engine.flush()
                # Returns at once unless a segment has outgrown its threshold; searches go on meanwhile.
                shard.engine.optimize()

        await self._run(self._writer, work)

    async def delete_document(self, tenant: str, collection: str, document_id: str, *, keep: str | None = None) -> None:
        """Remove a document's points, except those of content `keep`. Absent is no error."""
        stale: list[qe.ConditionType] = [_holds("content_hash", [keep])] if keep is not None else []
        doomed = qe.Filter(must=[_holds("document_id", [document_id])], must_not=stale)

        def work() -> None:
            with self._shards.use(p.index_name(tenant, collection)) as shard:
                if shard:
                    shard.engine.update(qe.UpdateOperation.delete_points_by_filter(doomed))
                    shard.engine.flush()

        await self._run(self._writer, work)

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
        """The best chunks. Raises `NotFound` for an unknown collection, `InvalidInput` for a query that cannot be."""
        p.check_query(sparse, dense, top_k)
        wanted = p.wanted_facets(filter)

        def work() -> list[Passage]:
            with self._shard(p.index_name(tenant, collection), collection) as shard:
                _check_dimension(shard, dense)
                among = qe.Filter(must=[_holds("facets", group) for group in wanted]) if wanted else None

                def arm(name: str, vector: Any, limit: int) -> list[p.Hit]:
                    nearest = qe.Query.Nearest(vector, name)
                    request = qe.QueryRequest(limit=limit, query=nearest, filter=among, with_payload=True)
                    found = shard.engine.query(request)
                    return [p.Hit(str(point.id), point.score, point.payload or {}) for point in found]

                depth = top_k if dense is None else max(top_k, ARM_DEPTH)
                arms: dict[str, list[p.Hit]] = {}
                if sparse.indices:
                    arms[p.SPARSE] = arm(p.SPARSE, qe.SparseVector(list(sparse.indices), list(sparse.values)), depth)
                if dense is not None:
                    arms[p.DENSE] = arm(p.DENSE, list(dense), depth)
                return p.ranked(arms, top_k)

        return await self._run(self._readers, work)

    async def count(self, tenant: str, collection: str) -> int:
        """How many chunks the collection holds; 0 when it does not exist."""

        def work() -> int:
            with self._shards.use(p.index_name(tenant, collection)) as shard:
                return shard.engine.count(qe.CountRequest(exact=True)) if shard else 0

        return await self._run(self._readers, work)

    async def drop(self, tenant: str, collection: str) -> None:
        """Remove the collection. Absent is no error."""
        await self._run(self._writer, lambda: self._shards.remove(p.index_name(tenant, collection)))

    async def check(self) -> None:
        """Raise `DependencyUnavailable` when closed, or when the folder is gone."""
        await self._run(self._readers, self._shards.check)

    async def close(self) -> None:
        """Wait for what runs, flush everything, and let another process have the folder."""
        await asyncio.to_thread(self._shards.close)
        for threads in (self._readers, self._writer):
            await asyncio.to_thread(threads.shutdown)

    @contextmanager
    def _shard(self, name: str, collection: str) -> Iterator[Shard]:
        with self._shards.use(name) as shard:
            if shard is None:
                raise p.absent(collection)
            yield shard

    async def _run(self, threads: ThreadPoolExecutor, work: Callable[[], T]) -> T:
        self._shards.check()
        try:
            return await asyncio.get_running_loop().run_in_executor(threads, work)
        except OSError as error:
            raise DependencyUnavailable(f"the embedded vector index cannot use its folder: {error}") from error
        except Exception as error:
            if type(error) is Exception:  # how the engine reports what goes wrong inside it
                raise DependencyUnavailable(f"the embedded vector index failed: {error}") from error
            raise


def _engine_point(point: Point) -> qe.Point:
    vectors: dict[str, Any] = {p.SPARSE: qe.SparseVector(list(point.sparse.indices), list(point.sparse.values))}
    if point.dense is not None:
        vectors[p.DENSE] = list(point.dense)
    return qe.Point(point.id, vectors, p.payload_of(point))


def _holds(field: str, values: list[str]) -> qe.FieldCondition:
    return qe.FieldCondition(key=field, match=qe.MatchAny(values))


def _check_dimension(shard: Shard, dense: Sequence[float] | None) -> None:
    if dense is not None and len(dense) != shard.dimension:
        has = f"dense vectors of length {shard.dimension}" if shard.dimension else "no dense vectors"
        raise InvalidInput(f"a dense vector of length {len(dense)} does not fit: the collection has {has}")
