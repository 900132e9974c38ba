"""What a search shows of a document that is replaced or deleted while the search runs."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from consumers.stages.inference.visible import visible
from infra.postgres.database import Database
from schemas.collections import FusionSettings, SparseSettings
from schemas.requester import Requester
from schemas.retrieval import IndexName, Passage, Query
from schemas.topics import Lane
from tests.integration.stepping import NAME, TENANT, Conductor
from tests.unit.index_in_memory import MemoryIndex


@dataclass
class Overtaken:
    """An index during which `meanwhile` happens once, between its first answer and what its caller does with it."""

    index: MemoryIndex
    meanwhile: Callable[[], Awaitable[Any]] | None

    async def search(self, *given: Any, **options: Any) -> list[Passage]:
        found = await self.index.search(*given, **options)
        if self.meanwhile is not None:
            meanwhile, self.meanwhile = self.meanwhile, None
            await meanwhile()
        return found


async def found(conductor: Conductor, question: str, meanwhile: Callable[[], Awaitable[Any]]) -> dict[str, str]:
    record = await conductor.catalogue.collection(TENANT, NAME)
    index: Any = Overtaken(conductor.world.index, meanwhile)
    ports = conductor.world.ports
    ports.catalogue, ports.index = conductor.catalogue, index
    hits = await visible(
        ports,
        IndexName(TENANT, NAME, record.generation),
        Query(await conductor.world.sparse.encode_query(question, SparseSettings(), by=Requester(TENANT, Lane.BULK))),
        wanted=5,
        fusion=FusionSettings(),
        filter=None,
    )
    return {hit.document_id: hit.text for hit in hits}


def write(text: str) -> dict[str, Any]:
    return {"documents": [{"id": "a", "text": text}]}


async def test_a_document_replaced_after_the_search_is_shown_as_it_is_now(database: Database) -> None:
    conductor = Conductor(database)
    await conductor.run(**write("서울 인구는 많다."))
    shown = await found(conductor, "인구는", lambda: conductor.run(**write("부산 인구는 적다.")))
    assert shown == {"a": "부산 인구는 적다."}


async def test_a_document_deleted_after_the_search_is_not_shown(database: Database) -> None:
    conductor = Conductor(database)
    await conductor.run(**write("서울 인구는 많다."))
    assert await found(conductor, "인구는", lambda: conductor.run(delete=["a"])) == {}


async def test_a_document_whose_new_text_does_not_match_is_not_shown(database: Database) -> None:
    conductor = Conductor(database)
    await conductor.run(**write("서울 인구는 많다."))
    assert await found(conductor, "인구는", lambda: conductor.run(**write("부산 바다."))) == {}


async def test_a_document_that_is_written_but_not_recorded_is_not_shown_yet(database: Database) -> None:
    conductor = Conductor(database)
    await conductor.run(**write("서울 인구는 많다."))
    job = await conductor.submit(**write("부산 인구는 적다."))
    while (one := conductor.at(job)) is not None and one.gate.step != "record":
        await conductor.let_go(one)
    [points] = conductor.world.index.points.values()
    assert len(points) == 2, "old and new points lie beside each other"

    async def nothing() -> None:
        return None

    assert await found(conductor, "인구는", nothing) == {"a": "서울 인구는 많다."}
