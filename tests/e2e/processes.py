"""Runs WeLIP's processes as its users do: each is a subprocess with a log, and none is left behind."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Final, Self, TypeVar

import httpx
import psutil

from infra.local.child import free_port
from producers.client.sync import Client
from tests.waiting import PATIENCE_S

ROOT: Final = Path(__file__).parents[2]
CLI: Final = (sys.executable, "-c", "from producers.client.cli import main; main()")
T = TypeVar("T")


def until(found: Callable[[], T], what: str, *, within_s: float = PATIENCE_S) -> T:
    """The first truthy result of `found`; at the deadline an assertion that names `what`."""
    deadline = time.monotonic() + within_s
    while not (answer := found()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {within_s:g} s: {what}; the last answer: {answer!r}")
        time.sleep(0.03)
    return answer


def environment(**settings: str) -> dict[str, str]:
    """The environment with these settings, and without those of whoever runs the tests."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith(("WELIP_", "OTEL_"))}
    return {**plain, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", "COLUMNS": "120", **settings}


def cli(
    *arguments: str, within_s: float = PATIENCE_S, cwd: Path | None = None, **settings: str
) -> subprocess.CompletedProcess[str]:
    """Run `welip ARGUMENTS` to its end."""
    return subprocess.run(
        [*CLI, *arguments], env=environment(**settings), cwd=cwd, capture_output=True, text=True, timeout=within_s
    )


class Process:
    """A subprocess and all that it starts. After `with Process(...)` nothing of it is left, whatever happens."""

    def __init__(self, command: Sequence[str], log: Path, **settings: str) -> None:
        self._command = list(command)
        self._log = log
        self._settings = settings
        self._popen: subprocess.Popen[bytes] | None = None
        self._seen: list[psutil.Process] = []

    def __enter__(self) -> Self:
        with self._log.open("ab") as log:
            self._popen = subprocess.Popen(
                self._command, env=environment(**self._settings), stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        try:
            self._started()
        except BaseException:  # a test that fails here leaves no process behind
            self.__exit__(None, None, None)
            raise
        return self

    def _started(self) -> None:
        """Return when it can be used."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._running():
            self.descendants()
            self.signal(signal.SIGINT)
            try:
                self.popen.wait(PATIENCE_S)
            except subprocess.TimeoutExpired:
                self.popen.kill()
        self.popen.wait()
        for process in self._seen:
            if process.is_running():
                process.kill()

    @property
    def popen(self) -> subprocess.Popen[bytes]:
        assert self._popen is not None
        return self._popen

    @property
    def log(self) -> str:
        return self._log.read_text(errors="replace")

    def _running(self) -> bool:
        return self.popen.poll() is None

    def descendants(self) -> list[psutil.Process]:
        """Every process below this one, remembered so that none outlives the test."""
        found = psutil.Process(self.popen.pid).children(recursive=True)
        self._seen += found
        return found

    def signal(self, number: signal.Signals) -> None:
        self.popen.send_signal(number)

    def ended(self, *, within_s: float = PATIENCE_S) -> int:
        """Wait for the exit status."""
        return self.popen.wait(within_s)


class Gateway(Process):
    """The gateway alone, on its own port."""

    def __init__(self, log: Path, **settings: str) -> None:
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        common = {"WELIP_AUTH": "off", "WELIP_GATEWAY_PORT": str(port)}
        super().__init__([sys.executable, "-m", "gateway"], log, **{**common, **settings})

    def _started(self) -> None:
        until(self.answers, f"the gateway answers: {self._log}")

    def answers(self) -> httpx.Response | None:
        """The response of `/readyz`; None while nobody listens."""
        try:
            return httpx.get(f"{self.url}/readyz", timeout=60)
        except httpx.TransportError:
            assert self._running(), self.log
            return None

    def ready(self) -> bool:
        answer = self.answers()
        return answer is not None and answer.status_code == 200


class Up(Process):
    """`welip up` on a folder; it is ready when the block is entered."""

    def __init__(
        self, data: Path, *options: str, port: int | None = None, python: str = sys.executable, **settings: str
    ) -> None:
        self.data = data
        self._port = port or free_port()
        self._log_of_before = 0
        self.url = f"http://127.0.0.1:{self._port}"
        data.mkdir(exist_ok=True)
        # A test that wants MLflow says `--mlflow`; the last of the two counts.
        command = [python, *CLI[1:], "up", "--data", str(data), "--port", str(self._port), "--no-mlflow", *options]
        super().__init__(command, data / "up.log", **settings)

    def __enter__(self) -> Self:
        self._log_of_before = len(self.log) if self._log.exists() else 0
        return super().__enter__()

    def _started(self) -> None:
        until(self._is_up, f"the stack is up: {self._log}")
        self.descendants()

    def _is_up(self) -> bool:
        assert self._running(), self.log
        return f"is up at {self.url}" in self.log[self._log_of_before :].replace("\n", " ")

    def client(self, **options: float) -> Client:
        return Client(self.url, **options)  # type: ignore[arg-type]

    def child(self, module: str) -> psutil.Process:
        """The process of this stack that runs `module` (`gateway`, `consumers`), as soon as it runs."""

        def found() -> psutil.Process | None:
            children = psutil.Process(self.popen.pid).children()
            return next((child for child in children if _runs(child, module)), None)

        return until(found, f"{module} runs")

    def kill_all(self) -> None:
        """`kill -9` for every process: the supervisor with the broker in it, gateway, worker, and PostgreSQL."""
        processes = self.descendants()
        if (postgres := self.postgres()) is not None:
            processes += [postgres, *postgres.children(recursive=True)]
        self.popen.kill()
        for process in processes:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        self.popen.wait()
        _, alive = psutil.wait_procs(processes, 60)
        assert alive == []

    def start_again(self) -> None:
        """Run it once more on the same folder and port; it is ready when this returns."""
        self.__enter__()

    def stop(self) -> int:
        """Send Ctrl-C; returns the exit status."""
        self.descendants()
        self.signal(signal.SIGINT)
        return self.ended()

    def postgres(self) -> psutil.Process | None:
        """The embedded PostgreSQL of this folder, whoever started it."""
        file = self.data / "postgres" / "postmaster.pid"
        try:
            process = psutil.Process(int(file.read_text().split("\n", 1)[0]))
        except (FileNotFoundError, psutil.NoSuchProcess):
            return None
        self._seen.append(process)
        return process if process.is_running() else None


def _runs(process: psutil.Process, module: str) -> bool:
    try:
        return process.cmdline()[-1:] == [module]
    except (psutil.NoSuchProcess, psutil.ZombieProcess):
        return False
