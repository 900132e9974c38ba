"""The same stack on real outside parts: Apache Kafka and MinIO instead of the embedded broker and the folder."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.local.kafka import KafkaServer
from infra.local.minio import MinioServer
from infra.local.sample import documents, questions
from tests.e2e.processes import Up, until
from tests.servers import kafka_server, minio_server

pytestmark = [pytest.mark.kafka, pytest.mark.minio]


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaServer]:
    yield from kafka_server(tmp_path_factory.mktemp("kafka"))


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MinioServer]:
    yield from minio_server(tmp_path_factory.mktemp("minio"))


@pytest.fixture(scope="module")
def real(
    broker: KafkaServer, storage: MinioServer, stack_database: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Up]:
    settings = {
        "WELIP_KAFKA_URL": broker.bootstrap,
        "WELIP_BLOBS_URL": f"s3+{storage.url}/welip",
        "WELIP_BLOBS_ACCESS_KEY": storage.access_key,
        "WELIP_BLOBS_SECRET_KEY": storage.secret_key,
    }
    with Up(tmp_path_factory.mktemp("real") / "data", "--postgres", stack_database, **settings) as running:
        yield running


def test_questions_are_answered_through_kafka_and_minio(real: Up) -> None:
    with real.client(timeout=60) as client:
        [job] = client.index_documents("ko", documents())
        assert client.wait(job.id, timeout=120).state == "succeeded"
        for question in [q for q in questions() if q["document_id"]][:10]:
            answer = client.ask("ko", question["question"], timeout=120)
            assert answer.citations[0].document_id == question["document_id"]


def test_an_uploaded_file_is_stored_in_minio_and_can_be_downloaded(real: Up, tmp_path: Path) -> None:
    text = tmp_path / "글.txt"
    text.write_text("한라산은 제주도에 있다. " * 200_000, encoding="utf-8")
    with real.client(timeout=60) as client:
        stored = client.upload(text)
        client.download(stored.id, tmp_path / "back.txt")
        assert (tmp_path / "back.txt").read_bytes() == text.read_bytes()
        client.delete_file(stored.id)
    assert not (real.data / "blobs").exists()


def test_jobs_accepted_while_kafka_is_away_run_when_it_is_back(real: Up, broker: KafkaServer) -> None:
    with real.client(timeout=60) as client:
        broker.kill()
        jobs = [client.submit("noop", {}).id for _ in range(20)]
        assert all(client.job(job).state == "queued" for job in jobs)
        broker.restart()
        until(lambda: all(client.job(job).state == "succeeded" for job in jobs), "all jobs ran")
