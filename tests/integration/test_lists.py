"""Lists are correct for every filter, bounded in what they read and return, and read in turns."""

import asyncio
import itertools
import json
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

import gateway.http.reads
import infra.postgres.catalogue.writer
import infra.postgres.queries.catalogue
from gateway.http.reads import AT_ONCE, Reads, ReadTooSlow, TooManyReads
from infra.postgres.database import Database
from infra.postgres.queries import listing
from infra.settings import LimitSettings, PostgresSettings
from producers.client.async_ import AsyncClient
from schemas.collections import CollectionPage, CollectionSettings
from schemas.errors import Conflict
from schemas.kinds.registry import KINDS
from schemas.lifecycle import JobState
from tests.integration.jobs import Jobs
from tests.integration.test_limits import serving
from tests.integration.whole_catalogue import PostgresCatalogue

FILTERS = list(itertools.product([None, "noop", "indexing"], [None, "succeeded", "failed", "running"], [False, True]))
BLOCKS = 400
"""How many 8 KiB blocks a page of 21 may touch among 40,000 jobs of which the filter leaves almost nothing."""

EXPLAIN = "EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON)"
FILL = """
INSERT INTO job (id, tenant, kind, stage, lane, state, max_attempts, input, parent)
SELECT uuidv7(), 't', $1, 'run', 'interactive', $2, 5, '{}', $3 FROM generate_series(1, $4)
"""


async def fill(connection: Any, count: int, kind: str = "noop", state: str = "succeeded", parent: Any = None) -> None:
    await connection.execute(FILL, kind, state, parent, count)


async def parent_of(connection: Any) -> UUID:
    found: UUID = await connection.fetchval(f"{FILL} RETURNING id", "indexing", "running", None, 1)
    return found


async def test_a_list_holds_what_the_filter_says_page_by_page(database: Database) -> None:
    async with database.connection() as connection:
        parent = await parent_of(connection)
        for kind, state, of in itertools.product(KINDS, JobState, (None, parent)):
            await fill(connection, 3, kind, state, of)
        every = await connection.fetch("SELECT id, kind, state, parent FROM job ORDER BY id DESC")
        for kind, state, children in FILTERS:
            wanted = [
                row["id"]
                for row in every
                if row["parent"] == (parent if children else None)
                and kind in (None, row["kind"])
                and state in (None, row["state"])
            ]
            listed: list[UUID] = []
            while True:
                page = await listing.jobs(
                    connection,
                    "t",
                    kind=kind,
                    state=state,
                    parent=parent if children else None,
                    after=listed[-1] if listed else None,
                    limit=4,
                )
                listed += [row["id"] for row in page]
                if not page:
                    break
            assert listed == wanted, (kind, state, children)
            assert not await listing.jobs(
                connection, "u", kind=kind, state=state, parent=parent if children else None, after=None, limit=4
            ), "another tenant's"


async def test_what_a_filter_leaves_out_is_not_read(database: Database) -> None:
    async with database.connection() as connection:
        parent = await parent_of(connection)
        await fill(connection, 20_000)
        await fill(connection, 20_000, parent=parent)
        await connection.execute("VACUUM ANALYZE job")
        for kind, state, children in FILTERS:
            statement = listing.page(children=children, kind=kind is not None, state=state is not None)
            filters = [value for value in (parent if children else None, kind, state) if value is not None]
            found = await connection.fetchval(f"{EXPLAIN} {statement}", "t", listing.LAST_ID, 21, *filters)
            [explained] = json.loads(found)
            touched = explained["Plan"]["Shared Hit Blocks"] + explained["Plan"]["Shared Read Blocks"]
            assert touched <= BLOCKS, (kind, state, children, json.dumps(explained, indent=1))


async def test_submitted_jobs_are_found_behind_many_children(database: Database) -> None:
    async with database.connection() as connection:
        parent = await parent_of(connection)
        await fill(connection, 20_000, parent=parent)
        await connection.execute("VACUUM ANALYZE job")
        statement = listing.page(children=False, kind=False, state=False)
        explained = await connection.fetchval(f"{EXPLAIN} {statement}", "t", listing.LAST_ID, 21)
        [row] = await listing.jobs(connection, "t", kind=None, state=None, parent=None, after=None, limit=21)
    assert row["id"] == parent
    assert json.loads(explained)[0]["Plan"]["Shared Hit Blocks"] <= BLOCKS


class TestTurns:
    async def test_a_tenant_s_many_lists_leave_room_for_others(self, database: Database) -> None:
        reads = Reads(database)
        release = asyncio.Event()
        reading = 0

        async def hold() -> None:
            nonlocal reading
            async with reads.connection("many"):
                reading += 1
                await release.wait()

        held = [asyncio.create_task(hold()) for _ in range(50)]
        async with asyncio.timeout(60):
            while reading < AT_ONCE:
                await asyncio.sleep(0)
            async with reads.connection("other") as connection:
                assert await connection.fetchval("SELECT 1") == 1
        assert reading == AT_ONCE
        release.set()
        await asyncio.gather(*held)
        assert reading == 50
        assert reads._turns == {}

    async def test_too_many_are_refused(self, database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(gateway.http.reads, "WAITING_AT_MOST", 0)
        reads = Reads(database)
        async with reads.connection("t"), reads.connection("t"):
            with pytest.raises(TooManyReads):
                async with reads.connection("t"):
                    pass

    async def test_one_that_takes_too_long_is_ended(self, database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(gateway.http.reads, "WITHIN_S", 0.2)
        with pytest.raises(ReadTooSlow):
            async with Reads(database).connection("t") as connection:
                await connection.execute("SELECT pg_sleep(60)")
        async with database.connection() as connection:
            running = "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query LIKE 'SELECT pg_sleep%'"
            async with asyncio.timeout(60):
                while await connection.fetchval(running):
                    await asyncio.sleep(0.02)


class TestCollections:
    async def test_they_are_listed_by_name_without_what_is_large(
        self, jobs: Jobs, postgres: PostgresSettings, tmp_path: Path
    ) -> None:
        catalogue = PostgresCatalogue(jobs.database)
        [job] = await jobs.submit()
        words = [f"낱말{number}" for number in range(10_000)]
        large = CollectionSettings().changed({"sparse": {"words": words}})
        names = [f"c{number:02}" for number in range(45)]
        for name in reversed(names):
            await catalogue.begin(job, "ours", name, settings=large, encoder="kiwi", embedder=None)
        async with serving(jobs.database, postgres, tmp_path, LimitSettings()) as clients:
            ours = clients["ours"]
            listed: list[str] = []
            while True:
                answer = await ours.get("/v1/collections", params={"after": listed[-1]} if listed else {})
                assert len(answer.content) < 20_000
                found = CollectionPage.model_validate_json(answer.content)
                listed += [one.name for one in found.data]
                if not found.has_more:
                    break
            assert listed == names
            whole = (await ours.get("/v1/collections/c00")).json()
            assert len(whole["settings"]["sparse"]["words"]) == 10_000
            assert (await clients["theirs"].get("/v1/collections")).json()["data"] == []
            async with AsyncClient("http://gateway", "ours", transport=ours._transport) as client:
                assert [one.name for one in await client.collections()] == names

    async def test_a_tenant_may_make_so_many_and_no_more_at_once_either(
        self, jobs: Jobs, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for module in (infra.postgres.queries.catalogue, infra.postgres.catalogue.writer):
            monkeypatch.setattr(module, "MAX_COLLECTIONS", 3)
        catalogue = PostgresCatalogue(jobs.database)
        [job] = await jobs.submit()

        async def make(tenant: str, name: str) -> str:
            try:
                await catalogue.begin(job, tenant, name, settings=CollectionSettings(), encoder="kiwi", embedder=None)
            except Conflict as error:
                return error.reason
            return "made"

        done = await asyncio.gather(*[make("t", f"c{number}") for number in range(8)])
        assert sorted(done) == ["made"] * 3 + ["too_many_collections"] * 5
        assert len(await jobs.fetch("SELECT FROM collection WHERE tenant = 't'")) == 3
        there = next(name for number, outcome in enumerate(done) if outcome == "made" for name in [f"c{number}"])
        assert await make("t", there) == "made", "one that is there already is used as before"
        assert await make("other", "c") == "made"
