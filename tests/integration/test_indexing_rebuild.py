"""A collection is rebuilt while others carry on: writers, other rebuilds, and an owner who drops it."""

from typing import Any

from infra.postgres.database import Database
from schemas.retrieval import IndexName
from tests.integration.stepping import NAME, TENANT, Conductor

NEW = {"settings": {"chunking": {"max_chars": 60}}}


def documents(names: str, text: str = "글이다.") -> dict[str, Any]:
    return {"documents": [{"id": name, "text": f"{name} {text}"} for name in names]}


async def until_at(conductor: Conductor, job: Any, *steps: str) -> None:
    """Let a job run until its next step is one of these."""
    while (one := conductor.at(job)) is not None and one.gate.step not in steps:
        await conductor.let_go(one)
    assert conductor.at(job) is not None, f"the job ended before {steps}"


async def finish(conductor: Conductor) -> None:
    while conductor.tries:
        await conductor.let_go(conductor.tries[0])
        await conductor.check()


async def test_a_rebuild_ends_however_much_is_written_meanwhile(database: Database) -> None:
    conductor = Conductor(database)
    await conductor.run(**documents("abc"))
    rebuild = await conductor.submit(**NEW)
    written = 0
    writer = await conductor.submit(**documents("a", "0. 글이다."))
    for _ in range(2_000):
        for job in (rebuild, writer):
            # Writers are far faster than the rebuild.
            for _ in range(6 if job is writer else 1):
                if (one := conductor.at(job)) is not None:
                    await conductor.let_go(one)
                    await conductor.check()
        if writer in conductor.ended:
            written += 1
            writer = await conductor.submit(**documents("ab"[written % 2], f"{written}. 글이다."))
        if rebuild in conductor.ended:
            break
    assert conductor.ended[rebuild].error is None
    assert written > 5
    await finish(conductor)
    assert set(await conductor.texts()) == {"a", "b", "c"}
    assert (await conductor.catalogue.collection(TENANT, NAME)).settings.chunking.max_chars == 60


async def test_what_is_deleted_and_replaced_after_it_was_built_is_so_in_the_new_index(database: Database) -> None:
    conductor = Conductor(database)
    await conductor.run(**documents("abc"))
    rebuild = await conductor.submit(**NEW)
    await until_at(conductor, rebuild, "outcome")  # of `plan`
    await conductor.let_go(conductor.at(rebuild))  # type: ignore[arg-type]
    await until_at(conductor, rebuild, "built")
    await conductor.run(delete=["a"])
    await conductor.run(**documents("b", "새 글이다."))
    await conductor.run(**documents("d"))
    await finish(conductor)
    assert await conductor.texts() == {"b": "b 새 글이다.", "c": "c 글이다.", "d": "d 글이다."}


async def test_of_two_rebuilds_at_once_one_is_refused(database: Database) -> None:
    conductor = Conductor(database)
    await conductor.run(**documents("abc"))
    first = await conductor.submit(rebuild=True)
    await until_at(conductor, first, "built")
    refused = await conductor.run(rebuild=True)
    assert refused.error is not None
    assert refused.error.reason == "rebuild_running"
    same = await conductor.submit(**documents("a"))
    await finish(conductor)
    assert conductor.ended[first].error is None
    assert conductor.ended[same].error is None


async def test_the_same_change_by_two_jobs_is_made_once(database: Database) -> None:
    conductor = Conductor(database)
    await conductor.run(**documents("abc"))
    first = await conductor.submit(**NEW)
    await until_at(conductor, first, "built")
    second = await conductor.run(**documents("d"), **NEW)
    assert second.error is None
    assert second.result is not None
    assert (second.result["rebuilt"], second.result["documents"]["added"]) == (0, 1)
    await finish(conductor)
    assert set(await conductor.texts()) == {"a", "b", "c", "d"}
    assert len(conductor.world.index.points) == 1


async def test_a_rebuild_that_was_cancelled_leaves_nothing_to_the_next_job(database: Database) -> None:
    conductor = Conductor(database)
    await conductor.run(**documents("abc"))
    first = await conductor.submit(**NEW)
    await until_at(conductor, first, "prune")
    half = [index for index in conductor.world.index.points if index.generation != await generation(conductor)]
    assert half, "nothing had been built"
    await conductor.cancel(first)
    assert (await conductor.run(**documents("d"))).error is None
    assert list(conductor.world.index.points) == [IndexName(TENANT, NAME, await generation(conductor))]
    assert set(await conductor.texts()) == {"a", "b", "c", "d"}


async def test_a_rebuild_of_which_a_part_was_cancelled_fails_and_changes_nothing(database: Database) -> None:
    conductor = Conductor(database)
    await conductor.run(**documents("abc"))
    before = await generation(conductor)
    rebuild = await conductor.submit(**NEW)
    await until_at(conductor, rebuild, "built")
    part = conductor.at(rebuild)
    assert part is not None
    assert part.parent == rebuild
    await conductor.cancel_child(part)
    await finish(conductor)
    error = conductor.ended[rebuild].error
    assert error is not None
    assert (error.reason, "part rebuild-00001 was cancelled" in error.message) == ("rebuild_cancelled", True)
    assert await generation(conductor) == before
    assert (await conductor.catalogue.collection(TENANT, NAME)).settings.chunking.max_chars != 60
    assert set(await conductor.texts()) == {"a", "b", "c"}


async def test_a_collection_that_is_dropped_ends_its_rebuild(database: Database) -> None:
    conductor = Conductor(database)
    await conductor.run(**documents("abc"))
    rebuild = await conductor.submit(**NEW)
    await until_at(conductor, rebuild, "built")
    await conductor.run(drop=True)
    await conductor.run(**documents("d"))
    await finish(conductor)
    error = conductor.ended[rebuild].error
    assert error is not None
    assert error.reason == "rebuild_lost"
    assert await conductor.texts() == {"d": "d 글이다."}


async def generation(conductor: Conductor) -> int:
    return (await conductor.catalogue.collection(TENANT, NAME)).generation
