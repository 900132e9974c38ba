"""`welip up`: the whole of WeLIP on one machine, with nothing but Python packages; one folder holds everything."""

import asyncio
import contextlib
import fcntl
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TextIO
from urllib.error import HTTPError, URLError
from urllib.request import urlopen

from rich.console import Console

from infra.kafka.embedded import EmbeddedBroker
from infra.local import engines, mlflow
from infra.local.abandoned import give_back
from infra.local.child import Child, free_port
from infra.local.kept import Kept
from infra.local.postgres import EmbeddedPostgres
from infra.loopback import is_loopback
from infra.models import models_of_environment
from infra.postgres.newest import is_newest
from infra.settings import MlflowSettings
from schemas.errors import Conflict, DependencyUnavailable, JobError
from schemas.kinds.registry import routes

READY_WITHIN_S: Final = 60
STOP_WITHIN_S: Final = 40
URL_FILE: Final = "gateway.url"
POSTGRES_URL_FILE: Final = "postgres.url"
PORT: Final = 8080
"""The usual one of the gateway."""

console = Console(stderr=True, highlight=False, soft_wrap=True)


@dataclass(frozen=True, slots=True)
class StackOptions:
    """Options of `welip up`. A named outside system replaces the embedded one."""

    data: Path
    host: str = "127.0.0.1"
    port: int | None = None
    """None: 8080, or another where that is taken."""
    kafka: str | None = None
    postgres: str | None = None
    s3: str | None = None
    mlflow: bool = False
    """Run MLflow too, if its environment is there and `WELIP_MLFLOW_URI` names no other."""
    accept_loss: bool = False


class Stack:
    """The running stack. `with Stack(options) as stack: stack.url`."""

    def __init__(self, options: StackOptions) -> None:
        self._options = options
        self._data = options.data.resolve()
        self._exit = contextlib.ExitStack()
        self._kept: list[Kept] = []
        self._embedded: EmbeddedPostgres | None = None
        self._port = options.port or free_port(options.host, preferred=PORT)
        self.url = f"http://{_in_url(options.host)}:{self._port}"
        own = options.mlflow and "WELIP_MLFLOW_URI" not in os.environ and mlflow.installed() is not None
        self._mlflow = (
            mlflow.MlflowServer(self._data / "mlflow", port=free_port(preferred=mlflow.PORT)) if own else None
        )
        self.mlflow_url = self._mlflow.url if self._mlflow else MlflowSettings().uri
        """Where figures are shown; None: nowhere."""

    def __enter__(self) -> "Stack":
        """Start everything; returns when the gateway is ready. Raises `Conflict`, `DependencyUnavailable`."""
        try:
            self._start()
        except BaseException:
            self._exit.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """Stop everything in order; accepted jobs continue after the next start."""
        self._exit.close()

    def watch(self, stop: threading.Event) -> None:
        """Restart dead processes, PostgreSQL included, until `stop` is set."""
        while not stop.wait(0.5):
            self._watch_postgres()
            for one in self._kept:
                if (ended := one.look()) is not None:
                    console.print(f"welip: {ended} (see {self._data / 'logs'})", markup=False)

    def _watch_postgres(self) -> None:
        if self._embedded is None or self._embedded.running:
            return
        console.print(f"welip: PostgreSQL ended; starting it again (see {self._data / 'postgres' / 'log'})")
        try:
            self._embedded.revive()
        except DependencyUnavailable as error:  # remains of the dead server may be in the way: the next round retries
            console.print(f"[red]welip:[/] {error.message}")

    def _start(self) -> None:
        if os.environ.get("WELIP_AUTH", "off") == "off" and not is_loopback(self._options.host):
            raise Conflict(
                f"without authentication the stack is for this machine alone, not for {self._options.host}: set"
                " WELIP_AUTH=on, then make a key with `welip key create --tenant default`"
            )
        loads_models, its = engines.interpreter(models_of_environment())
        self._data.mkdir(parents=True, exist_ok=True)
        self._exit.enter_context(_locked(self._data))
        alive = self._exit.enter_context(_alive(self._data))
        _require_free(self._options.host, self._port)
        logs = self._private("logs")
        env = self._environment()
        self._prepare_database(env["WELIP_POSTGRES_URL"])
        processes = {
            "gateway": ([sys.executable, "gateway"], env),
            "worker": ([loads_models, "consumers"], its | env),
        }
        if self._mlflow is not None:
            self._private("mlflow")
            processes["mlflow"] = [str(mlflow.install()), *self._mlflow.command], self._mlflow.environment
        for name, ((python, *module), settings) in processes.items():
            command = [python, "-m", "infra.local.supervised", str(os.getpid()), *module]
            child = Child(name, command, log=logs / f"{name}.log", env=settings, keeps=[alive.fileno()])
            self._kept.append(kept := Kept(child))
            kept.start()
            self._exit.callback(child.stop, STOP_WITHIN_S)
        self._until_ready()
        # Other commands on this machine find the stack and its database here; `welip key` needs the latter.
        for name, url in ((URL_FILE, self.url), (POSTGRES_URL_FILE, env["WELIP_POSTGRES_URL"])):
            file = self._data / name
            file.touch(mode=0o600)
            file.write_text(url + "\n")
            self._exit.callback(file.unlink, missing_ok=True)

    def _prepare_database(self, url: str) -> None:
        if not asyncio.run(is_newest(url)):
            from infra.postgres.migrate import migrate

            asyncio.run(migrate(url, accept_loss=self._options.accept_loss))
        if self._embedded is not None and (jobs := asyncio.run(give_back(url))):
            console.print(f"welip: taken back from workers that were killed: {jobs} jobs")

    def _private(self, name: str) -> Path:
        """A folder for tenants' texts and questions, which nobody else on this machine may read."""
        folder = self._data / name
        folder.mkdir(mode=0o700, exist_ok=True)
        folder.chmod(0o700)
        return folder

    def _environment(self) -> dict[str, str]:
        """The processes' settings: the embedded parts, unless an outside system is named or already configured."""
        o = self._options
        mine = {
            "WELIP_GATEWAY_HOST": o.host,
            "WELIP_GATEWAY_PORT": str(self._port),
            "WELIP_AUTH": os.environ.get("WELIP_AUTH", "off"),
            # Whatever is written here wakes its own process's relay; looking more often only keeps the processor awake.
            "WELIP_RELAY_POLL": os.environ.get("WELIP_RELAY_POLL", "0.5"),
            "WELIP_LOG_FORMAT": os.environ.get("WELIP_LOG_FORMAT", "console"),
            "WELIP_BLOBS_URL": o.s3 or os.environ.get("WELIP_BLOBS_URL") or f"file://{self._private('blobs')}",
            "WELIP_LORA_CACHE": os.environ.get("WELIP_LORA_CACHE") or str(self._private("adapters")),
            "WELIP_WEIGHTS_CACHE": os.environ.get("WELIP_WEIGHTS_CACHE") or str(self._private("weights")),
            "WELIP_INDEX_URL": os.environ.get("WELIP_INDEX_URL") or f"edge://{self._private('index')}",
            "WELIP_POSTGRES_URL": o.postgres or os.environ.get("WELIP_POSTGRES_URL") or self._postgres(),
        }
        if self._mlflow is not None:
            mine["WELIP_MLFLOW_URI"] = self._mlflow.url
        kafka = o.kafka or os.environ.get("WELIP_KAFKA_URL")
        if kafka is None:
            broker = EmbeddedBroker(route.topic for route in routes(models_of_environment()))
            self._exit.callback(broker.close)
            mine |= {"WELIP_KAFKA_URL": broker.url, "WELIP_KAFKA_EMBEDDED": "true"}
        else:
            mine |= {"WELIP_KAFKA_URL": kafka, "WELIP_KAFKA_EMBEDDED": "false"}
        return mine

    def _postgres(self) -> str:
        self._embedded = postgres = EmbeddedPostgres(self._data / "postgres")
        url = postgres.start()
        self._exit.callback(postgres.stop)
        return url

    def _until_ready(self) -> None:
        deadline = time.monotonic() + READY_WITHIN_S
        while time.monotonic() < deadline:
            for child in (one.child for one in self._kept):
                if not child.running:
                    raise DependencyUnavailable(f"the {child.name} did not start; its log ends:\n{child.log_tail()}")
            with contextlib.suppress(URLError, HTTPError, OSError), urlopen(f"{self.url}/readyz", timeout=5) as answer:
                if answer.status == 200:
                    return
            time.sleep(0.05)
        raise DependencyUnavailable(f"the gateway was not ready within {READY_WITHIN_S} s; see {self._data / 'logs'}")


def run_stack(options: StackOptions) -> int:
    """Run until Ctrl-C or SIGTERM. Returns 0 after a clean stop, 1 when it cannot start."""
    stop = threading.Event()
    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, lambda *_: stop.set())
    with contextlib.ExitStack() as running:
        try:
            with console.status("starting PostgreSQL, broker, gateway and worker"):
                stack = running.enter_context(Stack(options))
        except JobError as error:
            console.print(f"[red]welip:[/] {error.message}")
            return 1
        except OSError as error:
            console.print(f"[red]welip:[/] cannot start in {options.data}: {error}")
            return 1
        console.print(f"[bold]WeLIP is up[/] at {stack.url}    data: {options.data}/    logs: {options.data}/logs/")
        console.print(f"  API and try-out: {stack.url}/docs    topics: {stack.url}/asyncapi")
        if stack.mlflow_url:
            console.print(f"  figures of evaluations, in MLflow: {stack.mlflow_url}")
        else:
            console.print("  no MLflow for the figures of evaluations: `make mlflow` installs one")
        console.print("  next: [bold]welip index FOLDER[/], then [bold]welip ask '...'[/]    stop: Ctrl-C")
        stack.watch(stop)
        console.print("welip: stopping; running jobs may finish, the others continue at the next start")
    return 0


@contextlib.contextmanager
def _locked(data: Path) -> Iterator[TextIO]:
    """Hold the folder as its only stack. Raises `Conflict`, which names the stack that runs."""
    with (data / "lock").open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            url_file = data / URL_FILE
            where = f" at {url_file.read_text().strip()}" if url_file.exists() else ""
            raise Conflict(
                f"WeLIP runs on {data} already{where}: use that one, stop it, or choose another folder with --data"
            ) from None
        yield file


@contextlib.contextmanager
def _alive(data: Path) -> Iterator[TextIO]:
    """A lock that the stack's processes hold as long as they live; waits for those of a killed stack.

    They end by themselves, but a worker lets its stages finish first. Raises `Conflict` if that takes too long.
    """
    with (data / "processes.lock").open("a+") as file:
        deadline = time.monotonic() + STOP_WITHIN_S
        told = False
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise Conflict(
                        f"processes of an earlier stack still run on {data}: wait for them, or end them"
                        " (`pgrep -af infra.local.supervised`)"
                    ) from None
            if not told:
                console.print("welip: waiting for the processes of a stack that was killed")
                told = True
            time.sleep(0.1)
        yield file


def _require_free(host: str, port: int) -> None:
    """Raise `Conflict` when the port is taken, because its owner would be mistaken for our gateway."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise Conflict(
                f"cannot listen on {host}, port {port}: {error.strerror}; choose another with --port"
            ) from None


def _in_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host
