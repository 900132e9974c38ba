"""The servers that WeLIP starts itself: they keep their data, survive a kill, and explain failures."""

import asyncio
import os
import signal
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError
from aiokafka.structs import TopicPartition

from infra.blobs.s3 import MinioBlobs
from infra.local import kafka, minio
from infra.local.child import LOOPBACK, Child, accepts, free_port
from infra.local.kafka import KafkaServer
from infra.local.minio import MinioServer
from schemas.errors import Conflict, DependencyMissing, DependencyUnavailable
from tests.servers import kafka_server, skip_unless_kafka, skip_unless_minio


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaServer]:
    yield from kafka_server(tmp_path_factory.mktemp("kafka"))


async def make_topic(server: KafkaServer, name: str) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=server.bootstrap)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(name, num_partitions=1, replication_factor=1)])
    finally:
        await admin.close()


async def send(server: KafkaServer, topic: str, *values: bytes) -> None:
    async with AIOKafkaProducer(bootstrap_servers=server.bootstrap, acks="all", enable_idempotence=True) as producer:
        for value in values:
            await producer.send_and_wait(topic, value)


async def receive(server: KafkaServer, topic: str, count: int, group: str | None = None) -> list[bytes]:
    consumer = AIOKafkaConsumer(
        topic,
        bootstrap_servers=server.bootstrap,
        group_id=group,
        auto_offset_reset="earliest",
        enable_auto_commit=False,
    )
    async with consumer, asyncio.timeout(60):
        values = []
        while len(values) < count:
            message = await consumer.getone()
            values.append(message.value)
            if group:
                await consumer.commit({TopicPartition(topic, message.partition): message.offset + 1})
        return values


@pytest.mark.kafka
class TestKafka:
    async def test_acknowledged_messages_survive_a_kill_and_a_restart(self, broker: KafkaServer) -> None:
        await make_topic(broker, "kept")
        await send(broker, "kept", b"1", b"2")
        broker.kill()
        broker.start()
        await send(broker, "kept", b"3")
        broker.restart()
        assert await receive(broker, "kept", 3) == [b"1", b"2", b"3"]

    async def test_committed_offsets_survive_a_restart(self, broker: KafkaServer) -> None:
        await make_topic(broker, "committed")
        await send(broker, "committed", b"1", b"2", b"3")
        assert await receive(broker, "committed", 2, group="g") == [b"1", b"2"]
        broker.restart()
        assert await receive(broker, "committed", 1, group="g") == [b"3"]

    async def test_topics_are_not_made_by_accident(self, broker: KafkaServer) -> None:
        async with AIOKafkaProducer(bootstrap_servers=broker.bootstrap, request_timeout_ms=2000) as producer:
            with pytest.raises(KafkaError):
                await producer.send_and_wait("never-made", b"x")

    def test_it_cannot_be_started_twice(self, broker: KafkaServer, tmp_path: Path) -> None:
        with pytest.raises(Conflict):
            broker.start()
        with pytest.raises(Conflict, match="in use"):
            KafkaServer(tmp_path, port=broker.port).start()

    async def test_the_command_runs_until_interrupted(self, tmp_path: Path) -> None:
        skip_unless_kafka()
        port = free_port()
        lines = await run_until_interrupted("infra.local.kafka", tmp_path, port, b"WELIP_KAFKA_EMBEDDED=false")
        assert f"WELIP_KAFKA_URL={LOOPBACK}:{port}" in lines


@pytest.mark.minio
class TestMinio:
    async def test_objects_and_credentials_survive_a_kill_and_a_new_owner(self, tmp_path: Path) -> None:
        skip_unless_minio()
        with MinioServer(tmp_path) as server:
            store = MinioBlobs(server.url, server.access_key, server.secret_key, "kept")
            await store.ensure()
            await store.put("t/a", b"x")
            server.kill()
            server.start()
            assert await store.get("t/a") == b"x"
            await store.close()
        with MinioServer(tmp_path) as again:
            assert (again.access_key, again.secret_key) == (server.access_key, server.secret_key)
            store = MinioBlobs(again.url, again.access_key, again.secret_key, "kept")
            assert await store.get("t/a") == b"x"
            await store.close()
        assert stat.S_IMODE((tmp_path / "credentials.json").stat().st_mode) == 0o600
        assert not accepts(again.port)

    def test_two_servers_have_different_credentials(self, tmp_path: Path) -> None:
        skip_unless_minio()
        with MinioServer(tmp_path / "a") as a, MinioServer(tmp_path / "b") as b:
            assert a.secret_key != b.secret_key
            with pytest.raises(Conflict):
                a.start()
            with pytest.raises(Conflict, match="in use"):
                MinioServer(tmp_path / "c", port=b.port).start()

    def test_a_start_that_fails_gives_the_server_s_own_reason(self, tmp_path: Path) -> None:
        skip_unless_minio()
        (tmp_path / "credentials.json").write_text('{"access_key": "welip", "secret_key": "short"}')
        with pytest.raises(DependencyUnavailable, match="ended while starting: FATAL Unable to validate credentials"):
            MinioServer(tmp_path).start()

    async def test_the_command_runs_until_interrupted(self, tmp_path: Path) -> None:
        skip_unless_minio()
        port = free_port()
        lines = await run_until_interrupted("infra.local.minio", tmp_path, port, b"WELIP_BLOBS_SECRET_KEY=")
        assert f"WELIP_BLOBS_URL=s3+http://{LOOPBACK}:{port}/welip" in lines


async def run_until_interrupted(module: str, data: Path, port: int, last_line: bytes) -> list[str]:
    """Start the command, read until `last_line`, send Ctrl-C; returns its output. The server must be gone with it."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", module, "--data", str(data), "--port", str(port)), stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    lines = []
    async with asyncio.timeout(120):
        while not lines or not lines[-1].startswith(last_line):
            line = await process.stdout.readline()
            assert line, f"it ended early: {lines}"
            lines.append(line)
        process.send_signal(signal.SIGINT)
        assert await process.wait() == 0
    assert not accepts(port)
    return [line.decode().strip() for line in lines]


def test_missing_tools_are_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("WELIP_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", str(tmp_path))
    assert kafka.installed() is None
    assert minio.installed() is None
    with pytest.raises(DependencyMissing, match="Java 17"):
        kafka.install()
    with pytest.raises(DependencyMissing, match="Go"):
        minio.install()
    (tmp_path / "java").write_text("#!/bin/sh\necho 'openjdk version \"11.0.2\" 2019-01-15' >&2\n")
    (tmp_path / "java").chmod(0o755)
    with pytest.raises(DependencyMissing, match=r"11\.0\.2"):
        kafka.install()
    (tmp_path / "java").write_text("#!/bin/sh\necho 'openjdk version \"21.0.2\" 2024-01-15' >&2\n")
    with pytest.raises(DependencyMissing, match="Maven"):
        kafka.install()


def test_a_failed_build_is_reported_and_leaves_no_half_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("WELIP_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    for name in ("go", "mvn", "java"):
        script = tmp_path / name
        script.write_text(
            "#!/bin/sh\n"
            "[ $1 = -version ] && { echo 'version \"17.0.1\"' >&2; exit; }\n"
            "echo no network; echo no network >&2; exit 1\n"
        )
        script.chmod(0o755)
    with pytest.raises(DependencyMissing, match="no network"):
        minio.install()
    with pytest.raises(DependencyMissing, match="no network"):
        kafka.install()
    assert minio.installed() is None
    assert kafka.installed() is None


def test_a_child_that_never_gets_ready_is_ended(tmp_path: Path) -> None:
    child = Child("sleeper", [sys.executable, "-c", "import time; time.sleep(60)"], log=tmp_path / "log")
    with pytest.raises(DependencyUnavailable, match="not ready"):
        child.start(lambda: False, deadline_s=0.5)
    assert not child.running


def test_a_child_that_ignores_the_request_to_stop_is_killed(tmp_path: Path) -> None:
    code = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"
    child = Child("stubborn", [sys.executable, "-c", code], log=tmp_path / "log")
    child.start(lambda: "up" in child.log_tail(), deadline_s=120)
    child.stop(grace_s=0.2)
    assert not child.running
