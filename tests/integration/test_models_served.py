"""Who serves a model is told by sessions: a worker that dies serves nothing from that moment."""

import asyncio

import asyncpg

from infra.postgres.database import Database
from infra.postgres.queries import claim, deaths
from infra.settings import PostgresSettings

NAMES = ["qwen3-8b", "모델", "a.b", "none"]


async def served(database: Database) -> set[str]:
    async with database.connection() as connection:
        return await claim.served(connection, NAMES)


async def test_a_model_is_served_as_long_as_a_worker_that_serves_it_lives(
    database: Database, postgres: PostgresSettings
) -> None:
    url = postgres.url.get_secret_value()
    one, other = await asyncpg.connect(url), await asyncpg.connect(url)
    try:
        assert await served(database) == set()
        await claim.attend(one, "one", NAMES[:3])
        await claim.attend(other, "other", ["a.b"])
        assert await served(database) == set(NAMES[:3])
        one.terminate()
        async with asyncio.timeout(60):
            while await served(database) != {"a.b"}:
                await asyncio.sleep(0.02)
    finally:
        one.terminate()
        other.terminate()


async def test_the_locks_of_models_are_no_living_workers(database: Database, postgres: PostgresSettings) -> None:
    session = await asyncpg.connect(postgres.url.get_secret_value())
    try:
        await session.execute(claim.SERVE, claim.SERVING, ["gone"])
        async with database.connection() as connection:
            await connection.execute(
                "INSERT INTO job (id, tenant, kind, stage, lane, state, max_attempts, input, worker, lease_until)"
                " VALUES (gen_random_uuid(), 't', 'noop', 'run', 'bulk', 'running', 1, '{}', 'gone', now())"
            )
            assert list(await deaths.absent(connection)) == ["gone"]
    finally:
        await session.close()
