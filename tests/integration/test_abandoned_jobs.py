"""When a stack starts, the jobs of dead workers of its host go on at once; those of any other worker are left alone."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

import psutil

from infra.local.abandoned import give_back
from infra.postgres.queries import claim
from infra.settings import PostgresSettings
from infra.worker_names import has_ended, own_name
from tests.integration.jobs import Jobs

HOST = socket.gethostname()


@contextmanager
def ended() -> Iterator[subprocess.Popen[bytes]]:
    """A process that was killed, and whose parent has not looked."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        process.send_signal(signal.SIGKILL)
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        yield process


async def state(jobs: Jobs, job_id: UUID) -> tuple[str, int, str | None]:
    row = await jobs.row(job_id)
    return row["state"], row["attempt"], row["worker"]


async def test_the_jobs_of_a_killed_worker_of_this_host_are_given_back(jobs: Jobs, postgres: PostgresSettings) -> None:
    first, second = await jobs.submit(2)
    with ended() as process:
        worker = f"{HOST}-{process.pid}-abcdef"
        await jobs.claim(first, second, worker=worker)
        assert await give_back(postgres.url.get_secret_value()) == 2
    assert [await state(jobs, one) for one in (first, second)] == [("retry_wait", 0, None)] * 2
    assert await give_back(postgres.url.get_secret_value()) == 0


async def test_workers_that_may_live_keep_their_jobs(jobs: Jobs, postgres: PostgresSettings) -> None:
    with ended() as process:
        elsewhere, with_session = f"elsewhere-{process.pid}-abcdef", f"{HOST}-{process.pid}-abcdef"
        workers = [own_name(), elsewhere, with_session, "unlike-any"]
        ids = await jobs.submit(len(workers))
        for job_id, worker in zip(ids, workers, strict=True):
            await jobs.claim(job_id, worker=worker)
        async with jobs.database.connection() as session:
            await claim.attend(session, with_session)
            assert await give_back(postgres.url.get_secret_value()) == 0
            await session.execute("SELECT pg_advisory_unlock_all()")
    assert [(await state(jobs, one))[0] for one in ids] == ["running"] * len(workers)


def test_a_worker_has_ended_when_its_process_has_and_not_because_its_name_cannot_be_read() -> None:
    assert not has_ended(own_name())
    assert not has_ended("w")
    assert not has_ended(f"{HOST}--abcdef")
    with ended() as process:
        name = f"{HOST}-{process.pid}-abcdef"
        assert has_ended(name), "a process that nobody waited for"
        process.wait()
        assert has_ended(name) or psutil.pid_exists(process.pid)
