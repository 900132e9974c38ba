"""Every `VectorIndex` knows how far it was written, whoever wrote, and reports it without a search."""

import asyncio
from dataclasses import replace
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from consumers.stages.ports import VectorIndex
from infra.vectors.edge import EdgeIndex
from schemas.retrieval import DocumentVersion, IndexName
from schemas.watermarks import Change, Watermark
from tests.contract.vectors import FUSION, MADE, change, chunk, documents, index_of, query, terms

pytestmark = pytest.mark.filterwarnings("ignore:Payload indexes have no effect in the local Qdrant")


@pytest.fixture
def ko() -> IndexName:
    return index_of(f"tenant-{uuid4().hex[:8]}")


async def test_an_index_that_is_not_there_has_none(index: VectorIndex, ko: IndexName) -> None:
    assert await index.mark(ko) is None
    assert await index.prune(ko, [DocumentVersion("d", 1, None)], change(3)) is None
    await index.ensure(ko, dimension=None)
    assert await index.mark(ko) == Watermark()
    await index.upsert(ko, [chunk("d", terms(1), version=5)])
    await index.drop(ko)
    assert await index.mark(ko) is None
    await index.ensure(ko, dimension=None)
    await index.upsert(ko, [chunk("d", terms(1), version=2)])
    assert await index.mark(ko) == Watermark(version=2)


async def test_it_rises_with_what_is_written_and_never_falls(index: VectorIndex, ko: IndexName) -> None:
    await index.ensure(ko, dimension=None)
    await index.upsert(ko, [chunk("a", terms(1), version=9), chunk("b", terms(1), version=4)])
    assert await index.mark(ko) == Watermark(version=9)
    assert await index.prune(ko, [DocumentVersion("a", 9, None)], change(2)) == Watermark(version=9)
    assert await index.mark(ko) == Watermark(MADE, 2, 9)
    await index.upsert(ko, [chunk("c", terms(1), version=3)])
    assert await index.prune(ko, [], change(1)) == Watermark(MADE, 2, 9)
    assert await index.mark(ko) == Watermark(MADE, 2, 9)


async def test_another_catalogue_does_not_take_it_over(index: VectorIndex, ko: IndexName) -> None:
    await index.ensure(ko, dimension=None)
    await index.prune(ko, [], change(2))
    found = await index.prune(ko, [], Change(UUID(int=8), 5))
    assert found == await index.mark(ko) == Watermark(MADE, 2, 0)


async def test_it_is_no_chunk(index: VectorIndex, ko: IndexName) -> None:
    await index.ensure(ko, dimension=2)
    await index.prune(ko, [], change())
    assert await index.count(ko) == 0
    await index.upsert(ko, [chunk("d", terms(1), dense=[1.0, 0.0])])
    assert await index.count(ko) == 1
    found = await index.search(ko, query(1, dense=[1.0, 0.0]), top_k=10, fusion=FUSION)
    assert documents(found) == ["d"]
    await index.prune(ko, [DocumentVersion("d", 2, None), DocumentVersion("", 9, None)], change(2))
    assert await index.count(ko) == 0
    assert await index.mark(ko) == Watermark(MADE, 2, 1)


async def test_of_many_writers_at_once_the_furthest_counts(index: VectorIndex, ko: IndexName) -> None:
    await index.ensure(ko, dimension=None)
    await index.upsert(ko, [chunk("d", terms(1))])

    async def write(number: int) -> None:
        await index.upsert(ko, [chunk(f"d{number}", terms(1), version=number)])
        await index.prune(ko, [DocumentVersion(f"d{number}", number, None)], change(number))

    await asyncio.gather(*(write(number) for number in (3, 9, 5, 1, 7)))
    assert await index.mark(ko) == Watermark(MADE, 9, 9)


async def test_the_highest_generation_is_told_of_indexes_that_nobody_names(index: VectorIndex, ko: IndexName) -> None:
    before = await index.highest_generation()
    for generation in (before + 7, before + 12):
        await index.ensure(replace(ko, generation=generation), dimension=None)
    assert await index.highest_generation() == before + 12
    for generation in (before + 7, before + 12):
        await index.drop(replace(ko, generation=generation))


async def test_the_embedded_index_keeps_it_over_a_restart(tmp_path: Path, ko: IndexName) -> None:
    first = EdgeIndex(tmp_path)
    await first.ensure(ko, dimension=None)
    await first.upsert(ko, [chunk("d", terms(1), version=6)])
    await first.prune(ko, [], change(4))
    await first.close()
    second = EdgeIndex(tmp_path)
    assert await second.mark(ko) == Watermark(MADE, 4, 6)
    await second.close()
