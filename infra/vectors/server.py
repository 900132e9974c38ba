"""The vector index on a Qdrant server: for more than one worker process; a Qdrant collection a collection."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

from qdrant_client import AsyncQdrantClient, models
from qdrant_client.common.client_exceptions import ResourceExhaustedResponse
from qdrant_client.http.exceptions import ResponseHandlingException, UnexpectedResponse

from infra.vectors import points as p
from infra.vectors.fusion import ARM_DEPTH
from schemas.errors import Conflict, DependencyUnavailable, InvalidInput, NotFound
from schemas.retrieval import Passage, Point, SparseVector

_REQUEST_AT_FAULT: Final = frozenset({400, 413, 422})


class QdrantIndex:
    """Implements `VectorIndex`. `timeout_s`: how long each request may take, whole seconds.

    `client` takes the place of one made from `url` and `api_key`; it is closed with this index all the same.
    """

    def __init__(
        self,
        url: str | None = None,
        api_key: str | None = None,
        *,
        timeout_s: int = 10,
        client: AsyncQdrantClient | None = None,
    ) -> None:
        # The compatibility check would connect, and warn, while the process is still starting.
        self._client = client or AsyncQdrantClient(
            url=url, api_key=api_key, timeout=timeout_s, check_compatibility=False
        )

    async def ensure(self, tenant: str, collection: str, *, dimension: int | None) -> None:
        """Create the collection unless it exists. Raises `Conflict` when it exists with another dimension."""
        name = p.index_name(tenant, collection)
        with _translated(collection):
            try:
                info = await self._client.get_collection(name)
            except (UnexpectedResponse, ValueError) as error:
                if not _means_absent(error):
                    raise
                await self._create(name, dimension)
                info = await self._client.get_collection(name)
            vectors = info.config.params.vectors
            dense = vectors.get(p.DENSE) if isinstance(vectors, dict) else None
            has = dense.size if dense else None
            if has != dimension:
                raise Conflict(f"collection {collection!r} has dense vectors of length {has}, not {dimension}")
            for field in p.INDEXED:
                if field not in info.payload_schema:
                    await self._client.create_payload_index(name, field, models.PayloadSchemaType.KEYWORD)

    async def upsert(self, tenant: str, collection: str, points: Sequence[Point]) -> None:
        """Write points; each request returns when they are applied. Raises `NotFound` for an unknown collection."""
        p.check_points(points)
        with _translated(collection):
            for first in range(0, len(points), p.UPSERT_BATCH):
                batch = [_server_point(point) for point in points[first : first + p.UPSERT_BATCH]]
                await self._client.upsert(p.index_name(tenant, collection), batch, wait=True)

    async def delete_document(self, tenant: str, collection: str, document_id: str, *, keep: str | None = None) -> None:
        """Remove a document's points, except those of content `keep`. Absent is no error."""
        stale = [_holds("content_hash", [keep])] if keep is not None else None
        doomed = models.Filter(must=[_holds("document_id", [document_id])], must_not=stale)
        try:
            with _translated(collection):
                await self._client.delete(p.index_name(tenant, collection), models.FilterSelector(filter=doomed))
        except NotFound:
            return

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
        groups = p.wanted_facets(filter)
        among = models.Filter(must=[_holds("facets", group) for group in groups]) if groups else None
        depth = top_k if dense is None else max(top_k, ARM_DEPTH)
        vectors: dict[str, Any] = {}
        if sparse.indices:
            vectors[p.SPARSE] = models.SparseVector(indices=list(sparse.indices), values=list(sparse.values))
        if dense is not None:
            vectors[p.DENSE] = list(dense)
        name = p.index_name(tenant, collection)
        with _translated(collection):
            if not vectors:
                await self._client.get_collection(name)  # an unknown collection is an error all the same
                return []
            requests = [
                models.QueryRequest(query=vector, using=arm, filter=among, limit=depth, with_payload=True)
                for arm, vector in vectors.items()
            ]
            answers = await self._client.query_batch_points(name, requests)
        arms = {
            arm: [p.Hit(str(point.id), point.score, point.payload or {}) for point in answer.points]
            for arm, answer in zip(vectors, answers, strict=True)
        }
        return p.ranked(arms, top_k)

    async def count(self, tenant: str, collection: str) -> int:
        """How many chunks the collection holds; 0 when it does not exist."""
        try:
            with _translated(collection):
                return (await self._client.count(p.index_name(tenant, collection), exact=True)).count
        except NotFound:
            return 0

    async def drop(self, tenant: str, collection: str) -> None:
        """Remove the collection. Absent is no error."""
        try:
            with _translated(collection):
                await self._client.delete_collection(p.index_name(tenant, collection))
        except NotFound:
            return

    async def check(self) -> None:
        """Raise `DependencyUnavailable` unless the server answers and takes the key."""
        with _translated("any"):
            await self._client.get_collections()

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()

    async def _create(self, name: str, dimension: int | None) -> None:
        try:
            await self._client.create_collection(
                name,
                vectors_config={p.DENSE: models.VectorParams(size=dimension, distance=models.Distance.COSINE)}
                if dimension
                else {},
                sparse_vectors_config={p.SPARSE: models.SparseVectorParams(modifier=models.Modifier.IDF)},
            )
        except (UnexpectedResponse, ValueError) as error:
            if not await self._client.collection_exists(name):  # else another process was first
                raise error


def _server_point(point: Point) -> models.PointStruct:
    vectors: dict[str, Any] = {
        p.SPARSE: models.SparseVector(indices=list(point.sparse.indices), values=list(point.sparse.values))
    }
    if point.dense is not None:
        vectors[p.DENSE] = list(point.dense)
    return models.PointStruct(id=point.id, vector=vectors, payload=p.payload_of(point))


def _holds(field: str, values: list[str]) -> models.FieldCondition:
    return models.FieldCondition(key=field, match=models.MatchAny(any=values))


def _means_absent(error: Exception) -> bool:
    if isinstance(error, UnexpectedResponse):
        return error.status_code == 404
    # The client's local mode has no status codes.
    return isinstance(error, ValueError) and str(error).startswith("Collection ") and str(error).endswith(" not found")


@contextmanager
def _translated(collection: str) -> Iterator[None]:
    try:
        yield
    except (UnexpectedResponse, ValueError) as error:
        if _means_absent(error):
            raise p.absent(collection) from error
        if isinstance(error, UnexpectedResponse) and error.status_code not in _REQUEST_AT_FAULT:
            raise DependencyUnavailable(f"the Qdrant server answers {error.status_code}: {error}") from error
        raise InvalidInput(f"the vector index refused the request: {error}") from error
    except (ResponseHandlingException, ResourceExhaustedResponse) as error:
        raise DependencyUnavailable(f"the Qdrant server does not answer: {error}") from error
