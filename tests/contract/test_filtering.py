"""Every adapter filters as Python would, for random metadata and random filters."""

import asyncio
import itertools
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from qdrant_client import AsyncQdrantClient

from consumers.stages.ports import VectorIndex
from infra.vectors.edge import EdgeIndex
from infra.vectors.server import QdrantIndex
from schemas.filters import Comparison, Condition, Every, order_of, parse_filter
from tests.contract.vectors import FUSION, chunk, documents, index_of, query, terms

pytestmark = pytest.mark.filterwarnings("ignore:Payload indexes have no effect in the local Qdrant")

FIELDS = st.sampled_from(["year", "Year", "a b", "a.b", "a[0]", "한글", 'q"uote', "$", "facets"])
SCALARS = st.one_of(
    st.integers(-3, 3),
    st.sampled_from([0.5, -1.5, 2.0, 1e300, 2**53 + 1]),
    st.booleans(),
    st.sampled_from(["1", "02", "-1.5", "ko", "", "true", "2024-01-31", "2024-01-31T09:00:00+09:00", "2024-02-30"]),
)
METADATA = st.dictionaries(FIELDS, st.one_of(SCALARS, st.none(), st.lists(SCALARS, max_size=3)), max_size=4)
ORDERED = SCALARS.filter(lambda value: order_of(value) is not None)
OPERATORS = st.one_of(
    st.dictionaries(st.sampled_from(["gt", "gte", "lt", "lte"]), ORDERED, min_size=1, max_size=2),
    st.dictionaries(st.sampled_from(["eq", "ne"]), SCALARS, min_size=1),
    st.dictionaries(st.sampled_from(["in", "nin"]), st.lists(SCALARS, max_size=3), min_size=1),
)
FILTERS = st.recursive(
    st.dictionaries(FIELDS, st.one_of(SCALARS, st.lists(SCALARS, max_size=3), OPERATORS), min_size=1, max_size=2),
    lambda inner: st.dictionaries(
        st.sampled_from(["and", "or"]), st.lists(inner, min_size=1, max_size=2), min_size=1, max_size=2
    ),
    max_leaves=4,
)


def holds(condition: Condition, metadata: dict[str, Any]) -> bool:
    if isinstance(condition, Comparison):
        return compares(condition, metadata)
    parts = [holds(part, metadata) for part in condition.conditions]
    return all(parts) if isinstance(condition, Every) else any(parts)


def compares(comparison: Comparison, metadata: dict[str, Any]) -> bool:
    held = metadata.get(comparison.field, [])
    values = held if isinstance(held, list) else [held]
    asked = comparison.value if isinstance(comparison.value, tuple) else (comparison.value,)
    equal = any(value == one and isinstance(value, bool) == isinstance(one, bool) for value in values for one in asked)
    match comparison.operator:
        case "eq" | "in":
            return equal
        case "ne" | "nin":
            return not equal
    order = order_of(asked[0])
    assert order
    standing = [found[1] for value in values if (found := order_of(value)) and found[0] == order[0]]
    tests = {"gt": float.__gt__, "gte": float.__ge__, "lt": float.__lt__, "lte": float.__le__}
    return any(tests[comparison.operator](float(value), float(order[1])) for value in standing)


@pytest.mark.parametrize("adapter", ["edge", "qdrant-local"])
def test_filters_mean_the_same_everywhere(adapter: str, tmp_path: Path) -> None:
    numbers = itertools.count()
    with asyncio.Runner() as runner:
        index: VectorIndex = (
            EdgeIndex(tmp_path) if adapter == "edge" else QdrantIndex(client=AsyncQdrantClient(location=":memory:"))
        )
        runner.run(index.ensure(index_of("t"), dimension=None))

        @settings(max_examples=60, deadline=None)
        @given(st.lists(METADATA, min_size=1, max_size=8), st.lists(FILTERS, min_size=1, max_size=5))
        def same(held: list[dict[str, Any]], filters: list[dict[str, Any]]) -> None:
            term = next(numbers)  # tells this example's documents from those of others
            points = [chunk(f"{term}/{n}", terms(term), **metadata) for n, metadata in enumerate(held)]
            runner.run(index.upsert(index_of("t"), points))
            for filter in filters:
                condition = parse_filter(filter)
                assert condition is not None
                found = runner.run(index.search(index_of("t"), query(term), top_k=20, fusion=FUSION, filter=condition))
                expected = [f"{term}/{n}" for n, metadata in enumerate(held) if holds(condition, metadata)]
                assert sorted(documents(found)) == expected, json.dumps(filter)

        same()
        runner.run(index.close())
