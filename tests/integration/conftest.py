"""Fixtures for tests against real servers."""

from collections.abc import AsyncIterator, Iterator

import pytest

from infra.postgres.database import Database
from infra.settings import KafkaSettings, PostgresSettings
from tests.integration.house import House
from tests.integration.jobs import Jobs
from tests.integration.trial import trial_kind


@pytest.fixture
def jobs(database: Database) -> Jobs:
    """Jobs in Postgres that are moved by hand, without broker or worker."""
    return Jobs(database)


@pytest.fixture
def trial(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A kind of work whose single stage does what its input says."""
    yield from trial_kind(monkeypatch)


@pytest.fixture
async def house(
    trial: None, database: Database, postgres: PostgresSettings, kafka: KafkaSettings
) -> AsyncIterator[House]:
    """A running relay and rescuer, and workers on demand, in this process."""
    async with House(database, postgres, kafka) as made:
        yield made
