"""Filters in the words of an engine: the same conditions for the embedded index and for the server."""

from collections.abc import Sequence
from typing import Protocol, TypeVar, assert_never

from infra.vectors.metadata import FACETS, ORDERS, facet, order_key
from schemas.filters import Comparison, Condition, Every, Some, order_of
from schemas.retrieval import DocumentVersion

C = TypeVar("C")


class Dialect(Protocol[C]):
    """How an engine writes conditions."""

    def one_of(self, key: str, values: Sequence[str]) -> C:
        """The payload's keyword, or one of its keywords, is among these."""

    def between(self, key: str, **bounds: float) -> C:
        """The payload's number, or one of its numbers, lies within `gt`, `gte`, `lt`, `lte`."""

    def both(self, must: Sequence[C], must_not: Sequence[C] = ()) -> C:
        """All of the first hold and none of the second."""

    def either(self, should: Sequence[C]) -> C:
        """At least one holds; `should` is not empty."""


def of_tenant(tenant: str, condition: Condition | None, dialect: Dialect[C]) -> C:
    """The tenant's own points, of which `condition` holds."""
    own = dialect.one_of("tenant", [tenant])
    return dialect.both([own] if condition is None else [own, translated(condition, dialect)])


def outdated(tenant: str, documents: Sequence[DocumentVersion], dialect: Dialect[C]) -> C:
    """The tenant's points of these documents that have a lower version and another content."""

    def older(ids: Sequence[str], version: int, kept: Sequence[str] = ()) -> C:
        of_another_content = [dialect.one_of("content_hash", kept)] if kept else []
        return dialect.both(
            [dialect.one_of("document_id", ids), dialect.between("version", lt=version)], of_another_content
        )

    # One condition for all that need no look at the content: a hundred of them take a hundred times as long.
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
    """A filter, as the engine executes it."""
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
