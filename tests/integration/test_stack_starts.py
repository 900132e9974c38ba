"""PostgreSQL of `welip up` starts once, with its settings."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import asyncpg
import pytest

from infra.local.postgres import SETTINGS, EmbeddedPostgres


@pytest.fixture
def data() -> Iterator[Path]:
    # Not under pytest's folder: when root runs tests, Postgres runs as another user.
    with TemporaryDirectory(prefix="welip-postgres-") as folder:
        yield Path(folder, "data")


def test_postgres_keeps_its_settings_and_starts_once_from_then_on(data: Path) -> None:
    async def shown(url: str) -> dict[str, str]:
        connection = await asyncpg.connect(url)
        try:
            return {name: await connection.fetchval(f"SHOW {name}") for name in SETTINGS}
        finally:
            await connection.close()

    def starts() -> int:
        return (data / "log").read_text().count("starting PostgreSQL")

    for more in (2, 1):
        before = starts() if (data / "log").exists() else 0
        server = EmbeddedPostgres(data)
        try:
            assert asyncio.run(shown(server.start())) == SETTINGS
        finally:
            server.stop()
        assert starts() - before == more, "a second time for the settings alone"
