"""A text that the embedding model refuses fails its own document, by name, and no other."""

import pytest

from schemas.errors import JobError
from tests.unit.ports_in_memory import World
from tests.unit.test_stages_indexing import documents, index, left_over, points, seen
from tests.unit.texts_in_memory import LengthEmbedder


def picky() -> World:
    return World(embedder=LengthEmbedder(refuses="나쁜"))


async def test_the_others_are_indexed_and_the_culprit_is_named() -> None:
    world = picky()
    many = {f"d{n}": f"제{n}조." for n in range(200)}
    result = await index(world, documents=documents(**many, bad="나쁜 글."))
    assert (result["documents"]["added"], result["documents"]["failed"], result["chunks"]) == (200, 1, 200)
    assert result["errors"] == [{"id": "bad", "code": "engine_refused", "message": "too long"}]
    assert await seen(world) == many
    assert left_over(world) == []


async def test_a_document_is_taken_whole_or_not_at_all() -> None:
    world = picky()
    long = " ".join(f"{n}째 문장이다." for n in range(200))
    result = await index(world, documents=documents(bad=f"{long} 나쁜 글.", good="좋은 글."))
    assert (result["documents"]["failed"], result["chunks"]) == (1, 1)
    assert {point.document_id for point in await points(world)} == {"good"}


async def test_what_was_there_before_stays() -> None:
    world = picky()
    await index(world, documents=documents(a="하나.", b="둘."))
    result = await index(world, documents=documents(a="나쁜 글.", b="새 둘."))
    assert (result["documents"]["replaced"], result["documents"]["failed"]) == (1, 1)
    assert await seen(world) == {"a": "하나.", "b": "새 둘."}


async def test_a_part_of_which_nothing_is_taken_ends_well() -> None:
    world = picky()
    result = await index(world, documents=documents(a="나쁜 하나.", b="나쁜 둘."))
    assert (result["documents"]["failed"], result["chunks"]) == (2, 0)
    assert sorted(error["id"] for error in result["errors"]) == ["a", "b"]
    assert left_over(world) == []


async def test_a_rebuild_fails_rather_than_lose_a_document() -> None:
    world = World(embedder=LengthEmbedder())
    await index(world, documents=documents(a="하나.", bad="나쁜 글."))
    before = await world.catalogue.collection("t", "c")
    world.embedder = LengthEmbedder(name="newer", refuses="나쁜")
    with pytest.raises(JobError):
        await index(world, rebuild=True)
    after = await world.catalogue.collection("t", "c")
    assert (after.generation, after.embedder) == (before.generation, "lengths")
