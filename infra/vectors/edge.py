"""The vector index in this process: Qdrant Edge, one shard per index; the embedded default, for one worker process."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar
from weakref import WeakValueDictionary

import qdrant_edge as qe

from infra.vectors import points as p
from infra.vectors.conditions import of_tenant, outdated
from infra.vectors.fusion import DENSE, LEARNED, SPARSE
from infra.vectors.metadata import filterable
from infra.vectors.optimiser import Optimiser
from infra.vectors.pacing import Pacing
from infra.vectors.shard import Shard, order
from infra.vectors.shards import Shards
from schemas.collections import FusionSettings
from schemas.errors import DependencyUnavailable, InvalidInput
from schemas.filters import Condition
from schemas.retrieval import DocumentVersion, IndexName, Passage, Point, Query, SparseVector
from schemas.watermarks import Change, Watermark

T = TypeVar("T")
READERS: Final = 2
"""More would only take the global lock from each other."""
NUMBERS_AT_ONCE: Final = 2_000
"""Numbers of the vectors in one call of the engine, but for those of its last point: some 1 ms. Calls of 500 take a
quarter more of the processor, calls of 10,000 hardly less.
"""


class EdgeIndex:
    """Implements `VectorIndex` under the folder `root`, which one process may use at a time (`Conflict` otherwise).

    Searches run in the event loop; those that have to wait for their shard, in a few threads. All writes take turns in
    one thread. The engine holds Python's global lock while it works, so calls should be short; `Optimiser` does what
    takes long.
    """

    def __init__(self, root: Path, *, open_at_most: int = 32) -> None:
        self._shards = Shards(root.resolve(), open_at_most=open_at_most)
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="welip-index-read")
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="welip-index-write")
        self._pacing = Pacing()
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        """One lock per index, held by writers: while an index is being optimised only its own writes wait."""
        self._optimiser = Optimiser(self._shards, lambda work: self._run(self._writer, work), self._turn)

    async def ensure(self, index: IndexName, *, dimension: int | None, learned: bool = False) -> None:
        """Create the index unless it exists. Raises `Conflict` when it exists with other arms."""
        name = p.index_name(index)

        def work() -> None:
            self._shards.create(name, index, dimension=dimension, learned=learned)
            with self._shard(index) as shard:
                has = (shard.description.dimension, shard.description.learned)
                if has != (dimension, learned):
                    raise p.other_arms(index, has, (dimension, learned))

        async with self._turn(name):
            await self._pacing.run(index.tenant, partial(self._run, self._writer), work)

    async def upsert(self, index: IndexName, points: Sequence[Point]) -> None:
        """Write points, which are on disk on return. Raises `NotFound` for an unknown index."""
        name = p.index_name(index)

        def new_fields() -> list[str]:
            p.check_points(points)
            with self._shard(index) as shard:
                for point in points:
                    _check_arms(shard, point.dense, point.learned)
                unknown = p.ordered_fields([filterable(point.metadata) for point in points]) - shard.ordered
                return sorted(unknown)[: p.MOST_ORDERED_FIELDS - len(shard.ordered)]

        def add(field: str) -> None:
            with self._shard(index) as shard:
                order(shard, field)

        def work() -> bool:
            with self._shard(index) as shard:
                for batch in _batches(points):
                    _upsert(shard, index.tenant, batch)
                shard.persist(len(points))
                mark = shard.description.mark
                shard.raise_mark(replace(mark, version=max([mark.version, *(point.version for point in points)])))
                return shard.due

        await self._opened(index)
        async with self._turn(name):
            # Before the points are written: indexing a field that few points have takes no time.
            for field in await self._run(self._writer, new_fields):
                await self._pacing.run(index.tenant, partial(self._run, self._writer), partial(add, field))
            due = await self._run(self._writer, work)
        if due:
            self._optimiser.start(name)

    async def prune(self, index: IndexName, documents: Sequence[DocumentVersion], change: Change) -> Watermark | None:
        """Remove each document's points that have different content and a lower version.

        Returns the watermark from before the call. Without an index it returns None and does nothing. Points that come
        back after a machine crash are hidden from searches, and the document's next prune removes them.
        """
        name = p.index_name(index)

        def work() -> Watermark | None:
            with self._shards.use(name) as shard:
                if shard is None:
                    return None
                mark = shard.description.mark
                shard.raise_mark(mark.raised(change))
                for first in range(0, len(documents), p.PRUNE_BATCH):
                    doomed = outdated(index.tenant, documents[first : first + p.PRUNE_BATCH], _DIALECT)
                    shard.engine.update(qe.UpdateOperation.delete_points_by_filter(qe.Filter(must=[doomed])))
                return mark

        await self._opened(index)
        return await self._write(name, work)

    async def search(
        self,
        index: IndexName,
        query: Query,
        *,
        top_k: int,
        fusion: FusionSettings,
        filter: Condition | None = None,
    ) -> list[Passage]:
        """The best chunks. Raises `NotFound` for an unknown index, `InvalidInput` for an unanswerable query."""
        p.check_query(query, top_k)
        vectors = p.arms_of(query, fusion)
        terms = p.terms_of(vectors, query, fusion)

        depths = p.depths(vectors, fusion, top_k)

        def found(shard: Shard, depth: int) -> tuple[list[Passage], bool]:
            _check_arms(shard, query.dense, query.learned)
            among = qe.Filter(must=[of_tenant(index.tenant, filter, _DIALECT)])
            arms, best_terms = _best(shard, vectors, terms, among, depth)
            passages = p.passages(arms, best_terms, query, fusion, top_k)
            return passages, p.is_whole(arms, passages, depth, top_k)

        def deeper(passages: list[Passage]) -> list[Passage]:
            with self._shard(index) as shard:
                for depth in depths:
                    passages, whole = found(shard, depth)
                    if whole:
                        break
            return passages

        passages: list[Passage] = []
        await self._opened(index)
        await asyncio.sleep(0)  # whoever searches again and again lets others have their turn in between
        # Right here if the shard is open: while the engine searches it keeps every other thread of Python waiting, so
        # a thread for it would gain nothing and cost two handovers.
        with self._shards.use_open(p.index_name(index)) as shard, _told():
            if shard is not None:
                passages, whole = found(shard, next(depths))
                if whole:
                    return passages
        return await self._run(self._readers, lambda: deeper(passages))

    async def count(self, index: IndexName) -> int:
        """How many chunks the index holds; 0 when it does not exist."""

        def work() -> int:
            with self._shards.use(p.index_name(index)) as shard:
                return shard.engine.count(qe.CountRequest(exact=True)) if shard else 0

        return await self._run(self._readers, work)

    async def mark(self, index: IndexName) -> Watermark | None:
        """How far the index has been written; None when it does not exist."""
        described = await self._run(self._readers, lambda: self._shards.description(p.index_name(index)))
        return described.mark if described else None

    async def highest_generation(self) -> int:
        """The highest generation among all indexes, including abandoned ones; 0 when there are none."""
        names = await self._run(self._readers, self._shards.names)
        return max((p.generation_of(name) or 0 for name in names), default=0)

    async def drop(self, index: IndexName) -> None:
        """Remove the index. A missing index is not an error."""
        name = p.index_name(index)
        await self._optimiser.stop(name)
        await self._write(name, lambda: self._shards.remove(name))

    async def check(self) -> None:
        """Raise `DependencyUnavailable` when closed, or when the folder is gone."""
        await self._run(self._readers, self._shards.check)

    async def close(self) -> None:
        """Wait for running calls, flush everything and release the folder to other processes."""
        await self._optimiser.stop()
        await asyncio.to_thread(self._shards.close)
        for threads in (self._readers, self._writer):
            await asyncio.to_thread(threads.shutdown)

    async def _opened(self, index: IndexName) -> None:
        """Open the shard, if there is one. It may be closed again before it is used, and is then opened once more."""
        name = p.index_name(index)

        def work() -> None:
            with self._shards.use(name):
                pass

        if not self._shards.is_open(name):
            await self._pacing.run(index.tenant, partial(self._run, self._readers), work)

    @contextmanager
    def _shard(self, index: IndexName) -> Iterator[Shard]:
        with self._shards.use(p.index_name(index)) as shard:
            if shard is None:
                raise p.absent(index)
            yield shard

    def _turn(self, name: str) -> asyncio.Lock:
        return self._turns.setdefault(name, asyncio.Lock())

    async def _write(self, name: str, work: Callable[[], T]) -> T:
        async with self._turn(name):
            return await self._run(self._writer, work)

    async def _run(self, threads: ThreadPoolExecutor, work: Callable[[], T]) -> T:
        self._shards.check()
        with _told():
            return await asyncio.get_running_loop().run_in_executor(threads, work)


@contextmanager
def _told() -> Iterator[None]:
    """Raise what goes wrong in the engine as `DependencyUnavailable`."""
    try:
        yield
    except OSError as error:
        raise DependencyUnavailable(f"the embedded vector index cannot use its folder: {error}") from error
    except Exception as error:
        if type(error) is Exception:  # the engine raises a plain Exception for its internal errors
            raise DependencyUnavailable(f"the embedded vector index failed: {error}") from error
        raise


class _Dialect:
    def one_of(self, key: str, values: Sequence[str]) -> "qe.ConditionType":
        return qe.FieldCondition(key=key, match=qe.MatchAny(list(values)))

    def between(self, key: str, **bounds: float) -> "qe.ConditionType":
        return qe.FieldCondition(key=key, range=qe.RangeFloat(**bounds))

    def both(
        self, must: Sequence["qe.ConditionType"], must_not: Sequence["qe.ConditionType"] = ()
    ) -> "qe.ConditionType":
        return qe.Filter(must=list(must), must_not=list(must_not))

    def either(self, should: Sequence["qe.ConditionType"]) -> "qe.ConditionType":
        return qe.Filter(should=list(should))


_DIALECT: Final = _Dialect()


def _batches(points: Sequence[Point]) -> Iterator[list[Point]]:
    """The points of each call of the engine, which holds Python's global lock while it takes them in."""
    batch: list[Point] = []
    numbers = 0
    for point in points:
        batch.append(point)
        numbers += len(point.sparse.indices) + len(point.dense or ())
        if numbers >= NUMBERS_AT_ONCE:
            yield batch
            batch, numbers = [], 0
    if batch:
        yield batch


def _upsert(shard: Shard, tenant: str, points: Sequence[Point]) -> None:
    payloads = [p.payload_of(tenant, point) for point in points]
    written = [qe.Point(point.id, _vectors(point), payload) for point, payload in zip(points, payloads, strict=True)]
    shard.engine.update(qe.UpdateOperation.upsert_points(written))


def _best(
    shard: Shard,
    vectors: dict[str, SparseVector | Sequence[float]],
    terms: Sequence[SparseVector],
    among: qe.Filter,
    depth: int,
) -> tuple[dict[str, list[p.Hit]], list[float]]:
    requests = [
        qe.QueryRequest(
            limit=depth, query=qe.Query.Nearest(_engine_vector(vector), arm), filter=among, with_payload=True
        )
        for arm, vector in vectors.items()
    ]
    # Unfiltered: chunks that a filter excludes also show how rare a term is.
    requests += [qe.QueryRequest(limit=1, query=qe.Query.Nearest(_engine_vector(term), SPARSE)) for term in terms]
    answers = shard.engine.query_batch(qe.QueryBatchRequest(requests)) if requests else []
    arms = {
        arm: [p.Hit(str(point.id), point.score, point.payload or {}) for point in answer]
        for arm, answer in zip(vectors, answers, strict=False)
    }
    return arms, [answer[0].score if answer else 0.0 for answer in answers[len(vectors) :]]


def _vectors(point: Point) -> dict[str, Any]:
    given = {SPARSE: point.sparse, DENSE: point.dense, LEARNED: point.learned}
    return {arm: _engine_vector(vector) for arm, vector in given.items() if vector is not None}


def _engine_vector(vector: SparseVector | Sequence[float]) -> Any:
    if isinstance(vector, SparseVector):
        return qe.SparseVector(list(vector.indices), list(vector.values))
    return list(vector)


def _check_arms(shard: Shard, dense: Sequence[float] | None, learned: SparseVector | None) -> None:
    dimension = shard.description.dimension
    if dense is not None and len(dense) != dimension:
        has = f"dense vectors of length {dimension}" if dimension else "no dense vectors"
        raise InvalidInput(f"a dense vector of length {len(dense)} does not fit: the index has {has}", field="dense")
    if learned is not None and not shard.description.learned:
        raise InvalidInput("the index has no learned sparse vectors", field="learned")
