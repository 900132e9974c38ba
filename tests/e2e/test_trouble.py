"""Processes die, are stopped and start again: accepted work gets done, and nothing is left running."""

import asyncio
import signal
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from infra.local.child import free_port
from producers.client.sync import Client
from tests.conftest import execute
from tests.e2e.processes import Up, cli, until
from tests.waiting import PATIENCE_S

QUICK = {
    "WELIP_WORKER_DRAIN": "0.5",
    "WELIP_RESCUE_GONE": "3",
    "WELIP_RESCUE_EVERY": "0.2",
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder on which each test starts a new stack."""
    return tmp_path_factory.mktemp("trouble") / "data"


def submit(client: Client, count: int, **input: float) -> list[str]:
    return [client.submit("noop", input).id for _ in range(count)]


def shorten(up: Up) -> None:
    """Let the jobs end at once in their next try, however long they were to take in the one that is interrupted."""
    url = (up.data / "postgres.url").read_text().strip()
    asyncio.run(execute(url, """UPDATE job SET input = '{"sleep_s": 0}' WHERE finished_at IS NULL"""))


def all_succeed(client: Client, ids: list[str], *, attempts: int = 1) -> None:
    """Check that every job succeeds, none with more than `attempts`."""
    for id in ids:
        job = client.wait(id, timeout=120)
        assert job.state == "succeeded", job.error
        assert job.attempt <= attempts


def gone(processes: list[psutil.Process]) -> list[psutil.Process]:
    """Wait until these processes have ended; returns those that have not."""
    _, alive = psutil.wait_procs(processes, timeout=PATIENCE_S)
    return [process for process in alive if process.status() != psutil.STATUS_ZOMBIE]


class TestOneStack:
    """What a running stack survives. The last test stops it."""

    @pytest.fixture(scope="class")
    def up(self, data: Path) -> Iterator[Up]:
        with Up(data, **QUICK) as running:
            yield running

    def test_a_killed_gateway_is_started_again_and_nothing_is_lost(self, up: Up) -> None:
        with up.client() as client:
            before = submit(client, 30, sleep_s=0.3)
            killed = up.child("gateway")
            killed.kill()
            during = submit(client, 10)
            all_succeed(client, before + during)
            assert up.child("gateway").pid != killed.pid
            assert "the gateway ended; starting it again" in up.log

    def test_a_job_whose_worker_is_killed_is_done_by_the_next(self, up: Up) -> None:
        with up.client() as client:
            [job] = submit(client, 1, sleep_s=600)
            until(lambda: client.job(job).state == "running", "it runs")
            shorten(up)
            up.child("consumers").kill()
            waiting = submit(client, 10)
            ended = client.wait(job, timeout=120)
            assert (ended.state, ended.attempt) == ("succeeded", 1)
            all_succeed(client, waiting)
            told = [event.data for event in client.events(job) if event.type == "state"]
            assert [event["state"] for event in told] == [
                *("queued", "running", "retry_wait", "queued", "running", "succeeded")
            ]
            assert told[2]["error"]["code"] == "lease_expired"

    def test_a_killed_postgres_is_started_again_and_nothing_is_lost(self, up: Up) -> None:
        with up.client() as client:
            before = submit(client, 10, sleep_s=0.3)
            killed = up.postgres()
            assert killed is not None
            killed.kill()
            until(lambda: (new := up.postgres()) is not None and new.pid != killed.pid, "it is started again")
            all_succeed(client, before + submit(client, 5), attempts=3)
            assert "PostgreSQL ended; starting it again" in up.log

    def test_a_second_stack_on_the_folder_says_so_and_leaves_the_first_alone(self, up: Up) -> None:
        with up.client() as client:
            second = cli("up", "--data", str(up.data))
            assert (second.returncode, second.stdout) == (1, "")
            assert f"runs on {up.data} already at {up.url}" in second.stderr
            assert "Traceback" not in second.stderr
            all_succeed(client, submit(client, 3))
            assert up.postgres() is not None

    def test_a_taken_port_is_reported_and_nothing_is_left_running(self, up: Up, tmp_path: Path) -> None:
        port = up.url.rpartition(":")[2]
        second = cli("up", "--data", str(tmp_path / "other"), "--port", port)
        assert second.returncode == 1
        assert "Traceback" not in second.stderr
        assert port in second.stderr
        assert not list((tmp_path / "other").rglob("postmaster.pid"))

    def test_ctrl_c_leaves_nothing_running(self, up: Up) -> None:
        processes = up.descendants()
        postgres = up.postgres()
        assert postgres is not None
        assert {"gateway", "consumers"} <= {process.cmdline()[-1] for process in processes}
        assert up.stop() == 0
        assert gone([*processes, postgres]) == []
        assert "stopping" in up.log
        assert not (up.data / "gateway.url").exists()


def test_a_stack_starts_right_after_its_supervisor_was_killed(data: Path) -> None:
    port = free_port()
    patient = {**QUICK, "WELIP_WORKER_DRAIN": "20"}
    with Up(data, port=port, **patient) as up, up.client() as client:
        jobs = submit(client, 5, sleep_s=10)
        until(lambda: client.job(jobs[-1]).state == "running", "they run, and the worker will wait for them")
        up.descendants()
        up.popen.kill()
        up.popen.wait()
        with Up(data, port=port, **patient) as again, again.client() as client:
            all_succeed(client, jobs + submit(client, 1), attempts=2)


def test_queued_jobs_go_on_when_the_stack_is_started_again(data: Path) -> None:
    with Up(data, **QUICK) as up, up.client() as client:
        jobs = submit(client, 40, sleep_s=600)
        until(lambda: client.job(jobs[0]).state == "running", "the first runs")
        shorten(up)
        assert up.stop() == 0
    with Up(data, **QUICK) as up, up.client() as client:
        all_succeed(client, jobs)


def test_a_killed_supervisor_leaves_no_worker_and_the_next_start_goes_on(data: Path) -> None:
    with Up(data, **QUICK) as up, up.client() as client:
        jobs = submit(client, 40, sleep_s=600)
        until(lambda: client.job(jobs[0]).state == "running", "the first runs")
        shorten(up)
        children = [up.child("gateway"), up.child("consumers")]
        up.signal(signal.SIGKILL)
        up.ended()
        assert gone(children) == []
    with Up(data, **QUICK) as up, up.client() as client:
        all_succeed(client, jobs, attempts=2)
        postgres = up.postgres()
        assert postgres is not None
        assert up.stop() == 0
        assert gone([postgres]) == []


def test_a_stack_without_authentication_is_for_this_machine_alone(tmp_path: Path) -> None:
    data = tmp_path / "open"
    said = cli("up", "--data", str(data), "--host", "0.0.0.0", WELIP_AUTH="off")
    assert said.returncode == 1
    assert "WELIP_AUTH=on" in said.stderr
    assert "Traceback" not in said.stderr
    assert not data.exists(), "nothing was started"
