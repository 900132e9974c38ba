"""The heartbeat: a thread with its own connection, so that neither a busy loop nor a full pool can cost a lease."""

import asyncio
import contextlib
import threading
import time
from collections.abc import Sequence
from typing import Final

import asyncpg
import structlog

from consumers.held import Abort, HeldJob, HeldJobs
from infra.postgres.database import AWAY
from infra.postgres.queries import claim
from infra.settings import PostgresSettings, WorkerSettings

log = structlog.get_logger(__name__)


RECONNECT_S: Final = 1.0
"""Pause between tries to reach Postgres: the rescuer soon gives up a worker without a session."""


class Heartbeat:
    """Renews the leases of all held jobs in one statement; its answer says which were lost or are to be cancelled.

    Its session also tells the rescuer that this worker lives, and the gateway which models it serves: a killed process
    no longer has one.

    While Postgres cannot be reached, a job whose lease is about to end by our own clock is aborted: another worker may
    get it, and two must not run it.
    """

    def __init__(
        self,
        held: HeldJobs,
        postgres: PostgresSettings,
        worker: WorkerSettings,
        *,
        worker_name: str,
        serves: Sequence[str] = (),
    ) -> None:
        self._held = held
        self._worker_name = worker_name
        self._serves = serves
        self._postgres = postgres
        self._every = worker.heartbeat.total_seconds()
        self._lease = worker.lease.total_seconds()
        self._timeout = self._lease / 8
        # One round may take the pause, a connect and a statement: a job whose lease might end before the next round
        # has had its say is aborted in this one.
        self._margin = self._every + 2 * self._timeout
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End, at the latest after the statement under way."""
        self._stop.set()
        self._thread.join(timeout=10)

    def _run(self) -> None:
        asyncio.run(self._beat_until_stopped())

    async def _beat_until_stopped(self) -> None:
        connection: asyncpg.Connection[asyncpg.Record] | None = None
        pause = 0.0
        # Nothing else runs in this thread's loop, so blocking it between two beats is no harm.
        while not self._stop.wait(pause):
            pause = self._every
            # Most jobs end sooner and never need one. With half of the pause, whatever runs for longer is in the second
            # round at the latest, so a cancellation is heard within one and a half.
            jobs = self._held.older_than(self._every / 2)
            try:
                if connection is None or connection.is_closed():
                    connection = await asyncpg.connect(
                        self._postgres.url.get_secret_value(),
                        timeout=self._timeout,
                        command_timeout=self._timeout,
                        server_settings={"application_name": f"welip-heartbeat-{self._worker_name}"},
                    )
                    await claim.attend(connection, self._worker_name, self._serves)
                await self._beat(connection, jobs)  # of no jobs too: it tells whether the session lasts
            except AWAY as error:
                log.warning("heartbeat.away", error=repr(error), jobs=len(jobs))
                if connection is not None:
                    connection.terminate()
                    connection = None
                pause = min(self._every, RECONNECT_S)
            except Exception as error:  # any error: without this thread every lease of the process would end
                log.error("heartbeat.defect", exc_info=error, jobs=len(jobs))
            self._abort_what_may_end()
        if connection is not None:
            with contextlib.suppress(*AWAY):
                await connection.close(timeout=2)

    async def _beat(self, connection: "asyncpg.Connection[asyncpg.Record]", jobs: list[HeldJob]) -> None:
        asked = time.monotonic()
        renewed = await claim.heartbeat(
            connection, [(job.id, job.epoch) for job in jobs], worker=self._worker_name, lease_s=self._lease
        )
        for job in jobs:
            if job.id not in renewed:
                job.abort(Abort.LEASE_LOST)
            else:
                job.deadline = asked + self._lease
                if renewed[job.id]:
                    job.abort(Abort.CANCELLED)

    def _abort_what_may_end(self) -> None:
        limit = time.monotonic() + self._margin
        for job in self._held.every():
            if job.deadline < limit:
                job.abort(Abort.LEASE_LOST)
