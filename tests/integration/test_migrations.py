"""The migrations make the tables that the code describes: all at once, one at a time, and back again."""

import asyncio
from collections.abc import Callable
from typing import Any

import asyncpg
import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import create_async_engine

from infra.postgres import migrate, tables
from infra.postgres.newest import is_newest, newest_revision
from schemas.errors import Conflict


async def run_sync(url: str, work: Callable[[Connection], Any]) -> Any:
    engine = create_async_engine(url.replace("postgresql://", "postgresql+asyncpg://", 1))
    try:
        async with engine.begin() as connection:
            return await connection.run_sync(work)
    finally:
        await engine.dispose()


async def schema(url: str) -> set[tuple[Any, ...]]:
    connection = await asyncpg.connect(url)
    try:
        columns = await connection.fetch(
            "SELECT table_name, column_name, data_type, is_nullable, column_default, is_identity"
            " FROM information_schema.columns WHERE table_schema = 'public'"
        )
        indexes = await connection.fetch("SELECT indexdef FROM pg_indexes WHERE schemaname = 'public'")
        constraints = await connection.fetch(
            "SELECT conrelid::regclass::text, pg_get_constraintdef(oid) FROM pg_constraint"
            " WHERE connamespace = 'public'::regnamespace"
        )
        return {tuple(row) for rows in (columns, indexes, constraints) for row in rows}
    finally:
        await connection.close()


async def test_migrations_make_the_tables_that_the_code_describes(database_url: str) -> None:
    def differences(connection: Connection) -> Any:
        return compare_metadata(MigrationContext.configure(connection), tables.Job.metadata)

    assert await run_sync(database_url, differences) == []


async def test_the_tables_themselves_give_the_same_schema(database_url: str, empty_database_url: str) -> None:
    await run_sync(empty_database_url, tables.Job.metadata.create_all)
    migrated = {entry for entry in await schema(database_url) if "alembic_version" not in str(entry)}
    assert migrated == await schema(empty_database_url)


async def test_a_database_with_the_newest_schema_is_known_without_alembic(
    database_url: str, empty_database_url: str
) -> None:
    heads = await run_sync(
        database_url, lambda connection: ScriptDirectory.from_config(migrate.config(connection)).get_heads()
    )
    assert heads == [newest_revision()]
    assert await is_newest(database_url)
    assert not await is_newest(empty_database_url)
    await run_sync(database_url, lambda connection: command.downgrade(migrate.config(connection), "-1"))
    assert not await is_newest(database_url)


async def test_a_downgrade_and_an_upgrade_lead_back(database_url: str) -> None:
    before = await schema(database_url)
    await run_sync(database_url, lambda connection: command.downgrade(migrate.config(connection), "base"))
    assert [entry for entry in await schema(database_url) if "alembic_version" not in str(entry)] == []
    await migrate.migrate(database_url)
    assert await schema(database_url) == before


async def test_processes_that_migrate_at_once_do_not_disturb_each_other(
    empty_database_url: str, database_url: str
) -> None:
    await asyncio.gather(*(migrate.migrate(empty_database_url) for _ in range(4)))
    assert await schema(empty_database_url) == await schema(database_url)


async def test_a_database_that_is_the_newest_stays_as_it_is(database_url: str) -> None:
    before = await schema(database_url)
    await migrate.migrate(database_url)
    assert await schema(database_url) == before


async def test_the_state_of_a_job_is_checked_by_the_table(database_url: str) -> None:
    connection = await asyncpg.connect(database_url)
    try:
        with pytest.raises(asyncpg.CheckViolationError):
            await connection.execute(
                "INSERT INTO job (id, tenant, kind, stage, lane, state, max_attempts, input)"
                " VALUES (gen_random_uuid(), 't', 'noop', 'run', 'bulk', 'asleep', 1, '{}')"
            )
    finally:
        await connection.close()


async def test_an_upgrade_that_would_lose_collections_changes_nothing_unasked(empty_database_url: str) -> None:
    await run_sync(empty_database_url, lambda connection: command.upgrade(migrate.config(connection), "0003"))
    connection = await asyncpg.connect(empty_database_url)
    try:
        await connection.execute("INSERT INTO collection (tenant, name, encoder) VALUES ('t', 'ko', 'e')")
        with pytest.raises(Conflict, match="documents of 1 collections") as refused:
            await migrate.migrate(empty_database_url)
        assert refused.value.reason == "upgrade_loses_data"
        assert await connection.fetchval("SELECT version_num FROM alembic_version") == "0003"
        assert [step.revision for step in await migrate.plan(empty_database_url) if step.loses] == ["0004"]
        await migrate.migrate(empty_database_url, accept_loss=True)
        assert await connection.fetchval("SELECT count(*) FROM collection") == 0
        assert await migrate.plan(empty_database_url) == []
    finally:
        await connection.close()
