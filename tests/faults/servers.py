"""PostgreSQL and Apache Kafka under the matrix: real servers that can be crashed, and a disk that can be filled."""

import asyncio
import os
import subprocess
import threading
import time
from pathlib import Path
from typing import Final

import asyncpg
import psutil

from infra.local.postgres import DATABASE, EmbeddedPostgres
from infra.postgres.migrate import migrate
from schemas.errors import DependencyUnavailable

STOPPED_WITHIN_S: Final = 20
ONE_AT_A_TIME: Final = threading.Lock()
"""The wheel that starts PostgreSQL cannot be used by two threads."""


class Postgres:
    """A PostgreSQL on a folder; its URL stays the same over restarts."""

    def __init__(self, data: Path) -> None:
        self._data = data
        self._server = EmbeddedPostgres(data)
        self.url = ""

    def start(self) -> str:
        with ONE_AT_A_TIME:
            self._server.stop()  # forgets a server that ended by itself
            self.url = self._server.start()
        return self.url

    def revive(self) -> bool:
        """Start it again if it ended by itself, or is just about to; whether it lived on."""
        deadline = time.monotonic() + STOPPED_WITHIN_S
        while self.running:
            if asyncio.run(self._answers()):
                return True
            if time.monotonic() > deadline:
                raise DependencyUnavailable(f"Postgres on {self._data} neither answers nor ends")
            time.sleep(0.2)
        self.start()
        return False

    def stop(self) -> None:
        """In order: open transactions are cut off, what is committed is on disk."""
        with ONE_AT_A_TIME:
            self._server.stop()

    def crash(self) -> None:
        """At once, as a power cut: the next start recovers from its log."""
        found = psutil.Process(self.pid)
        everyone = [found, *found.children(recursive=True)]
        for process in everyone:
            process.kill()
        psutil.wait_procs(everyone, timeout=STOPPED_WITHIN_S)

    @property
    def pid(self) -> int:
        return int((self._data / "postmaster.pid").read_text().split("\n", 1)[0])

    @property
    def running(self) -> bool:
        try:
            return bool(psutil.pid_exists(self.pid))
        except (FileNotFoundError, ValueError):
            return False

    def database(self, name: str) -> str:
        """The URL of a new database with the newest schema."""
        asyncio.run(self._create(name))
        url = self.url.replace(f"/{DATABASE}?", f"/{name}?")
        assert url != self.url, url
        asyncio.run(migrate(url))
        return url

    async def _answers(self) -> bool:
        try:
            connection = await asyncpg.connect(self.url, timeout=2)
        except (OSError, asyncpg.PostgresError):
            return False
        await connection.close()
        return True

    async def _create(self, name: str) -> None:
        connection = await asyncpg.connect(self.url)
        try:
            await connection.execute(f"CREATE DATABASE {name}")
        finally:
            await connection.close()


class SmallDisk:
    """A tmpfs of `megabytes`; `fill` takes what is free, `empty` gives it back. Mounting wants root."""

    def __init__(self, path: Path, megabytes: int) -> None:
        self.path = path
        self._megabytes = megabytes
        self._ballast = path / "ballast"

    def __enter__(self) -> "SmallDisk":
        """Raises `PermissionError` where mounting is not allowed."""
        self.path.mkdir(parents=True)
        options = f"size={self._megabytes}m,mode=755"
        command = ["mount", "-t", "tmpfs", "-o", options, "welip-faults", str(self.path)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise PermissionError(f"a small disk cannot be mounted here: {done.stderr.strip()}")
        return self

    def __exit__(self, *_: object) -> None:
        # Lazily: a process that is just ending may still hold a file.
        subprocess.run(["umount", "--lazy", str(self.path)], check=True)

    def fill(self, *, leave: int = 0) -> None:
        """Take all that is free but `leave` bytes."""
        with self._ballast.open("ab") as file:
            while (free := self._free() - leave) > 0:
                try:
                    os.posix_fallocate(file.fileno(), os.fstat(file.fileno()).st_size, free)
                except OSError:  # someone else took some meanwhile
                    continue

    def empty(self) -> None:
        self._ballast.unlink()

    def _free(self) -> int:
        found = os.statvfs(self.path)
        return found.f_bavail * found.f_frsize
