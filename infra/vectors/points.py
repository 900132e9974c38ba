"""What all vector indexes share: names, payloads, input checks, and the way from hits to passages."""

import hashlib
import json
import math
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from operator import lt
from typing import Any, Final
from uuid import UUID

from infra.vectors.fusion import (
    DENSE,
    LEARNED,
    SPARSE,
    arms_that_count,
    fuse,
    question_weights,
    ranked,
    weighed_by_question,
)
from infra.vectors.metadata import FACETS, ORDERS, filterable
from infra.vectors.weighing import ceiling, telling
from schemas.collections import FusionSettings
from schemas.errors import Conflict, InvalidInput, NotFound
from schemas.retrieval import IndexName, Passage, Point, Query, SparseVector

UPSERT_BATCH: Final = 500
PRUNE_BATCH: Final = 100
FULL_SCAN_BELOW: Final = 100
"""When a filter leaves fewer chunks than this, they are scored one by one.

With Qdrant's default, 5,000, filters that keep a few per cent were ten times slower: reading a stored sparse vector
costs more than skipping it in the inverted index.
"""

MOST_ORDERED_FIELDS: Final = 100
"""Number and date fields that get an index of their own; values of any further fields are compared one by one."""

KEYWORDS: Final = ("tenant", "document_id", FACETS)
"""Payload fields with a keyword index: those that searches, prunes and filters match on."""

_DEEPEST: Final = 4_000
_MAX_TERM: Final = 2**32 - 1


@dataclass(frozen=True, slots=True)
class Hit:
    """One hit of one arm: a chunk, its raw score and its payload."""

    id: str
    score: float
    payload: Mapping[str, Any]


@lru_cache(maxsize=1024)
def index_name(index: IndexName) -> str:
    """The engine's name for an index: readable, safe as a folder name, unique to the index."""
    exact = json.dumps([index.tenant, index.collection, index.generation]).encode()
    digest = hashlib.blake2b(exact, digest_size=16).hexdigest()
    tenant, collection = (re.sub(r"[^a-z0-9_-]", "", name)[:40] for name in (index.tenant, index.collection))
    return f"welip-{tenant}-{collection}-{index.generation}-{digest}"


def generation_of(name: str) -> int | None:
    """The generation in an engine's index name; None if the name is not one of ours."""
    generation = name.rsplit("-", 2)[-2:-1] if name.startswith("welip-") else []
    return int(generation[0]) if generation and generation[0].isdecimal() else None


def absent(index: IndexName) -> NotFound:
    """The error for an index that does not exist."""
    return NotFound(f"there is no index of {index.collection!r}: index documents into it first", field="collection")


def other_arms(index: IndexName, has: tuple[int | None, bool], asked: tuple[int | None, bool]) -> Conflict:
    """The error for an index that exists with other arms, each given as (dense vector length, has learned vectors)."""

    def told(dimension: int | None, learned: bool) -> str:
        return f"{f'dense vectors of length {dimension}' if dimension else 'no dense vectors'}" + (
            " and learned ones" if learned else ""
        )

    return Conflict(f"the index of {index.collection!r} has {told(*has)}, not {told(*asked)}", field="collection")


def payload_of(tenant: str, point: Point) -> dict[str, Any]:
    """What is stored with a point's vectors."""
    return {
        "tenant": tenant,
        "document_id": point.document_id,
        "content_hash": point.content_hash,
        "version": point.version,
        "title": point.title,
        "text": point.text,
        "start": point.start,
        "end": point.end,
        "heading": point.heading,
        "page": point.page,
        "metadata": point.metadata,
        **filterable(point.metadata),
    }


def ordered_fields(payloads: Sequence[Mapping[str, Any]]) -> set[str]:
    """The payload fields of these points that range filters such as `gt` compare."""
    return {f"{kind}.{key}" for payload in payloads for kind in ORDERS.values() for key in payload.get(kind, ())}


def check_points(points: Sequence[Point]) -> None:
    """Raise `InvalidInput` for a point that an engine would store wrongly, or refuse in the middle of a batch."""
    for point in points:
        try:
            UUID(point.id)
        except ValueError as error:
            raise InvalidInput(f"{point.id!r} is no UUID", field="id") from error
        for vector in (point.sparse, point.learned):
            _check_terms(vector)
        _check_dense(point.dense)
        if any(isinstance(value, float) and not math.isfinite(value) for value in point.metadata.values()):
            raise InvalidInput(f"document {point.document_id!r} has a number that is not finite", field="metadata")


def check_query(query: Query, top_k: int) -> None:
    """Raise `InvalidInput` for a query that no engine can answer."""
    if top_k < 1:
        raise InvalidInput(f"top_k must be at least 1, not {top_k}", field="top_k")
    for vector in (query.sparse, query.learned):
        _check_terms(vector)
    _check_dense(query.dense)


def arms_of(query: Query, fusion: FusionSettings) -> dict[str, SparseVector | Sequence[float]]:
    """The vectors to search by: those the query has, except empty sparse ones and arms that do not count."""
    given = {SPARSE: query.sparse, DENSE: query.dense, LEARNED: query.learned}
    vectors = {
        arm: vector
        for arm, vector in given.items()
        if vector is not None and not (isinstance(vector, SparseVector) and not vector.indices)
    }
    return {arm: vectors[arm] for arm in arms_that_count(vectors, fusion)}


def terms_of(arms: Collection[str], query: Query, fusion: FusionSettings) -> list[SparseVector]:
    """One single-term query for each term whose best chunk helps to weigh the arms; empty when nothing needs them."""
    if not weighed_by_question(arms, fusion):
        return []
    terms, weights = query.sparse.indices, query.sparse.values
    return [SparseVector([terms[at]], [weights[at]]) for at in telling(weights)]


def depths(arms: Collection[str], fusion: FusionSettings, top_k: int) -> Iterator[int]:
    """How many hits to ask of each arm, growing, in case a few documents hold all the best ones.

    A lone sparse arm keeps its scores, so its best hits are the answer unless documents count beside their chunks. To
    read the payloads of more would take longer than the search.
    """
    alone = len(arms) == 1 and DENSE not in arms and not fusion.document_share and fusion.per_document is None
    depth = top_k if alone else max(fusion.depth, top_k)
    yield depth
    while depth < _DEEPEST:
        depth *= 4
        yield depth


def is_whole(arms: Mapping[str, Sequence[Hit]], found: Sequence[Passage], depth: int, top_k: int) -> bool:
    """Whether a deeper query could not find more."""
    return len(found) >= top_k or all(len(hits) < depth for hits in arms.values())


def passages(
    arms: Mapping[str, Sequence[Hit]], best_terms: Sequence[float], query: Query, fusion: FusionSettings, top_k: int
) -> list[Passage]:
    """The `top_k` best passages among the arms' hits. `best_terms` has the best score for each of `terms_of`, or 0."""
    raw = {arm: {hit.id: hit.score for hit in hits} for arm, hits in arms.items()}
    payloads = {hit.id: hit.payload for hits in arms.values() for hit in hits}
    places = {chunk: (payload["document_id"], payload["start"]) for chunk, payload in payloads.items()}
    documents = {chunk: document for chunk, (document, _) in places.items()}
    highest = ceiling(query.sparse.values, best_terms) if best_terms else 0.0
    weights = question_weights(raw, fusion, documents, highest)
    best = ranked(fuse(raw, weights, fusion), fusion, places)[:top_k]
    return [_passage(chunk, score, raw, payloads[chunk]) for chunk, score in best]


def _passage(chunk: str, score: float, raw: Mapping[str, Mapping[str, float]], payload: Mapping[str, Any]) -> Passage:
    return Passage(
        document_id=payload["document_id"],
        chunk_id=chunk,
        title=payload["title"],
        text=payload["text"],
        start=payload["start"],
        end=payload["end"],
        score=score,
        scores={arm: scores[chunk] for arm, scores in raw.items() if chunk in scores},
        metadata=dict(payload["metadata"]),
        heading=payload["heading"],
        page=payload["page"],
        content_hash=payload["content_hash"],
    )


def _check_terms(vector: SparseVector | None) -> None:
    if vector is None:
        return
    indices, values = vector.indices, vector.values
    if len(indices) != len(values):
        raise InvalidInput(f"{len(indices)} terms have {len(values)} weights", field="sparse")
    if not indices:
        return
    # C loops only: a corpus has hundreds of millions of terms.
    ascending = all(map(lt, indices, islice(indices, 1, None)))
    if not (ascending and indices[0] >= 0 and indices[-1] <= _MAX_TERM):
        raise InvalidInput("terms must be ascending 32-bit ids, each once", field="sparse")
    if not (min(values) > 0 and math.isfinite(sum(values))):
        raise InvalidInput("weights must be finite and above 0", field="sparse")


def _check_dense(vector: Sequence[float] | None) -> None:
    if vector is not None and not math.isfinite(sum(vector)):
        raise InvalidInput("a dense vector must be finite", field="dense")
