"""Points and queries in the short form that the tests of vector indexes use."""

from collections.abc import Iterable
from typing import Any
from uuid import NAMESPACE_URL, UUID, uuid5

from schemas.collections import FusionSettings
from schemas.retrieval import IndexName, Passage, Point, Query, SparseVector
from schemas.watermarks import Change

NOTHING = SparseVector([], [])
FUSION = FusionSettings()


def index_of(tenant: str, collection: str = "ko", generation: int = 1) -> IndexName:
    return IndexName(tenant, collection, generation)


def terms(*ids: int, weight: float = 1.0) -> SparseVector:
    return SparseVector(sorted(ids), [weight] * len(ids))


def query(*ids: int, dense: list[float] | None = None, learned: SparseVector | None = None) -> Query:
    return Query(terms(*ids), dense, learned)


def chunk(
    document: str,
    sparse: SparseVector,
    *,
    dense: list[float] | None = None,
    learned: SparseVector | None = None,
    content: str = "v1",
    version: int = 1,
    position: int = 0,
    **metadata: Any,
) -> Point:
    text = f"{document} {content} {position}"
    return Point(
        id=str(uuid5(NAMESPACE_URL, text)),
        document_id=document,
        content_hash=content,
        title=f"title of {document}",
        text=text,
        start=position,
        end=position + 9,
        sparse=sparse,
        dense=dense,
        learned=learned,
        metadata=metadata,
        version=version,
    )


MADE = UUID(int=7)
"""The incarnation of the indexes that tests write to."""


def change(number: int = 1) -> Change:
    return Change(MADE, number)


def documents(passages: Iterable[Passage]) -> list[str]:
    return [passage.document_id for passage in passages]
