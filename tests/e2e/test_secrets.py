"""No secret reaches a log or a response: gateway and worker log as much as they can, and every secret is looked for."""

import json
import signal
import sys
from base64 import b64encode
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import quote, urlsplit
from uuid import uuid4

import httpx
import pytest

from infra.kafka.embedded import EmbeddedBroker
from tests.conftest import execute
from tests.e2e.processes import Gateway, Process, cli, until

S3 = {"access_key": "AKIALOUDACCESSKEY000", "secret_key": "s3SecretThatNobodyLogs0123456789"}
PASSWORD = "pg-Pass/word+that=nobody-logs"
GENERATOR = "sk-generator-key-nobody-logs"
INDEX = "index-key-that-nobody-logs"
QUESTION = "한라산의 비밀번호는 무엇인가요?"


@pytest.fixture
async def database_with_password(database_url: str) -> AsyncIterator[str]:
    """The test's database as a user with a password; only TCP asks for the password, but the URL contains it anyway."""
    role = f"loud_{uuid4().hex}"
    await execute(database_url, f"CREATE ROLE {role} LOGIN SUPERUSER PASSWORD '{PASSWORD}'")
    parts = urlsplit(database_url)
    location = parts.netloc.rpartition("@")[2]
    yield parts._replace(netloc=f"{role}:{quote(PASSWORD, safe='')}@{location}").geturl()
    await execute(database_url, f"DROP ROLE {role}")


def looked_for(*keys: str) -> set[str]:
    """The secrets, and their forms in URLs and headers."""
    plain = {*S3.values(), PASSWORD, GENERATOR, INDEX, *keys}
    return plain | {quote(one, safe="") for one in plain} | {b64encode(one.encode()).decode() for one in plain}


def test_no_secret_reaches_a_log_or_an_answer(
    database_with_password: str, embedded_broker: EmbeddedBroker, tmp_path: Path
) -> None:
    url = database_with_password
    key = json.loads(cli("key", "create", "--tenant", "loud", "--postgres", url, "--json").stdout)["key"]
    settings = {
        "WELIP_AUTH": "on",
        "WELIP_POSTGRES_URL": url,
        "WELIP_KAFKA_URL": embedded_broker.url,
        "WELIP_KAFKA_EMBEDDED": "true",
        "WELIP_INDEX_URL": f"edge://{tmp_path}/index",
        "WELIP_INDEX_API_KEY": INDEX,
        "WELIP_GENERATOR": "openai",
        "WELIP_GENERATOR_URL": "http://127.0.0.1:9/v1",  # nobody listens, because the errors are what is examined
        "WELIP_GENERATOR_API_KEY": GENERATOR,
        "WELIP_LOG_LEVEL": "debug",
        "WELIP_WORKER_WARM": "false",
    }
    folder = {"WELIP_BLOBS_URL": f"file://{tmp_path}/blobs"}
    away = {
        "WELIP_BLOBS_URL": "s3+http://127.0.0.1:9/bucket",
        "WELIP_BLOBS_ACCESS_KEY": S3["access_key"],
        "WELIP_BLOBS_SECRET_KEY": S3["secret_key"],
    }
    answers: list[httpx.Response] = []
    headers = {"Authorization": f"Bearer {key}"}

    def ask(gateway: Gateway) -> httpx.Client:
        return httpx.Client(
            base_url=gateway.url,
            headers=headers,
            timeout=120,
            event_hooks={"response": [lambda answer: (answer.read(), answers.append(answer))]},
        )

    with (
        Gateway(tmp_path / "gateway.log", **settings, **folder) as gateway,
        Process([sys.executable, "-m", "consumers"], tmp_path / "worker.log", **settings, **folder) as worker,
        ask(gateway) as http,
    ):
        until(gateway.ready, "the gateway is ready")
        document = {"id": "d", "text": "한라산은 높이가 1,947미터이다."}
        indexed = {"kind": "indexing", "input": {"collection": "c", "documents": [document]}}
        assert http.post("/v1/jobs", json=indexed, headers={"Prefer": "wait=60"}).json()["state"] == "succeeded"
        asked = {"kind": "inference", "max_attempts": 1, "input": {"collection": "c", "question": QUESTION}}
        failed = http.post("/v1/jobs", json=asked, headers={"Prefer": "wait=60"}).json()
        assert failed["state"] == "failed", failed
        http.get(f"{failed['links']['self']}")
        http.get("/v1/jobs?kind=nothing")
        http.get("/v1/files/file_x/content")
        http.get("/readyz")
        http.get("/metrics")
        hook = http.post("/v1/webhooks", json={"url": "https://r.example/", "events": ["job.failed"]}).json()
        secret = next(value for value in hook.values() if str(value).startswith("whsec_"))
        shown_once = answers.pop()
        assert secret in shown_once.text
        http.get(f"/v1/webhooks/{hook['id']}")
        httpx.get(f"{gateway.url}/v1/jobs", headers={"Authorization": f"Bearer {key}x"})
        worker.signal(signal.SIGTERM)
        worker.ended()
    with Gateway(tmp_path / "away.log", **settings, **away) as gateway, ask(gateway) as http:
        until(lambda: "blobs.away" in gateway.log, "the log says that object storage is away")
        http.get("/readyz")
        http.post("/v1/files", files={"file": ("f", b"x")})
    nowhere = {**settings, "WELIP_POSTGRES_URL": f"postgresql://loud:{quote(PASSWORD, safe='')}@127.0.0.1:9/nothing"}
    with Gateway(tmp_path / "lost.log", **nowhere, **folder) as gateway, ask(gateway) as http:
        until(lambda: "postgres.away" in gateway.log, "the log says that Postgres is away")
        assert http.get("/v1/jobs").status_code == 503
        http.get("/readyz")
    logs = {path.name: path.read_text(errors="replace") for path in tmp_path.glob("*.log")}
    assert set(logs) == {"gateway.log", "worker.log", "away.log", "lost.log"}
    assert all(logs.values())
    assert len(answers) > 10
    everywhere = {**logs, **{f"{a.request.method} {a.request.url}": f"{a.headers}{a.text}" for a in answers}}
    for where, text in everywhere.items():
        for one in looked_for(key, secret):
            assert one not in text, f"a secret shows in {where}"
    assert not any(QUESTION in text for text in logs.values())


def test_settings_do_not_show_their_secrets(tmp_path: Path) -> None:
    code = (
        "from infra.settings import *\n"
        "print(repr([PostgresSettings(), BlobsSettings(), IndexSettings(), GeneratorSettings()]))"
    )
    settings = {
        "WELIP_POSTGRES_URL": f"postgresql://u:{PASSWORD}@h/d",
        "WELIP_BLOBS_ACCESS_KEY": S3["access_key"],
        "WELIP_BLOBS_SECRET_KEY": S3["secret_key"],
        "WELIP_INDEX_API_KEY": INDEX,
        "WELIP_GENERATOR_API_KEY": GENERATOR,
    }
    with Process([sys.executable, "-c", code], tmp_path / "log", **settings) as process:
        assert process.ended() == 0
    assert "PostgresSettings" in process.log
    assert not [one for one in looked_for() if one in process.log]
