"""Where the queues keep their jobs: Redis, volatile or durable, PostgreSQL, and for WeLIP PostgreSQL with Kafka."""

import asyncio
import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol, Self
from urllib.parse import urlsplit

import asyncpg

from benchmarks.jobs import empty
from benchmarks.processes import Bench
from infra.local.child import LOOPBACK, Child, LocalServer, require_free
from schemas.errors import DependencyMissing


class RedisServer(LocalServer):
    """A `redis-server` of our own. Durable: every write is on disk before it is answered."""

    DURABLE = ("--appendonly", "yes", "--appendfsync", "always", "--auto-aof-rewrite-percentage", "0", "--save", "")

    def __init__(self, data: Path, *, durable: bool) -> None:
        super().__init__(data)
        self.durable = durable

    def start(self) -> Self:
        """Start and wait until it answers. Raises `DependencyMissing` when there is no `redis-server` on the PATH."""
        server = shutil.which("redis-server")
        if server is None or shutil.which("redis-cli") is None:
            raise DependencyMissing("no `redis-server` and `redis-cli` on the PATH (Debian: redis-server)")
        require_free(self.port)
        self._data.mkdir(parents=True, exist_ok=True)
        command = [server, "--bind", LOOPBACK, "--port", str(self.port), "--dir", str(self._data)]
        command += self.DURABLE if self.durable else ()
        self._child = Child("Redis", command, log=self._data / "redis.log")
        self._child.start(lambda: self.ask("PING") == "PONG", deadline_s=30)
        return self

    def ask(self, *command: str) -> str:
        """The answer of Redis to a command."""
        done = subprocess.run(
            ["redis-cli", "-h", LOOPBACK, "-p", str(self.port), *command], capture_output=True, text=True, check=False
        )
        return done.stdout.strip()


class Store(Protocol):
    """Where one system keeps its jobs."""

    def env(self) -> dict[str, str]:
        """The environment variables that its processes need."""

    def empty(self) -> None:
        """Remove everything."""

    def filling(self) -> AbstractContextManager[object]:
        """Entered while jobs are preloaded, which is not measured."""

    def serving(self) -> AbstractContextManager[object]:
        """Entered while the system is in use."""


class RedisStore:
    """A database on a Redis server."""

    def __init__(self, server: RedisServer, database: int) -> None:
        self._server = server
        self._database = database

    def env(self) -> dict[str, str]:
        """The address of the database."""
        return {"PEERS_REDIS_URL": f"redis://{LOOPBACK}:{self._server.port}/{self._database}"}

    def empty(self) -> None:
        """Remove everything."""
        self._server.ask("-n", str(self._database), "FLUSHDB")

    @contextlib.contextmanager
    def filling(self) -> Iterator[None]:
        """Do not wait for the disk."""
        if not self._server.durable:
            yield
            return
        self._server.ask("CONFIG", "SET", "appendfsync", "everysec")
        try:
            yield
        finally:
            self._server.ask("CONFIG", "SET", "appendfsync", "always")

    def serving(self) -> AbstractContextManager[object]:
        """Nothing to do: the server always runs."""
        return contextlib.nullcontext()


class PostgresStore:
    """A database on the server that WeLIP uses."""

    def __init__(self, server_url: str, database: str) -> None:
        self._server_url = server_url
        self._database = database

    def env(self) -> dict[str, str]:
        """The address of the database."""
        return {"PEERS_POSTGRES_URL": urlsplit(self._server_url)._replace(path=f"/{self._database}").geturl()}

    def empty(self) -> None:
        """Drop the database and create it again."""
        asyncio.run(self._make())

    async def _make(self) -> None:
        connection = await asyncpg.connect(self._server_url)
        try:
            await connection.execute(f"DROP DATABASE IF EXISTS {self._database} WITH (FORCE)")
            await connection.execute(f"CREATE DATABASE {self._database}")
        finally:
            await connection.close()

    def filling(self) -> AbstractContextManager[object]:
        """Nothing to do: filling works as usual."""
        return contextlib.nullcontext()

    def serving(self) -> AbstractContextManager[object]:
        """Nothing to do: the server always runs."""
        return contextlib.nullcontext()


class WelipStore:
    """WeLIP's tables and topics, behind its gateway."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench

    def env(self) -> dict[str, str]:
        """The settings of WeLIP's processes. Every worker has its own index, which no-op jobs never open."""
        mine = {name: value for name, value in self._bench.env.items() if os.environ.get(name) != value}
        return {
            **mine,
            "WELIP_INDEX_URL": f"edge://{self._bench.folder}/index-{{worker}}",
            "WELIP_WORKER_WARM": "false",
        }

    def empty(self) -> None:
        """Remove all jobs."""
        empty(self._bench)

    def filling(self) -> AbstractContextManager[object]:
        """Nothing to do: filling works as usual."""
        return contextlib.nullcontext()

    def serving(self) -> AbstractContextManager[object]:
        """Run a gateway."""
        return self._bench.gateway()
