"""Brings a database to the newest schema; several processes may run it at once.

A migration that cannot keep some of the data has a function `loses(connection) -> str | None`, which says what is lost.
It runs only after the loss was accepted.
"""

import argparse
import asyncio
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from infra.settings import PostgresSettings
from schemas.errors import Conflict, JobError

T = TypeVar("T")

MIGRATION_LOCK: Final = 0x57454C4951  # one migrator at a time; the others wait and then find nothing to do


def config(connection: Connection) -> Config:
    """Alembic's configuration for an open connection, without an ini file."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["connection"] = connection
    return config


@dataclass(frozen=True, slots=True)
class Step:
    """A pending migration. `loses` says what data it cannot keep; None if it keeps everything."""

    revision: str
    title: str
    loses: str | None


def pending(connection: Connection) -> list[Step]:
    """The migrations that this database lacks, in order."""
    scripts = ScriptDirectory.from_config(config(connection))
    now = MigrationContext.configure(connection).get_current_revision()
    steps = []
    for script in reversed(list(scripts.iterate_revisions("head", now or "base"))):
        loses = getattr(script.module, "loses", None)
        steps.append(Step(script.revision, script.doc, loses(connection) if loses else None))
    connection.rollback()
    return steps


def _upgrade(connection: Connection, accept_loss: bool) -> None:
    connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": MIGRATION_LOCK})
    connection.commit()
    try:
        losses = [step.loses for step in pending(connection) if step.loses]
        if losses and not accept_loss:
            raise Conflict(
                f"this version cannot keep {'; '.join(losses)}. Nothing was changed. Back the database up, then accept"
                " the loss with `--accept-loss` (`welip migrate`, `welip up`), or stay with the version before",
                code="upgrade_loses_data",
            )
        command.upgrade(config(connection), "head")
    finally:
        connection.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": MIGRATION_LOCK})
        connection.commit()


async def migrate(url: str, *, accept_loss: bool = False) -> None:
    """Upgrade the database at a `postgresql://` URL to the newest schema.

    Raises `Conflict` (`upgrade_loses_data`) before it changes anything, when data would be lost and `accept_loss` is
    not set.
    """
    await _on_connection(url, lambda connection: _upgrade(connection, accept_loss))


async def plan(url: str) -> list[Step]:
    """The migrations that `migrate` would run."""
    return await _on_connection(url, pending)


async def _on_connection(url: str, work: Callable[[Connection], T]) -> T:
    engine = create_async_engine(
        url.replace("postgresql://", "postgresql+asyncpg://", 1), poolclass=NullPool, connect_args={"timeout": 10}
    )
    try:
        async with engine.connect() as connection:
            return await connection.run_sync(work)
    finally:
        await engine.dispose()


def main(arguments: Sequence[str] = ()) -> int:
    """`welip migrate`: 0 when the schema is the newest, 1 when data would be lost, 3 when Postgres does not answer."""
    parser = argparse.ArgumentParser(prog="welip migrate")
    parser.add_argument("--plan", action="store_true", help="say what would be done, and do nothing")
    parser.add_argument("--accept-loss", action="store_true", help="give up the data that this version cannot keep")
    given = parser.parse_args(arguments)
    url = PostgresSettings().url.get_secret_value()
    try:
        for step in asyncio.run(plan(url)):
            print(f"{step.revision} {step.title}" + (f"; loses {step.loses}" if step.loses else ""))  # noqa: T201
        if not given.plan:
            asyncio.run(migrate(url, accept_loss=given.accept_loss))
            print("the database has the newest schema")  # noqa: T201
    except JobError as error:
        print(f"welip: {error.message}", file=sys.stderr)  # noqa: T201
        return 1
    except OSError as error:
        print(f"welip: Postgres does not answer at WELIP_POSTGRES_URL: {error}", file=sys.stderr)  # noqa: T201
        return 3
    return 0
