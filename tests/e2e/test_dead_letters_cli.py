"""Jobs that ran out of attempts, from a real worker to the command line and back to work."""

import asyncio
import json
from typing import Any
from uuid import uuid4

import asyncpg
import httpx
import pytest

from infra.postgres.queries import dead_letters
from producers.client.dead import DeadLetter
from producers.client.errors import ApiError
from producers.client.models import Job
from producers.client.sync import Client
from tests.e2e.processes import Up, cli
from tests.integration.test_dead_letters import message


def dead_job(client: Client) -> tuple[Job, DeadLetter]:
    """A job that has used up its single attempt, and its letter."""
    job = client.submit("noop", {"sleep_s": 30}, timeout_s=0.1, max_attempts=1, metadata={"of": uuid4().hex}, wait_s=30)
    assert job.error is not None
    assert (job.state, job.error.code) == ("failed", "timeout")
    [letter] = [one for one in client.dead.list(kind="noop", reason="timeout", limit=100).data if one.job == job.id]
    return job, letter


def welip(up: Up, *arguments: str, code: int = 0) -> Any:
    """Run `welip dead ARGUMENTS --json`; returns its output."""
    done = cli("--url", up.url, "dead", *arguments, "--json")
    assert done.returncode == code, (done.stdout, done.stderr)
    return json.loads(done.stdout) if done.stdout else done.stderr


def test_a_dead_job_is_listed_shown_requeued_and_dropped_from_the_command_line(up: Up, client: Client) -> None:
    job, letter = dead_job(client)
    assert letter.id in [one["id"] for one in welip(up, "list", "--reason", "timeout", "--limit", "100")["data"]]
    shown = welip(up, "show", letter.id)
    assert (shown["payload"], shown["encoding"], shown["job"]) == ({"sleep_s": 30.0, "steps": 1}, "json", job.id)
    told = cli("--url", up.url, "dead", "show", letter.id).stdout
    assert "timeout" in told
    assert '"sleep_s": 30.0' in told

    done = welip(up, "requeue", letter.id)
    [made] = done["jobs"]
    assert (done["requeued"], done["refused"]) == (1, [])
    assert welip(up, "requeue", letter.id)["jobs"] == [made]
    again = client.wait(made, timeout=120)
    assert (again.state, again.metadata, again.attempt) == ("failed", job.metadata, 1)
    [second] = [one for one in client.dead.list(limit=100).data if one.job == made]
    assert letter.id in [one["id"] for one in welip(up, "list", "--requeued", "--limit", "100")["data"]]

    assert welip(up, "drop", letter.id, second.id) == {"dropped": 2}
    assert "there is no dead letter" in welip(up, "show", letter.id, code=2)
    assert client.job(job.id).state == "failed"


def test_all_of_a_kind_are_requeued_and_dropped_in_one_command(up: Up, client: Client) -> None:
    jobs = [dead_job(client)[0] for _ in range(3)]
    done = welip(up, "requeue", "--all", "--kind", "noop", "--reason", "timeout")
    assert done["requeued"] == len(done["jobs"]) >= len(jobs)
    again = [client.wait(id, timeout=120) for id in done["jobs"]]
    assert {job.metadata["of"] for job in jobs} <= {job.metadata.get("of") for job in again}
    dropped = welip(up, "drop", "--all", "--kind", "noop", "--reason", "timeout")["dropped"]
    assert dropped >= len(jobs)
    assert client.dead.list(kind="noop", reason="timeout").data == []


@pytest.mark.parametrize("arguments", [("requeue",), ("drop",), ("drop", "dead_" + "0" * 32, "--all")])
def test_letters_are_named_or_all_are_meant(up: Up, arguments: tuple[str, ...]) -> None:
    assert "--all" in welip(up, *arguments, code=2)


async def test_many_who_requeue_one_letter_get_one_job(async_http: httpx.AsyncClient, client: Client) -> None:
    _, letter = await asyncio.to_thread(dead_job, client)
    answers = await asyncio.gather(*(async_http.post(f"/v1/dead/{letter.id}/requeue") for _ in range(12)))
    assert sorted(answer.status_code for answer in answers) == [200] * 11 + [202]
    assert len({answer.json()["job"]["id"] for answer in answers}) == 1
    assert len({answer.headers["location"] for answer in answers}) == 1


def test_without_authentication_messages_are_seen_too(up: Up, client: Client) -> None:
    url = (up.data / "postgres.url").read_text().strip()

    async def keep() -> None:
        connection = await asyncpg.connect(url)
        try:
            async with connection.transaction():
                assert await dead_letters.keep(connection, [message(token)]) == 1
        finally:
            await connection.close()

    token = b"\xff" + uuid4().bytes
    asyncio.run(keep())
    letter = client.dead.list(source="message").data[0]
    table = cli("--url", up.url, "dead", "list", "--source", "message").stdout
    assert f"welip.noop.run.interactive [0] @ 7, {len(token)} bytes" in table
    refused = welip(up, "requeue", letter.id, code=2)
    assert [one["code"] for one in refused["refused"]] == ["message_unreadable"]
    assert welip(up, "drop", "--all", "--source", "any", "--reason", "unreadable_message")["dropped"] == 1
    with pytest.raises(ApiError) as refusal:
        client.dead.show(letter.id)
    assert refusal.value.code == "dead_letter_not_found"
