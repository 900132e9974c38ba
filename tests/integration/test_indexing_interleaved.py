"""Jobs that write into one collection at once, in every order of their steps, killed and lost at any of them."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import AsyncExitStack
from itertools import combinations
from typing import Any, TypeVar

import pytest

from infra.postgres.database import Database
from infra.settings import PostgresSettings
from tests.conftest import clone
from tests.integration.stepping import Conductor

pytestmark = pytest.mark.timeout(600)  # hundreds of orders, on a busy machine
T = TypeVar("T")
OLD, FIRST, SECOND = "옛 글이다. 둘째 문장.", "처음 글이다. 둘째 문장.", "나중 글이다. 셋째 문장."
SEEDS = 40
"""How many orders are tried; 500 were when this test was written."""
AT_ONCE = 4
"""So many orders run side by side, each on a database of its own: one computes while the others wait for Postgres."""
CHUNKS = {"chunking": {"max_chars": 50, "overlap_sentences": 0}}


def write(text: str, name: str = "x") -> dict[str, Any]:
    return {"documents": [{"id": name, "text": text}]}


SEEN_FROM_OUTSIDE = {"documents", "touch", "upsert", "record", "forget", "prune", "drop", "leftovers", "outcome"}
"""The steps whose order between two jobs matters; steps before one of them are taken together with it."""


async def step(conductor: Conductor, job: Any) -> None:
    """Let the job take one step that others may notice."""
    while (one := conductor.at(job)) is not None:
        name = one.gate.step
        await conductor.let_go(one)
        await conductor.check()
        if name in SEEN_FROM_OUTSIDE and name != "outcome":
            return


@pytest.fixture
async def databases(postgres_url: str) -> AsyncIterator[list[Database]]:
    async with AsyncExitStack() as exits:
        made = []
        for _ in range(AT_ONCE):
            url = await exits.enter_async_context(clone(postgres_url))
            settings = PostgresSettings.model_validate({"url": url, "pool_size": 4})
            made.append(Database(settings, application="test"))
            await made[-1].open()
            exits.push_async_callback(made[-1].close)
        yield made


async def side_by_side(
    databases: list[Database], todo: Iterable[T], do: Callable[[Database, T], Awaitable[None]]
) -> None:
    """Do everything, each thing on the next database that is free."""
    left = iter(todo)

    async def some(database: Database) -> None:
        for one in left:
            try:
                await do(database, one)
            except BaseException as error:
                error.add_note(f"it was {one}")
                raise

    async with asyncio.TaskGroup() as group:
        for database in databases:
            group.create_task(some(database))


async def steps_of(database: Database, before: dict[str, Any] | None, request: dict[str, Any]) -> int:
    """How many such steps a job takes alone."""
    conductor = Conductor(database)
    if before:
        await conductor.run(**before)
    job = await conductor.submit(**request)
    count = 0
    while conductor.at(job) is not None:
        await step(conductor, job)
        count += 1
    await conductor.run(drop=True)
    return count


@pytest.mark.parametrize(
    ("before", "first", "second", "after"),
    [
        pytest.param(write(OLD), write(FIRST), write(SECOND), {"x": SECOND}, id="replace-replace"),
        pytest.param(None, write(FIRST), write(SECOND), {"x": SECOND}, id="add-add"),
        pytest.param(write(OLD), write(FIRST), write(OLD), {"x": OLD}, id="replace-unchanged"),
        pytest.param(write(OLD), write(OLD), write(SECOND), {"x": SECOND}, id="unchanged-replace"),
        pytest.param(write(OLD), write(FIRST), write(FIRST), {"x": FIRST}, id="same-same"),
        pytest.param(write(OLD), write(FIRST), {"delete": ["x"]}, {}, id="replace-delete"),
        pytest.param(write(OLD), {"delete": ["x"]}, write(SECOND), {"x": SECOND}, id="delete-replace"),
        pytest.param(None, write(FIRST), {"delete": ["x"]}, {}, id="add-delete"),
        pytest.param(write(OLD), write(FIRST), {"drop": True}, None, id="replace-drop"),
    ],
)
async def test_of_two_jobs_the_one_planned_later_wins_in_every_order(
    databases: list[Database], before: Any, first: Any, second: Any, after: dict[str, str] | None
) -> None:
    # One too many: a job that must start again takes more steps than alone; leftover steps run after the others.
    lengths = [await steps_of(databases[0], before, request) for request in (first, second)]

    async def in_order(database: Database, turns: tuple[int, ...]) -> None:
        conductor = Conductor(database)
        if before:
            await conductor.run(**before)
        one, two = await conductor.submit(**first), await conductor.submit(**second)
        for job in (one, two):  # in the order in which they were planned
            while (at := conductor.at(job)) is not None and at.gate.step == "begin":
                await conductor.let_go(at)
        for turn in range(sum(lengths)):
            await step(conductor, one if turn in turns else two)
        while conductor.tries:
            await conductor.let_go(conductor.tries[0])
            await conductor.check()
        found = await conductor.texts()
        assert found == after if after is not None else set(found) <= {"x"}, f"one at {turns}"
        await conductor.run(drop=True)
        assert await conductor.texts() == {}

    await side_by_side(databases, combinations(range(sum(lengths)), lengths[0]), in_order)


def some_request(rng: random.Random, number: int) -> dict[str, Any]:
    names = rng.sample("abcd", rng.randint(1, 3))
    match rng.choices(["write", "delete", "both", "rebuild", "settings"], [6, 2, 1, 1, 1])[0]:
        case "write":
            # Only a few texts, so that the same one comes again.
            return {
                "documents": [
                    {"id": name, "text": f"{rng.randint(1, 3)}번 글이다. " * rng.randint(1, 9)} for name in names
                ]
            }
        case "delete":
            return {"delete": names}
        case "both":
            return {
                "documents": [{"id": names[0], "text": f"{number}번 글이다."}],
                "delete": names[1:],
                "rebuild": True,
            }
        case "rebuild":
            return {"rebuild": True}
    return {"settings": {"chunking": {"max_chars": rng.choice([50, 60, 70])}}}


async def wanted(conductor: Conductor) -> dict[str, str]:
    """The result when each job is done at once, in the order in which they were planned."""
    rows = await conductor.jobs.fetch(
        "SELECT id, (carry ->> 'version')::bigint AS version FROM job WHERE id = ANY($1::uuid[]) ORDER BY version",
        list(conductor.requests),
    )
    texts: dict[str, str] = {}
    for row in rows:
        request = conductor.requests[row["id"]]
        ended = conductor.ended[row["id"]]
        if ended.error is not None:
            assert ended.error.reason == "rebuild_running", ended.error
            continue
        for name in request.delete:
            texts.pop(name, None)
        for document in request.documents:
            assert document.text is not None
            texts[document.id] = document.text.strip()
    return texts


@pytest.mark.parametrize("first", range(0, SEEDS, AT_ONCE))
async def test_nothing_is_missing_doubled_or_left_over_whatever_is_killed_or_lost(
    databases: list[Database], first: int
) -> None:
    await side_by_side(databases, range(first, first + AT_ONCE), in_some_order)


async def in_some_order(database: Database, seed: int) -> None:
    """On an empty database."""
    rng = random.Random(seed)
    conductor = Conductor(database)
    await conductor.run(documents=[{"id": name, "text": f"{name} 글이다."} for name in "abcd"], **CHUNKS)
    for number in range(rng.randint(2, 5)):
        await conductor.submit(**some_request(rng, number))
    troubles = 12
    while conductor.tries:
        one = rng.choice(conductor.tries)
        trouble = rng.random()
        if troubles and trouble < 0.1:
            troubles -= 1
            await conductor.kill(one)
        elif troubles and trouble < 0.15 and not one.lost:
            troubles -= 1
            await conductor.lose(one)
        else:
            await conductor.let_go(one)
        await conductor.check()
    assert await conductor.texts() == await wanted(conductor)
