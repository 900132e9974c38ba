"""Commands that start a server or read its database: keys, what MLflow refused, the stack and its processes."""

import json
import os
import socket
from datetime import UTC, datetime
from uuid import UUID

import pytest
from typer.testing import CliRunner

from producers.client.cli.app import app
from tests.unit.scripted_server import welip


def test_keys_are_made_listed_and_revoked_through_the_database(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[object, ...]] = []
    row = {"id": UUID(int=1), "tenant": "kim", "name": "노트북", "created_at": datetime(2026, 11, 20, tzinfo=UTC)}

    def create_key(dsn: str, tenant: str, name: str, *, operator: bool) -> str:
        asked.append((dsn, tenant, name, operator))
        return "welip_new"

    def revoke_key(dsn: str, id: str) -> bool:
        return UUID(id) == row["id"]

    monkeypatch.setattr("infra.postgres.keys.create_key", create_key)
    monkeypatch.setattr("infra.postgres.keys.list_keys", lambda dsn: [row])
    monkeypatch.setattr("infra.postgres.keys.revoke_key", revoke_key)
    monkeypatch.setenv("WELIP_POSTGRES_URL", "postgresql://db/welip")

    assert welip("key", "create", "--tenant", "kim", "--name", "노트북").stdout == "welip_new\n"
    welip("key", "create", "--tenant", "ops", "--operator")
    assert asked == [("postgresql://db/welip", "kim", "노트북", False), ("postgresql://db/welip", "ops", "", True)]
    assert "노트북" in welip("key", "list").stdout
    assert json.loads(welip("key", "list", "--json").stdout)[0]["id"] == str(UUID(int=1))
    welip("key", "revoke", str(UUID(int=1)))
    assert "no live key" in welip("key", "revoke", str(UUID(int=2)), code=2).stderr
    assert "no live key" in welip("key", "revoke", "nonsense", code=2).stderr


def test_what_mlflow_refused_is_listed_retried_and_dropped_through_the_database(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    job, other = f"job_{UUID(int=1).hex}", f"job_{UUID(int=2).hex}"
    row: dict[str, object] = {"job": job, "tenant": "kim", "experiment": "ko", "run": "한 변형", "what": "file/a.html"}
    row |= {"error": "no such file", "said_at": datetime(2026, 11, 20, tzinfo=UTC)}
    asked: list[tuple[str, object]] = []

    def settle(dsn: str, jobs: list[UUID] | None) -> list[str]:
        asked.append((dsn, jobs))
        return [job]

    monkeypatch.setattr("infra.postgres.refusals.list_refused", lambda dsn, limit: [row])
    monkeypatch.setattr("infra.postgres.refusals.retry_refused", settle)
    monkeypatch.setattr("infra.postgres.refusals.drop_refused", settle)
    monkeypatch.setenv("WELIP_POSTGRES_URL", "postgresql://db/welip")

    shown = welip("tracking", "list").stdout
    assert job in shown
    assert "한 변형" in shown
    assert json.loads(welip("tracking", "list", "--json").stdout)[0]["what"] == "file/a.html"
    retried = welip("tracking", "retry", job, other)
    assert retried.stdout == f"{job}\n"
    assert f"nothing of {other} was refused" in retried.stderr
    assert json.loads(welip("tracking", "drop", "--all", "--json").stdout) == {"jobs": [job]}
    assert asked == [("postgresql://db/welip", [UUID(int=1), UUID(int=2)]), ("postgresql://db/welip", None)]
    assert "or give --all" in welip("tracking", "drop", code=2).stderr
    assert "or give --all" in welip("tracking", "retry", job, "--all", code=2).stderr
    assert "there is no job" in welip("tracking", "retry", "nonsense", code=2).stderr


def test_a_database_that_does_not_answer_is_exit_3() -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        url = f"postgresql://postgres@127.0.0.1:{bound.getsockname()[1]}/welip"
        assert len(welip("key", "list", "--postgres", url, code=3).stderr.splitlines()) == 1


def test_server_commands_become_the_process_they_name(monkeypatch: pytest.MonkeyPatch) -> None:
    class Replaced(BaseException):
        pass

    became: list[list[str]] = []

    def execv(program: str, args: list[str]) -> None:
        became.append(args)
        raise Replaced

    monkeypatch.setattr(os, "execv", execv)
    for args in (
        ("worker", "--pool", "cpu", "--pool", "gpu", "--concurrency", "4"),
        ("gateway", "--port", "1"),
        ("relay",),
    ):
        with pytest.raises(Replaced):
            CliRunner().invoke(app, args, catch_exceptions=False)
    assert [args[1:] for args in became] == [
        ["-m", "consumers", "--pool", "cpu", "--pool", "gpu", "--concurrency", "4"],
        ["-m", "gateway", "--port", "1"],
        ["-m", "producers"],
    ]
