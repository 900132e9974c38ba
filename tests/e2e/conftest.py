"""Fixtures for tests against running processes: one embedded stack for all tests that do not break it."""

from collections.abc import AsyncIterator, Iterator
from itertools import count
from pathlib import Path

import httpx
import pytest
import stamina.instrumentation

from producers.client.sync import Client
from tests.conftest import separate_database
from tests.e2e.processes import Up

MAX_FILE_BYTES = 56 * 1024 * 1024


@pytest.fixture(scope="session")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """`welip up` with its defaults, but with a lower file limit and a short drain for jobs that tests leave behind."""
    settings = {"WELIP_GATEWAY_MAX_FILE_BYTES": str(MAX_FILE_BYTES), "WELIP_WORKER_DRAIN": "0.5"}
    with Up(tmp_path_factory.mktemp("stack") / "data", **settings) as running:
        yield running
        for process in ("gateway", "worker"):
            log = (running.data / "logs" / f"{process}.log").read_text()
            assert [line for line in log.splitlines() if ".defect" in line] == []


@pytest.fixture(scope="module")
def stack_database(postgres_url: str) -> Iterator[str]:
    """For the stack of one module: on this session's server, with the newest schema, it starts much sooner."""
    with separate_database(postgres_url) as url:
        yield url


@pytest.fixture(scope="session")
def database_of_guarded(postgres_url: str) -> Iterator[str]:
    with separate_database(postgres_url, "template1") as url:
        yield url


@pytest.fixture(scope="session")
def guarded(database_of_guarded: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """`welip up --postgres URL` with authentication; it may send to receivers on loopback, and logs no secret."""
    data = tmp_path_factory.mktemp("guarded") / "data"
    settings = {
        "WELIP_AUTH": "on",
        "WELIP_WEBHOOK_ALLOW": "127.0.0.1",
        "WELIP_WEBHOOK_POLL": "0.1",
        "WELIP_WORKER_DRAIN": "0.5",
    }
    with Up(data, "--postgres", database_of_guarded, **settings) as running:
        yield running
        logs = "".join(log.read_text() for log in (running.data / "logs").iterdir()) + running.log
        assert "whsec_" not in logs
        assert "of-the-receiver" not in logs  # receivers' URLs may hold secrets
        assert ".defect" not in logs


@pytest.fixture(scope="session")
def client(up: Up) -> Iterator[Client]:
    """The client that users have."""
    stamina.instrumentation.set_on_retry_hooks([])
    with up.client() as connected:
        yield connected


@pytest.fixture(scope="session")
def http(up: Up) -> Iterator[httpx.Client]:
    """For requests written out as in the contract, and for wrong ones."""
    with httpx.Client(base_url=up.url, timeout=120) as raw:
        yield raw


@pytest.fixture
async def async_http(up: Up) -> AsyncIterator[httpx.AsyncClient]:
    """For many requests at once."""
    async with httpx.AsyncClient(base_url=up.url, timeout=120) as raw:
        yield raw


_numbers = count(1)


@pytest.fixture
def collection() -> str:
    """The name of a collection that no other test uses."""
    return f"c{next(_numbers)}"


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """Where a process of this test writes."""
    return tmp_path / "process.log"
