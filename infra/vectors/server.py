"""The vector index on a Qdrant server, for more than one worker process; one Qdrant collection per index."""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final
from urllib.parse import urlsplit
from uuid import NAMESPACE_URL, UUID, uuid5

import structlog
from qdrant_client import AsyncQdrantClient, models
from qdrant_client.common.client_exceptions import ResourceExhaustedResponse
from qdrant_client.http.exceptions import ResponseHandlingException, UnexpectedResponse

from infra.loopback import is_loopback
from infra.vectors import points as p
from infra.vectors.conditions import of_tenant, outdated
from infra.vectors.fusion import DENSE, LEARNED, SPARSE
from schemas.collections import FusionSettings
from schemas.errors import DependencyUnavailable, InvalidInput, NotFound
from schemas.filters import Condition
from schemas.retrieval import DocumentVersion, IndexName, Passage, Point, Query, SparseVector
from schemas.watermarks import Change, Watermark

log = structlog.get_logger(__name__)

_REQUEST_AT_FAULT: Final = frozenset({400, 413, 422})

INDEXED: Final[Mapping[str, models.PayloadSchemaType | models.KeywordIndexParams]] = {
    **dict.fromkeys(p.KEYWORDS, models.PayloadSchemaType.KEYWORD),
    "tenant": models.KeywordIndexParams(type=models.KeywordIndexType.KEYWORD, is_tenant=True),
    # Only `prune` asks for it, and of few points, but a server in strict mode refuses to filter by unindexed fields.
    "content_hash": models.PayloadSchemaType.KEYWORD,
    "version": models.PayloadSchemaType.INTEGER,
}

VERSION_MARK: Final = str(uuid5(NAMESPACE_URL, "welip:version-mark"))
CHANGE_MARK: Final = str(uuid5(NAMESPACE_URL, "welip:change-mark"))
"""Two points in every index hold its watermark, both as their `version`; the second one's `content_hash` holds the
incarnation. They have no vectors and no tenant, so no search finds them and no prune removes them."""


def _client(url: str | None, api_key: str | None, timeout_s: int) -> AsyncQdrantClient:
    """A client of the server. One log line warns an operator whose key travels unencrypted."""
    if api_key and url and urlsplit(url).scheme == "http" and not is_loopback(urlsplit(url).hostname or ""):
        log.warning("index.key_in_the_clear", url=url, remedy="use https:// in WELIP_INDEX_URL")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Api key is used with an insecure connection")
        # The compatibility check would connect, and warn, while the process is still starting.
        return AsyncQdrantClient(url=url, api_key=api_key, timeout=timeout_s, check_compatibility=False)


class QdrantIndex:
    """Implements `VectorIndex`. `timeout_s` limits each request, in whole seconds.

    `client` replaces the one that is made from `url` and `api_key`; it, too, is closed with this index.
    """

    def __init__(
        self,
        url: str | None = None,
        api_key: str | None = None,
        *,
        timeout_s: int = 10,
        client: AsyncQdrantClient | None = None,
    ) -> None:
        self._client = client or _client(url, api_key, timeout_s)
        self._ordered: dict[str, set[str]] = {}
        """By index, the payload fields that are known to have an index of numbers."""
        self._marked: set[str] = set()
        """The indexes that are known to have their watermarks."""

    async def ensure(self, index: IndexName, *, dimension: int | None, learned: bool = False) -> None:
        """Create the index unless it exists. Raises `Conflict` when it exists with other arms."""
        name = p.index_name(index)
        with _translated(index):
            try:
                info = await self._client.get_collection(name)
            except (UnexpectedResponse, ValueError) as error:
                if not _means_absent(error):
                    raise
                self._ordered.pop(name, None)
                self._marked.discard(name)
                await self._create(name, dimension, learned=learned)
                info = await self._client.get_collection(name)
            _check_arms(index, info.config.params, dimension, learned=learned)
            for field, schema in INDEXED.items():
                if field not in info.payload_schema:
                    await self._client.create_payload_index(name, field, schema)

    async def upsert(self, index: IndexName, points: Sequence[Point]) -> None:
        """Write points; each request returns once they are applied. Raises `NotFound` for an unknown index."""
        p.check_points(points)
        name = p.index_name(index)
        with _translated(index):
            if name not in self._marked:
                await self._mark(name)
            for first in range(0, len(points), p.UPSERT_BATCH):
                batch = points[first : first + p.UPSERT_BATCH]
                payloads = [p.payload_of(index.tenant, point) for point in batch]
                written = [_server_point(point, payload) for point, payload in zip(batch, payloads, strict=True)]
                version = max(point.version for point in batch)
                await self._client.batch_update_points(
                    name,
                    [
                        models.UpsertOperation(upsert=models.PointsList(points=written)),
                        _raise(VERSION_MARK, {"version": version}),
                    ],
                    wait=True,
                )
                await self._index_order(name, p.ordered_fields(payloads))

    async def prune(self, index: IndexName, documents: Sequence[DocumentVersion], change: Change) -> Watermark | None:
        """Remove each document's points that have different content and a lower version.

        Returns the watermark from before the call. Without an index it returns None and does nothing.
        """
        name = p.index_name(index)
        incarnation = str(change.incarnation)
        said = {"version": change.number, "content_hash": incarnation}
        work: list[models.UpdateOperation] = [_raise(CHANGE_MARK, said, content_hash=["", incarnation])]
        for first in range(0, len(documents), p.PRUNE_BATCH):
            doomed = outdated(index.tenant, documents[first : first + p.PRUNE_BATCH], _DIALECT)
            selector = models.FilterSelector(filter=models.Filter(must=[doomed]))
            work.append(models.DeleteOperation(delete=selector))
        try:
            with _translated(index):
                found = await self._mark(name)
                await self._client.batch_update_points(name, work, wait=True)
        except NotFound:
            return None
        return found

    async def mark(self, index: IndexName) -> Watermark | None:
        """How far the index has been written; None when it does not exist."""
        try:
            with _translated(index):
                return _read(await self._client.retrieve(p.index_name(index), [VERSION_MARK, CHANGE_MARK]))
        except NotFound:
            return None

    async def highest_generation(self) -> int:
        """The highest generation among all indexes, including abandoned ones; 0 when there are none."""
        with _translated(IndexName("", "", 0)):
            found = await self._client.get_collections()
        return max((p.generation_of(one.name) or 0 for one in found.collections), default=0)

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
        name = p.index_name(index)
        vectors = {arm: _server_vector(vector) for arm, vector in p.arms_of(query, fusion).items()}
        # Unfiltered: chunks that a filter excludes also show how rare a term is.
        terms = [
            models.QueryRequest(query=_server_vector(term), using=SPARSE, limit=1)
            for term in p.terms_of(vectors, query, fusion)
        ]
        among = models.Filter(must=[of_tenant(index.tenant, filter, _DIALECT)])
        found: list[Passage] = []
        with _translated(index):
            if not vectors:
                await self._client.get_collection(name)  # raises for an unknown index
                return []
            for depth in p.depths(vectors, fusion, top_k):
                requests = [
                    models.QueryRequest(query=vector, using=arm, filter=among, limit=depth, with_payload=True)
                    for arm, vector in vectors.items()
                ]
                answers = await self._client.query_batch_points(name, [*requests, *terms])
                arms = {
                    arm: [p.Hit(str(point.id), point.score, point.payload or {}) for point in answer.points]
                    for arm, answer in zip(vectors, answers, strict=False)
                }
                best_terms = [answer.points[0].score if answer.points else 0.0 for answer in answers[len(vectors) :]]
                found = p.passages(arms, best_terms, query, fusion, top_k)
                if p.is_whole(arms, found, depth, top_k):
                    break
        return found

    async def count(self, index: IndexName) -> int:
        """How many chunks the index holds; 0 when it does not exist."""
        try:
            with _translated(index):
                return (await self._client.count(p.index_name(index), count_filter=_CHUNKS, exact=True)).count
        except NotFound:
            return 0

    async def drop(self, index: IndexName) -> None:
        """Remove the index. A missing index is not an error."""
        name = p.index_name(index)
        self._ordered.pop(name, None)
        self._marked.discard(name)
        try:
            with _translated(index):
                await self._client.delete_collection(name)
        except NotFound:
            return

    async def check(self) -> None:
        """Raise `DependencyUnavailable` unless the server answers and accepts the key."""
        with _translated(IndexName("", "", 0)):
            await self._client.get_collections()

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()

    async def _create(self, name: str, dimension: int | None, *, learned: bool) -> None:
        postings = models.SparseIndexParams(full_scan_threshold=p.FULL_SCAN_BELOW)
        sparse = {SPARSE: models.SparseVectorParams(modifier=models.Modifier.IDF, index=postings)}
        if learned:
            sparse[LEARNED] = models.SparseVectorParams(index=postings)
        try:
            await self._client.create_collection(
                name,
                vectors_config={DENSE: models.VectorParams(size=dimension, distance=models.Distance.COSINE)}
                if dimension
                else {},
                sparse_vectors_config=sparse,
            )
        except (UnexpectedResponse, ValueError) as error:
            if not await self._client.collection_exists(name):  # if it exists, another process was first
                raise error

    async def _mark(self, name: str) -> Watermark:
        """The watermark, created if there is none yet."""
        found = await self._client.retrieve(name, [CHANGE_MARK, VERSION_MARK])
        missing = {CHANGE_MARK, VERSION_MARK} - {str(record.id) for record in found}
        if missing:
            blank = {"version": 0, "content_hash": ""}
            points = [models.PointStruct(id=mark, vector={}, payload=blank) for mark in sorted(missing)]
            await self._client.upsert(name, points, wait=True)
        self._marked.add(name)
        return _read(found)

    async def _index_order(self, name: str, fields: set[str]) -> None:
        """Create the payload indexes that range filters on these fields need. An existing one is not an error."""
        known = self._ordered.setdefault(name, set())
        for field in sorted(fields - known)[: p.MOST_ORDERED_FIELDS - len(known)]:
            await self._client.create_payload_index(name, field, models.PayloadSchemaType.FLOAT)
            known.add(field)


class _Dialect:
    def one_of(self, key: str, values: Sequence[str]) -> models.Condition:
        return models.FieldCondition(key=key, match=models.MatchAny(any=list(values)))

    def between(self, key: str, **bounds: float) -> models.Condition:
        return models.FieldCondition(key=key, range=models.Range(**bounds))

    def both(self, must: Sequence[models.Condition], must_not: Sequence[models.Condition] = ()) -> models.Condition:
        return models.Filter(must=list(must), must_not=list(must_not))

    def either(self, should: Sequence[models.Condition]) -> models.Condition:
        return models.Filter(should=list(should))


_DIALECT: Final = _Dialect()
_CHUNKS: Final = models.Filter(must_not=[models.HasIdCondition(has_id=[VERSION_MARK, CHANGE_MARK])])


def _raise(mark: str, said: dict[str, Any], **only: list[str]) -> models.SetPayloadOperation:
    """Set a mark's payload if its `version` is lower. The server compares, so processes may come in any order."""
    below = [models.HasIdCondition(has_id=[mark]), _DIALECT.between("version", lt=said["version"])]
    known = [_DIALECT.one_of(key, values) for key, values in only.items()]
    return models.SetPayloadOperation(
        set_payload=models.SetPayload(payload=said, filter=models.Filter(must=[*below, *known]))
    )


def _read(records: Sequence[models.Record]) -> Watermark:
    said = {str(record.id): record.payload or {} for record in records}
    change, version = said.get(CHANGE_MARK, {}), said.get(VERSION_MARK, {})
    incarnation = change.get("content_hash")
    return Watermark(UUID(incarnation) if incarnation else None, change.get("version", 0), version.get("version", 0))


def _server_point(point: Point, payload: Mapping[str, Any]) -> models.PointStruct:
    vectors: dict[str, Any] = {SPARSE: _server_vector(point.sparse)}
    if point.dense is not None:
        vectors[DENSE] = list(point.dense)
    if point.learned is not None:
        vectors[LEARNED] = _server_vector(point.learned)
    return models.PointStruct(id=point.id, vector=vectors, payload=dict(payload))


def _server_vector(vector: SparseVector | Sequence[float]) -> models.SparseVector | list[float]:
    if isinstance(vector, SparseVector):
        return models.SparseVector(indices=list(vector.indices), values=list(vector.values))
    return list(vector)


def _check_arms(index: IndexName, params: models.CollectionParams, dimension: int | None, *, learned: bool) -> None:
    dense = params.vectors.get(DENSE) if isinstance(params.vectors, dict) else None
    has = (dense.size if dense else None, LEARNED in (params.sparse_vectors or {}))
    if has != (dimension, learned):
        raise p.other_arms(index, has, (dimension, learned))


def _means_absent(error: Exception) -> bool:
    if isinstance(error, UnexpectedResponse):
        return error.status_code == 404
    # The client's local mode has no status codes.
    return isinstance(error, ValueError) and str(error).startswith("Collection ") and str(error).endswith(" not found")


@contextmanager
def _translated(index: IndexName) -> Iterator[None]:
    try:
        yield
    except (UnexpectedResponse, ValueError) as error:
        if _means_absent(error):
            raise p.absent(index) from error
        if isinstance(error, UnexpectedResponse) and error.status_code not in _REQUEST_AT_FAULT:
            raise DependencyUnavailable(f"the Qdrant server answers {error.status_code}: {error}") from error
        raise InvalidInput(f"the vector index refused the request: {error}") from error
    except (ResponseHandlingException, ResourceExhaustedResponse) as error:
        raise DependencyUnavailable(f"the Qdrant server does not answer: {error}") from error
