"""One fixture per port, parametrised over its adapters, so that every contract test runs against each of them."""

import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from qdrant_client import AsyncQdrantClient

from consumers.stages.ports import Blobs, VectorIndex
from infra.blobs.folder import FolderBlobs
from infra.blobs.s3 import MinioBlobs
from infra.local.minio import MinioServer
from infra.vectors.edge import EdgeIndex
from infra.vectors.server import QdrantIndex
from tests.contract.apart import Beside, Suite
from tests.servers import minio_server

HERE = Path(__file__).parent


def suite_of(item: pytest.Item) -> Suite | None:
    """The suite that a test asks for its end."""
    return getattr(item.module, "SUITE", None) if isinstance(item, pytest.Function) else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whoever waits for another pytest comes last in this folder, so that it waits little."""
    places = [at for at, item in enumerate(items) if HERE in item.path.parents]
    ours = sorted((items[at] for at in places), key=lambda item: suite_of(item) is not None)
    for at, item in zip(places, ours, strict=True):
        items[at] = item


@pytest.fixture(scope="session", autouse=True)
def beside(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Beside]:
    """Those suites begin with the first test of this folder, if a test of theirs is to run."""
    suites = {suite.tests: suite for item in request.session.items if (suite := suite_of(item)) is not None}
    with Beside.running({tmp_path_factory.mktemp("apart"): suite for suite in suites.values()}) as running:
        yield running


@pytest.fixture(scope="session")
def minio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MinioServer]:
    yield from minio_server(tmp_path_factory.mktemp("minio"))


@pytest.fixture(params=["folder", pytest.param("minio", marks=pytest.mark.minio)])
async def blobs(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Blobs]:
    if request.param == "folder":
        yield FolderBlobs(tmp_path)
        return
    server: MinioServer = request.getfixturevalue("minio")
    store = MinioBlobs(server.url, server.access_key, server.secret_key, f"test-{uuid4().hex[:12]}")
    await store.ensure()
    yield store
    await store.close()


@pytest.fixture(params=["edge", "qdrant-local", "qdrant-server"])
async def index(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[VectorIndex]:
    """`qdrant-local` is the Qdrant client's in-memory engine; it runs the server adapter's code without a server."""
    made: VectorIndex
    if request.param == "edge":
        made = EdgeIndex(tmp_path)
    elif request.param == "qdrant-local":
        made = QdrantIndex(client=AsyncQdrantClient(location=":memory:"))
    elif url := os.environ.get("WELIP_TEST_QDRANT_URL"):
        made = QdrantIndex(url, os.environ.get("WELIP_TEST_QDRANT_API_KEY"))
    else:
        pytest.skip("WELIP_TEST_QDRANT_URL names no Qdrant server to test against")
    yield made
    await made.close()
