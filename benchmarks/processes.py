"""The processes under measurement: real ones, started as an operator would start them."""

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from infra.local.child import free_port


class Bench:
    """A folder, a database, a broker, and the environment of the processes."""

    def __init__(self, folder: Path, postgres: str, kafka: str, *, embedded: bool) -> None:
        self.folder = folder
        self.postgres = postgres
        self.embedded = embedded
        self.port = free_port()
        self.env = {
            **os.environ,
            "WELIP_POSTGRES_URL": postgres,
            "WELIP_KAFKA_URL": kafka,
            "WELIP_KAFKA_EMBEDDED": str(embedded).lower(),
            "WELIP_BLOBS_URL": f"file://{folder / 'blobs'}",
            "WELIP_AUTH": "off",
            "WELIP_LOG_LEVEL": "warning",
            "WELIP_GATEWAY_PORT": str(self.port),
        }

    @contextlib.contextmanager
    def process(self, *command: str, python: str = sys.executable, **env: str) -> Iterator[subprocess.Popen[bytes]]:
        """Run `python -m command...` until the block ends."""
        with (self.folder / "processes.log").open("ab") as log:
            process = subprocess.Popen([python, "-m", *command], env={**self.env, **env}, stdout=log, stderr=log)
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    @contextlib.contextmanager
    def gateway(self, module: str = "gateway", **env: str) -> Iterator[subprocess.Popen[bytes]]:
        """Run a gateway, or what stands in for it; yields once it answers."""
        with self.process(module, **env) as process:
            deadline = time.monotonic() + 120
            while True:
                with contextlib.suppress(OSError), urlopen(f"http://127.0.0.1:{self.port}/healthz", timeout=2):
                    break
                if time.monotonic() > deadline or process.poll() is not None:
                    raise RuntimeError(f"{module} did not start; see {self.folder / 'processes.log'}")
                time.sleep(0.05)
            yield process

    @contextlib.contextmanager
    def workers(self, count: int, concurrency: int, *, warm: bool) -> Iterator[list[subprocess.Popen[bytes]]]:
        """Run worker processes of the pool that runs no-op jobs."""
        with contextlib.ExitStack() as running:
            yield [
                running.enter_context(
                    self.process(
                        "consumers",
                        "--pool=cpu",
                        f"--concurrency={concurrency}",
                        WELIP_INDEX_URL=f"edge://{self.folder / f'index-{n}'}",
                        WELIP_WORKER_WARM=str(warm).lower(),
                    )
                )
                for n in range(count)
            ]

    def load(self, mode: str, rate: int, seconds: float) -> Any:
        """The report of the load generator, which runs in a process of its own."""
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.load", mode, str(self.port), str(rate), str(seconds)],
            capture_output=True,
            check=False,
            timeout=seconds * 3 + 60,
        )
        if done.returncode:
            raise RuntimeError(f"the load generator failed:\n{done.stderr.decode()[-2000:]}")
        return json.loads(done.stdout)
