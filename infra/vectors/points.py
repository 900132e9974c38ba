"""What every vector index agrees on: collection names, payloads, filters, and the way from hits to passages."""

import hashlib
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final
from uuid import UUID

from infra.vectors.fusion import fuse
from schemas.errors import InvalidInput, NotFound
from schemas.retrieval import Passage, Point, SparseVector

SPARSE: Final = "sparse"
DENSE: Final = "dense"
UPSERT_BATCH: Final = 500

INDEXED: Final = ("document_id", "facets")
"""Payload fields with a keyword index: what deletes and filters ask for."""

_READABLE_FACET: Final = 128
_MAX_TERM: Final = 2**32 - 1


@dataclass(frozen=True, slots=True)
class Hit:
    """One arm's answer: a chunk, its raw score and its payload."""

    id: str
    score: float
    payload: Mapping[str, Any]


def index_name(tenant: str, collection: str) -> str:
    """The name of a collection in the engine: readable, safe as a folder, different for every (tenant, collection)."""
    digest = hashlib.blake2b(json.dumps([tenant, collection]).encode(), digest_size=16).hexdigest()
    readable = re.sub(r"[^a-z0-9_-]", "", collection)[:63]
    return f"welip-{readable}-{digest}"


def absent(collection: str) -> NotFound:
    """The error for a collection that does not exist."""
    return NotFound(f"there is no collection {collection!r}: index documents into it first", field="collection")


def payload_of(point: Point) -> dict[str, Any]:
    """What is stored beside a point's vectors. `facets` repeats the metadata in the form that filters match."""
    return {
        "document_id": point.document_id,
        "content_hash": point.content_hash,
        "title": point.title,
        "text": point.text,
        "start": point.start,
        "end": point.end,
        "metadata": point.metadata,
        "facets": [
            facet(field, value)
            for field, held in point.metadata.items()
            for value in (held if isinstance(held, list) else [held])
            if not isinstance(value, dict | list)
        ],
    }


def facet(field: str, value: object) -> str:
    """One keyword for "this field holds this value".

    The engines compare booleans, fractions, mixed lists and field names with spaces each in its own way or not at all;
    keywords they all compare alike. 1 equals 1.0 and differs from true and "1", as in JSON.
    """
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    text = json.dumps([field, value], ensure_ascii=False)
    if len(text) <= _READABLE_FACET:
        return text
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def wanted_facets(filter: Mapping[str, Any] | None) -> list[list[str]]:
    """A filter as groups of facets: of each group, one must be there. Raises `InvalidInput`."""
    groups = []
    for field, wanted in (filter or {}).items():
        values = list(wanted) if isinstance(wanted, list | tuple) else [wanted]
        if not all(value is None or isinstance(value, str | int | float) for value in values):
            raise InvalidInput(f"filter.{field} must be a string, number or boolean, or a list of them", field="filter")
        groups.append([facet(field, value) for value in values])
    return groups


def check_points(points: Sequence[Point]) -> None:
    """Raise `InvalidInput` for a point that an engine would refuse, or store wrongly, in the middle of a batch."""
    for point in points:
        try:
            UUID(point.id)
        except ValueError as error:
            raise InvalidInput(f"{point.id!r} is no UUID", field="id") from error
        _check_sparse(point.sparse)
        _check_dense(point.dense)


def check_query(sparse: SparseVector, dense: Sequence[float] | None, top_k: int) -> None:
    """Raise `InvalidInput` for a query that no engine can answer."""
    if top_k < 1:
        raise InvalidInput(f"top_k must be at least 1, not {top_k}", field="top_k")
    _check_sparse(sparse)
    _check_dense(dense)


def ranked(arms: Mapping[str, Sequence[Hit]], top_k: int) -> list[Passage]:
    """The `top_k` best passages. A lone sparse arm keeps its scores; otherwise arms are fused. Ties: by document."""
    raw = {arm: {hit.id: hit.score for hit in hits} for arm, hits in arms.items()}
    scores = raw[SPARSE] if set(arms) == {SPARSE} else fuse(raw)
    payloads = {hit.id: hit.payload for hits in arms.values() for hit in hits}
    passages = [
        Passage(
            document_id=payload["document_id"],
            chunk_id=chunk,
            title=payload["title"],
            text=payload["text"],
            start=payload["start"],
            end=payload["end"],
            score=scores[chunk],
            scores={arm: by_id[chunk] for arm, by_id in raw.items() if chunk in by_id},
            metadata=dict(payload["metadata"]),
        )
        for chunk, payload in payloads.items()
    ]
    passages.sort(key=lambda passage: (-passage.score, passage.document_id, passage.start))
    return passages[:top_k]


def _check_sparse(vector: SparseVector) -> None:
    indices, values = vector.indices, vector.values
    if len(indices) != len(values):
        raise InvalidInput(f"{len(indices)} terms have {len(values)} weights", field="sparse")
    if any(a >= b for a, b in pairwise(indices)) or (indices and not 0 <= indices[0] <= indices[-1] <= _MAX_TERM):
        raise InvalidInput("terms must be ascending 32-bit ids, each once", field="sparse")
    if not all(value > 0 and math.isfinite(value) for value in values):
        raise InvalidInput("weights must be finite and above 0", field="sparse")


def _check_dense(vector: Sequence[float] | None) -> None:
    if vector is not None and not all(map(math.isfinite, vector)):
        raise InvalidInput("a dense vector must be finite", field="dense")
