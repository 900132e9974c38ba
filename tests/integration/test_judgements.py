"""What judges said is kept in Postgres: found by every worker, charged once, and removed when nobody uses it."""

import asyncio
from datetime import timedelta
from pathlib import Path
from uuid import UUID

from infra.blobs.folder import FolderBlobs
from infra.postgres.database import Database
from infra.postgres.judgements import PostgresJudgements
from infra.settings import RetentionSettings
from producers.retention import Retention
from tests.integration.jobs import Jobs


async def run_of(database: Database) -> UUID:
    [run] = await Jobs(database).submit()
    return run


async def test_a_reply_is_found_again_and_each_one_is_charged(database: Database) -> None:
    run, other = await run_of(database), await run_of(database)
    kept = PostgresJudgements(database)
    assert await kept.find(b"k") is None
    assert await kept.cost(run) == (0, 0.0)
    assert await kept.keep(run, b"k", '{"verdict": "좋음"}', 10, 0.5) == (10, 0.5)
    assert await kept.keep(run, b"other", None, 5, 0.25) == (15, 0.75)
    assert await kept.keep(other, b"k", "another", 1, 0.0) == (1, 0.0)
    assert await kept.find(b"k") == '{"verdict": "좋음"}', "the first one stays"
    assert await kept.find(b"other") is None
    assert await kept.cost(run) == (15, 0.75)


async def test_whoever_looks_beside_others_finds_its_own_reply(database: Database) -> None:
    run, kept = await run_of(database), PostgresJudgements(database)
    for n in range(0, 40, 2):
        await kept.keep(run, b"%d" % n, f"reply {n}", 1, 0.0)
    found = await asyncio.gather(*(kept.find(b"%d" % (n % 40)) for n in range(60)))
    assert found == [f"reply {n % 40}" if n % 2 == 0 else None for n in range(60)]
    await kept.close()


async def test_calls_that_end_at_once_are_all_charged(database: Database) -> None:
    run, kept = await run_of(database), PostgresJudgements(database)
    await asyncio.gather(*(kept.keep(run, b"%d" % (n % 7), "reply", 2, 0.125) for n in range(40)))
    assert await kept.cost(run) == (80, 5.0)


async def test_unused_replies_are_removed_and_used_ones_stay(database: Database, tmp_path: Path) -> None:
    run, kept = await run_of(database), PostgresJudgements(database)
    for n in range(9):
        await kept.keep(run, b"%d" % n, "reply", 1, 0.0)
    async with database.connection() as connection:
        await connection.execute("UPDATE judgement SET used_at = now() - interval '91 days'")
    assert await kept.find(b"3") == "reply"  # used, so its time starts again
    keep = Retention(database, FolderBlobs(tmp_path), RetentionSettings(batch=4))
    assert (await keep.round())["judgements"] == 8
    assert await kept.find(b"3") == "reply"
    forever = Retention(database, FolderBlobs(tmp_path), RetentionSettings(judgements=timedelta(0)))
    async with database.connection() as connection:
        await connection.execute("UPDATE judgement SET used_at = now() - interval '9 years'")
    assert "judgements" not in await forever.round()


async def test_what_a_run_paid_goes_with_its_job(database: Database) -> None:
    run, kept = await run_of(database), PostgresJudgements(database)
    await kept.keep(run, b"k", "reply", 1, 0.0)
    async with database.connection() as connection:
        await connection.execute("DELETE FROM job WHERE id = $1", run)
    assert await kept.cost(run) == (0, 0.0)
    assert await kept.find(b"k") == "reply", "another run may need it"
