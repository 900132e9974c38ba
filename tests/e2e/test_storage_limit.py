"""A tenant's limit applies to what its jobs store: a small file that unpacks to a large corpus fills no disk."""

import io
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from infra.blobs.counted import STEPS
from producers.client.errors import ApiError
from producers.client.models import File, Job
from producers.client.sync import Client
from tests.e2e.processes import Up, until

LIMIT = 5_000_000


@pytest.fixture(scope="module")
def limited(stack_database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    data = tmp_path_factory.mktemp("limited") / "data"
    settings = {"WELIP_LIMIT_FILE_BYTES": str(LIMIT), "WELIP_WORKER_DRAIN": "0.5"}
    with Up(data, "--postgres", stack_database, **settings) as running:
        yield running
        for process in ("gateway", "worker"):
            log = (running.data / "logs" / f"{process}.log").read_text()
            assert [line for line in log.splitlines() if ".defect" in line] == []


@pytest.fixture
def client(limited: Up) -> Iterator[Client]:
    with limited.client() as connected:
        yield connected


def corpus(rows: int) -> bytes:
    """A table with this many texts of 10,000 letters, small when compressed."""
    texts = [f"{number}번 문서다. " + "가나다라 마바사다. " * 900 for number in range(rows)]
    packed = io.BytesIO()
    table = pa.table({"text": pa.array(texts)})
    pq.write_table(table, packed, compression="zstd", compression_level=1, row_group_size=200, use_dictionary=False)
    return packed.getvalue()


def stored(up: Up, below: str = "") -> int:
    """Bytes in object storage, including those still being written."""
    total = 0
    for folder, _, names in os.walk(up.data / "blobs"):
        for name in names if below in f"{folder}/" else ():
            with suppress(FileNotFoundError):
                total += (Path(folder) / name).stat().st_size
    return total


def index(client: Client, data: bytes, collection: str) -> Job:
    file = client.upload(data, filename="c.parquet", purpose="corpus")
    given = {"collection": collection, "corpus": {"file": file.id, "format": "parquet"}}
    return client.submit("indexing", given)


def test_a_job_ends_where_the_room_ends_and_leaves_nothing(limited: Up, client: Client) -> None:
    job = index(client, corpus(2500), "bomb")
    most = 0

    def ended() -> Job | None:
        nonlocal most
        most = max(most, stored(limited))
        found = client.job(job.id)
        return found if found.state not in ("queued", "running", "retry_wait") else None

    failed = until(ended, "the job has ended")
    assert failed.state == "failed"
    assert failed.error is not None
    assert (failed.error.code, failed.error.retryable) == ("storage_full", False)
    assert str(LIMIT) in failed.error.message
    assert failed.attempt == 1
    assert LIMIT // 2 < most <= LIMIT + LIMIT // STEPS
    until(lambda: stored(limited, "/jobs/") == 0, "what the job wrote is gone")
    with pytest.raises(ApiError) as caught:
        client.upload(b"x" * (LIMIT + 1), filename="large.txt")
    assert caught.value.code == "storage_full"

    def half() -> File | None:
        with suppress(ApiError):
            return client.upload(b"x" * (LIMIT // 2), filename="half.txt")
        return None

    client.delete_file(until(half, "the room is free again").id)


def test_a_cancelled_job_leaves_nothing(limited: Up, client: Client) -> None:
    job = index(client, corpus(60), "cancelled")
    until(lambda: stored(limited, "/jobs/") > 0, "the job has written parts")
    client.cancel(job.id)
    until(lambda: client.job(job.id).state == "cancelled", "the job is cancelled")
    until(lambda: stored(limited, "/jobs/") == 0, "what the job and its parts wrote is gone")


def test_a_collection_keeps_its_texts_and_gives_their_room_back(limited: Up, client: Client) -> None:
    before = stored(limited)
    texts = [{"id": f"d{number}", "text": f"{number}번 문서다. 둘째 문장이다."} for number in range(50)]
    [job] = client.index_documents("kept", texts)
    assert client.wait(job.id, timeout=120).state == "succeeded"
    assert stored(limited, "/collections/") > 0
    until(lambda: stored(limited, "/jobs/") == 0, "parts and points are gone")
    client.delete_collection("kept")
    until(lambda: stored(limited) <= before, "the texts are gone")


def test_parts_of_an_upload_count_and_the_file_takes_their_room(limited: Up, client: Client) -> None:
    part = b"x" * (LIMIT // 10 * 3)
    with httpx.Client(base_url=limited.url, timeout=70) as http:
        asked = {"filename": "a.bin", "purpose": "user_data", "mime_type": "text/plain", "bytes": 2 * len(part)}
        upload = http.post("/v1/uploads", json=asked).json()["id"]

        def add() -> httpx.Response:
            return http.post(f"/v1/uploads/{upload}/parts", files={"data": ("part", part)})

        parts = [until(lambda: add().json().get("id"), "there is room") for _ in range(2)]
        with pytest.raises(ApiError) as caught:
            client.upload(b"y" * (LIMIT // 2), filename="y.txt")
        assert caught.value.code == "storage_full"
        done = http.post(f"/v1/uploads/{upload}/complete", json={"part_ids": parts}).json()
        assert (done["status"], done["file"]["bytes"]) == ("completed", 2 * len(part))
    until(lambda: stored(limited, "/uploads/") == 0, "the parts are gone")
    client.delete_file(done["file"]["id"])
