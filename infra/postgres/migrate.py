"""Brings a database to the newest schema; safe to run by several processes at once."""

import asyncio
import sys
from pathlib import Path
from typing import Final

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from infra.settings import PostgresSettings

MIGRATION_LOCK: Final = 0x57454C4951  # one migrator at a time; the others wait and find nothing to do


def config(connection: Connection) -> Config:
    """Alembic's configuration on an open connection; no ini file."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["connection"] = connection
    return config


def _upgrade(connection: Connection) -> None:
    connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": MIGRATION_LOCK})
    connection.commit()
    try:
        command.upgrade(config(connection), "head")
    finally:
        connection.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": MIGRATION_LOCK})
        connection.commit()


async def migrate(url: str) -> None:
    """Upgrade the database at a `postgresql://` URL to the newest schema."""
    engine = create_async_engine(
        url.replace("postgresql://", "postgresql+asyncpg://", 1), poolclass=NullPool, connect_args={"timeout": 10}
    )
    try:
        async with engine.connect() as connection:
            await connection.run_sync(_upgrade)
    finally:
        await engine.dispose()


def main() -> int:
    """`welip migrate`: 0 when the schema is the newest, 3 when Postgres does not answer."""
    try:
        asyncio.run(migrate(PostgresSettings().url.get_secret_value()))
    except OSError as error:
        print(f"welip: Postgres does not answer at WELIP_POSTGRES_URL: {error}", file=sys.stderr)  # noqa: T201
        return 3
    print("the database has the newest schema")  # noqa: T201
    return 0
