"""Translates filters and prune conditions for an engine; the embedded index and the server share this code."""

from collections.abc import Sequence
from typing import Protocol, TypeVar, assert_never

from infra.vectors.metadata import FACETS, ORDERS, facet, order_key
from schemas.filters import Comparison, Condition, Every, Some, order_of
from schemas.retrieval import DocumentVersion

C = TypeVar("C")


class Dialect(Protocol[C]):
    """How an engine writes conditions."""

    def one_of(self, key: str, values: Sequence[str]) -> C:
        """The payload field, or one of its values if it is a list, is among `values`."""

    def between(self, key: str, **bounds: float) -> C:
        """The payload's number, or one of its numbers, lies within the bounds `gt`, `gte`, `lt`, `lte`."""

    def both(self, must: Sequence[C], must_not: Sequence[C] = ()) -> C:
        """All of `must` hold and none of `must_not`."""

    def either(self, should: Sequence[C]) -> C:
        """At least one of `should` holds; `should` is not empty."""


def of_tenant(tenant: str, condition: Condition | None, dialect: Dialect[C]) -> C:
    """The tenant's own points that meet `condition`."""
    own = dialect.one_of("tenant", [tenant])
    return dialect.both([own] if condition is None else [own, translated(condition, dialect)])


def outdated(tenant: str, documents: Sequence[DocumentVersion], dialect: Dialect[C]) -> C:
    """The tenant's points of these documents that have a lower version and different content."""

    def older(ids: Sequence[str], version: int, kept: Sequence[str] = ()) -> C:
        of_another_content = [dialect.one_of("content_hash", kept)] if kept else []
        return dialect.both(
            [dialect.one_of("document_id", ids), dialect.between("version", lt=version)], of_another_content
        )

    # Documents that need no content comparison share one condition per version: a hundred conditions would take a
    # hundred times as long.
    by_version: dict[int, list[str]] = {}
    for document in documents:
        if document.content_hash is None:
            by_version.setdefault(document.version, []).append(document.id)
    conditions = [older(ids, version) for version, ids in by_version.items()]
    conditions += [
        older([document.id], document.version, [document.content_hash])
        for document in documents
        if document.content_hash is not None
    ]
    return dialect.both([dialect.one_of("tenant", [tenant]), dialect.either(conditions)])


def translated(condition: Condition, dialect: Dialect[C]) -> C:
    """The filter in the engine's own types."""
    match condition:
        case Comparison():
            return _comparison(condition, dialect)
        case Every(conditions):
            return dialect.both([translated(part, dialect) for part in conditions])
        case Some(conditions):
            return dialect.either([translated(part, dialect) for part in conditions])
        case _:
            assert_never(condition)


def _comparison(comparison: Comparison, dialect: Dialect[C]) -> C:
    value = comparison.value
    if comparison.operator in ("eq", "in", "ne", "nin"):
        values = value if isinstance(value, tuple) else (value,)
        equal = dialect.one_of(FACETS, [facet(comparison.field, one) for one in values])
        return equal if comparison.operator in ("eq", "in") else dialect.both([], [equal])
    order = order_of(value)
    if order is None:
        raise ValueError(f"{value!r} has no order")
    return dialect.between(f"{ORDERS[order[0]]}.{order_key(comparison.field)}", **{comparison.operator: order[1]})
