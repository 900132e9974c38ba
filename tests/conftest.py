"""The ground for integration and end-to-end tests: a real PostgreSQL, with a database and a broker for each test."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import uuid4

import asyncpg
import pytest
from hypothesis import HealthCheck, settings

from infra.kafka.embedded import EmbeddedBroker
from infra.local import harness
from infra.local.kafka import KafkaServer
from infra.local.postgres import EmbeddedPostgres
from infra.postgres.database import Database
from infra.postgres.migrate import migrate
from infra.settings import KafkaSettings, PostgresSettings
from schemas.errors import DependencyMissing
from schemas.kinds.registry import routes
from tests.servers import kafka_server

TEMPLATE = "welip_template"

# A busy machine is not the code's fault, so examples have no time limit; each test has one.
settings.register_profile("default", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("default")
settings.register_profile("long", max_examples=1000, stateful_step_count=100, deadline=None, print_blob=True)


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """A database on a PostgreSQL server of this session, from which the tests' databases are made."""
    # Not under pytest's folder: when root runs tests, Postgres runs as another user, whom the next session would lock
    # out.
    with TemporaryDirectory(prefix="welip-postgres-") as folder:
        server = EmbeddedPostgres(Path(folder, "data"))
        try:
            url = server.start()
            asyncio.run(_prepare(url))
            yield url
        finally:
            server.stop()


async def _prepare(url: str) -> None:
    # Nothing here needs to outlive a power cut, and cloning the template is ten times as fast without waiting for the
    # disk.
    for statement in ("ALTER SYSTEM SET fsync = off", "SELECT pg_reload_conf()", f"CREATE DATABASE {TEMPLATE}"):
        await execute(url, statement)
    await migrate(database_of(url, TEMPLATE))


def database_of(url: str, name: str) -> str:
    """The URL of another database on the same server."""
    base, _, options = url.partition("?")
    return f"{base.rpartition('/')[0]}/{name}" + (f"?{options}" if options else "")


async def execute(url: str, statement: str) -> None:
    """Run one statement on a separate connection."""
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


@asynccontextmanager
async def clone(postgres_url: str) -> AsyncIterator[str]:
    """The URL of a database with the newest schema, while the block runs."""
    name = f"test_{uuid4().hex}"
    await execute(postgres_url, f"CREATE DATABASE {name} TEMPLATE {TEMPLATE}")
    yield database_of(postgres_url, name)
    await execute(postgres_url, f"DROP DATABASE {name} WITH (FORCE)")


@contextmanager
def separate_database(postgres_url: str, template: str = TEMPLATE) -> Iterator[str]:
    """The URL of a database that lives longer than a test, such as that of a module's stack; a clone of `template`."""
    name = f"stack_{uuid4().hex}"
    asyncio.run(execute(postgres_url, f"CREATE DATABASE {name} TEMPLATE {template}"))
    yield database_of(postgres_url, name)
    asyncio.run(execute(postgres_url, f"DROP DATABASE {name} WITH (FORCE)"))


@pytest.fixture
async def empty_database_url(postgres_url: str) -> AsyncIterator[str]:
    """A database without tables."""
    name = f"test_{uuid4().hex}"
    await execute(postgres_url, f"CREATE DATABASE {name}")
    yield database_of(postgres_url, name)
    await execute(postgres_url, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
async def database_url(postgres_url: str) -> AsyncIterator[str]:
    """A database with the newest schema, a clone of the migrated template that only this test sees."""
    async with clone(postgres_url) as url:
        yield url


@pytest.fixture
def postgres(database_url: str) -> PostgresSettings:
    """Settings for this test's database."""
    return PostgresSettings.model_validate({"url": database_url, "pool_size": 16})


@pytest.fixture
async def database(postgres: PostgresSettings) -> AsyncIterator[Database]:
    """A pool of connections to this test's database."""
    opened = Database(postgres, application="test")
    await opened.open()
    yield opened
    await opened.close()


@pytest.fixture
def embedded_broker() -> Iterator[EmbeddedBroker]:
    """A broker for this test only: it admits one member to a group, so a member left behind would block the next."""
    broker = EmbeddedBroker([route.topic for route in routes()])
    yield broker
    broker.close()


@pytest.fixture(scope="session")
def kafka_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaServer]:
    """Apache Kafka, shared by the session: summonses of other tests' jobs are stale here and are dropped."""
    yield from kafka_server(tmp_path_factory.mktemp("kafka"))


@pytest.fixture(params=["embedded", pytest.param("apache", marks=pytest.mark.kafka)])
def kafka(request: pytest.FixtureRequest) -> KafkaSettings:
    """Runs each test of the transport on the embedded broker and on Apache Kafka."""
    if request.param == "embedded":
        broker: EmbeddedBroker = request.getfixturevalue("embedded_broker")
        return KafkaSettings(url=broker.url, embedded=True)
    server: KafkaServer = request.getfixturevalue("kafka_broker")
    return KafkaSettings(url=server.bootstrap, embedded=False)


@pytest.fixture(scope="session")
def lm_eval() -> None:
    """The environment of lm-evaluation-harness, made once; 1 GB. Skips what needs it where it cannot be made."""
    try:
        harness.install()
    except DependencyMissing as error:
        pytest.skip(error.message)
