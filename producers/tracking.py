"""The sender of figures: carries what stages said about their runs from Postgres to MLflow. One leads at a time."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final, Protocol
from uuid import UUID

import orjson
import structlog

from infra.metrics import TRACKED
from infra.mlflow import SERVED, Mlflow, MlflowRefused, MlflowRun
from infra.postgres.database import Database
from infra.postgres.queries import files, tracking
from infra.postgres.queries.tracking import Entry, Run
from infra.settings import MlflowSettings
from producers.registry import RegistryMirror
from schemas.errors import DependencyUnavailable, NotFound
from schemas.ids import parsed, shown
from schemas.lifecycle import TERMINAL, JobState
from schemas.tracking import experiment_name

log = structlog.get_logger(__name__)

RUNS: Final = 100
ENTRIES: Final = 200
"""Of one run, before the next run has its turn."""
FAILURES: Final = 3
"""So many runs that fail in one round end it: it is not a matter of one run."""
POLL_S: Final = 1.0
LONGEST_PAUSE_S: Final = 60.0

RUN_TAG: Final = "welip.run"
"""By it a run is found again that was begun by a process that died before it could note so."""

STATUS: Final = {JobState.SUCCEEDED: "FINISHED", JobState.FAILED: "FAILED", JobState.CANCELLED: "KILLED"}


class Stored(Protocol):
    """What sending files needs of object storage."""

    def stream(self, key: str) -> AsyncIterator[bytes]:
        """The bytes under `key`, in pieces. Raises `NotFound`."""


class TrackingSender:
    """Sends run by run, entries in their order. While MLflow is away, Postgres keeps everything.

    Every request may be repeated, so a process that dies in between leaves nothing out and nothing twice.
    """

    def __init__(self, database: Database, blobs: Stored, mlflow: Mlflow) -> None:
        self._database = database
        self._blobs = blobs
        self._mlflow = mlflow
        self._registry = RegistryMirror(database, blobs, mlflow)

    @classmethod
    def of(cls, database: Database, blobs: Stored, settings: MlflowSettings) -> "TrackingSender | None":
        """The sender of a deployment; None where it has no MLflow."""
        return None if settings.uri is None else cls(database, blobs, Mlflow(settings.uri, settings))

    async def run(self) -> None:
        """Send until cancelled."""
        away = 0.0
        while True:
            try:
                done = await self.round()
            except DependencyUnavailable as error:
                away = min(max(away * 2, POLL_S), LONGEST_PAUSE_S)
                log.warning("tracking.away", error=error.message, retry_in_s=away)
                await asyncio.sleep(away)
                continue
            except Exception as error:
                # Late figures are harmless; ending relay and rescuer with them would not be.
                log.error("tracking.defect", exc_info=error)
                done, away = 0, LONGEST_PAUSE_S
            if not done:
                await asyncio.sleep(max(POLL_S, away))
            away = 0.0

    async def close(self) -> None:
        """Close the connections to MLflow."""
        await self._mlflow.close()

    async def round(self) -> int:
        """Give each run that has something to send a turn; returns how many had one. 0 while another process leads.

        A run that fails holds up no other. Raises `DependencyUnavailable` when none had a turn because MLflow, Postgres
        or object storage is away.
        """
        async with self._database.connection() as connection:
            waits = await tracking.anything(connection)
        if not waits and not await self._registry.anything():
            return 0
        async with self._lead() as leads:
            if not leads:
                return 0
            async with self._database.connection() as connection:
                runs = await tracking.due(connection, RUNS)
            done, failures = 0, list[DependencyUnavailable]()
            for run in runs:
                try:
                    await self._send(run)
                    done += 1
                except DependencyUnavailable as error:
                    log.warning("tracking.delayed", run=str(run.id), job_id=run.job_id.hex, error=error.message)
                    failures.append(error)
                    if len(failures) == FAILURES:
                        break
            if failures and not done:
                raise failures[0]
            # After the runs: the registry names them.
            return done + await self._registry.round()

    @asynccontextmanager
    async def _lead(self) -> AsyncIterator[bool]:
        """Whether this process may send. If its session ends, another one begins; `begun` decides between the two."""
        async with self._database.connection() as connection:
            leads = await tracking.try_to_lead(connection)
            try:
                yield leads
            finally:
                if leads:
                    await tracking.step_down(connection)

    async def _send(self, run: Run) -> None:
        try:
            mlflow_id = await self._begun(run)
        except MlflowRefused as error:
            log.error("tracking.refused", run=str(run.id), job_id=run.job_id.hex, what="run", error=str(error))
            async with self._database.connection() as connection:
                await tracking.refuse_run(connection, run.id, str(error))
            return
        if mlflow_id is None:
            return
        async with self._database.connection() as connection:
            entries = await tracking.entries(connection, run.id, ENTRIES)
        for entry in entries:
            await self._send_entry(run, mlflow_id, entry)
        if run.state in TERMINAL and len(entries) < ENTRIES:
            await self._end(run, mlflow_id)

    async def _begun(self, run: Run) -> str | None:
        """MLflow's id of the run, which begins if it has not; None when it was removed with its job."""
        if run.mlflow_id is not None:
            return run.mlflow_id
        tags = {**run.tags, RUN_TAG: str(run.id), "welip.job": shown("job", run.job_id), "welip.tenant": run.tenant}
        if run.parent is not None and (parent := await self._parent(run.parent)) is not None:
            tags["mlflow.parentRunId"] = parent
        experiment = await self._mlflow.experiment(experiment_name(run.tenant, run.experiment))
        made = await self._mlflow.find(experiment, RUN_TAG, str(run.id))
        if made is None:
            made = await self._mlflow.create(experiment, run.name, run.started_at, tags)
        await self._mlflow.set_params(made.id, run.params)
        async with self._database.connection() as connection:
            held = await tracking.begun(connection, run.id, made.id)
        if held not in (None, made.id):
            await self._mlflow.delete(made.id)
        return held

    async def _parent(self, id: UUID) -> str | None:
        async with self._database.connection() as connection:
            parent = await tracking.run(connection, id)
        return None if parent is None else await self._begun(parent)

    async def _send_entry(self, run: Run, mlflow_id: str, entry: Entry) -> None:
        told = orjson.loads(entry.data)
        try:
            if "metrics" in told:
                await self._mlflow.log(mlflow_id, told["metrics"], told["step"], entry.created_at)
            else:
                await self._attach(run, await self._mlflow.get(mlflow_id), told["name"], told["file"])
        except (MlflowRefused, NotFound) as error:
            log.error("tracking.refused", run=str(run.id), job_id=run.job_id.hex, what="entry", error=str(error))
            async with self._database.connection() as connection:
                await tracking.refused(connection, entry, str(error))
            return
        kind = "metrics" if "metrics" in told else "file"
        TRACKED.labels(kind).inc()
        async with self._database.connection() as connection:
            await tracking.sent(connection, entry)

    async def _attach(self, run: Run, there: MlflowRun, name: str, file: str) -> None:
        """Copy a file to where MLflow's server keeps artifacts, if it does; else name it in a tag."""
        if not there.artifacts.startswith(SERVED):
            await self._mlflow.set_tag(there.id, f"welip.file.{name}", file)
            return
        async with self._database.connection() as connection:
            row = await files.file(connection, parsed("file", file), run.tenant)
        if row is None:
            raise NotFound(f"there is no file {file}: it was removed before MLflow had it")
        await self._mlflow.upload(there, name, row["bytes"], self._blobs.stream(row["blob"]))

    async def _end(self, run: Run, mlflow_id: str) -> None:
        try:
            await self._mlflow.end(mlflow_id, STATUS[run.state], run.finished_at or run.started_at)
        except MlflowRefused as error:
            log.error("tracking.refused", run=str(run.id), job_id=run.job_id.hex, what="end", error=str(error))
        async with self._database.connection() as connection:
            await tracking.close(connection, run.id)
