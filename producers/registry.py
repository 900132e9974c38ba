"""Mirrors trained adapters and aliases to MLflow's model registry: Postgres says what is, MLflow shows it."""

import json
from collections.abc import AsyncIterator
from typing import Final, Protocol

import structlog

from infra.metrics import TRACKED
from infra.mlflow import SERVED, Mlflow, MlflowRefused, MlflowRun
from infra.mlflow_registry import MlflowRegistry
from infra.postgres.database import Database
from infra.postgres.queries import registry
from infra.postgres.queries.adapters import StoredAdapter
from infra.postgres.queries.registry import MovedAlias, NewAdapter
from schemas.adapters import NamedAdapter
from schemas.errors import NotFound
from schemas.lineage import Lineage

log = structlog.get_logger(__name__)

AT_ONCE: Final = 20
FOLDER: Final = "model"
"""Of the version's files, in the artifacts of its run."""

MESSAGES: Final = {
    "type": "object",
    "properties": {"role": {"type": "string", "required": True}, "content": {"type": "string", "required": True}},
}
SIGNATURE: Final = {
    "inputs": json.dumps([{"name": "messages", "type": "array", "items": MESSAGES, "required": True}]),
    "outputs": json.dumps([{"name": "message", **MESSAGES, "required": True}]),
    "params": None,
}
"""What `generation` takes and gives: https://mlflow.org/docs/latest/ml/model/signatures."""


class Stored(Protocol):
    """What sending weights needs of object storage."""

    def stream(self, key: str) -> AsyncIterator[bytes]:
        """The bytes under `key`, in pieces. Raises `NotFound`."""


class RegistryMirror:
    """Tells the registry what it lacks. Every request may be repeated, and nothing is kept in memory.

    While MLflow is away the difference stays in Postgres, so only the newest meaning of an alias is ever sent.
    """

    def __init__(self, database: Database, blobs: Stored, mlflow: Mlflow) -> None:
        self._database = database
        self._blobs = blobs
        self._mlflow = mlflow
        self._registry = MlflowRegistry(mlflow)

    async def anything(self) -> bool:
        """Whether something is to be told."""
        async with self._database.connection() as connection:
            return await registry.anything(connection)

    async def round(self) -> int:
        """Tell of some adapters and aliases; how many. Raises `DependencyUnavailable`."""
        async with self._database.connection() as connection:
            new = await registry.new_adapters(connection, AT_ONCE)
        for one in new:
            await self._add(one)
        async with self._database.connection() as connection:
            moved = await registry.moved_aliases(connection, AT_ONCE)
        for alias in moved:
            await self._move(alias)
        return len(new) + len(moved)

    async def _add(self, new: NewAdapter) -> None:
        adapter = new.adapter
        model = registered_name(adapter)
        version, error = None, None
        try:
            run = await self._mlflow.get(new.run)
            if run.artifacts.startswith(SERVED):
                await self._upload(run, adapter)
            version = await self._registry.version(
                model,
                str(adapter.id),
                source=f"{run.artifacts}/{FOLDER}",
                run=new.run,
                tags=_tags(adapter),
                description=f"{NamedAdapter(adapter.base, adapter.name, adapter.version)} of WeLIP",
            )
        except (MlflowRefused, NotFound) as refused:
            error = str(refused)
            log.error("registry.refused", model=model, adapter=str(adapter.id), error=error)
        else:
            TRACKED.labels("model").inc()
        async with self._database.connection() as connection:
            await registry.added(connection, adapter.id, model, version, error)

    async def _upload(self, run: MlflowRun, adapter: StoredAdapter) -> None:
        """Weights, configuration, and what MLflow reads of a model: https://mlflow.org/docs/latest/ml/model."""
        weights = "adapter_model.safetensors"
        await self._mlflow.upload(run, f"{FOLDER}/{weights}", adapter.bytes, self._blobs.stream(adapter.blob))
        about = {
            "artifact_path": FOLDER,
            "run_id": run.id,
            "model_uuid": adapter.id.hex,
            "utc_time_created": f"{adapter.created_at:%Y-%m-%d %H:%M:%S.%f}",
            "signature": SIGNATURE,
            "flavors": {"peft": {"base_model": adapter.base, "data": "."}},
            "metadata": None if adapter.lineage is None else json.loads(adapter.lineage),
        }
        # JSON is YAML.
        for name, text in (("adapter_config.json", adapter.config), ("MLmodel", json.dumps(about, indent=1))):
            data = text.encode()
            await self._mlflow.upload(run, f"{FOLDER}/{name}", len(data), _whole(data))

    async def _move(self, alias: MovedAlias) -> None:
        error = None
        try:
            if alias.has_model is not None and alias.has_model != alias.model and alias.shown:
                await self._registry.unpoint(alias.has_model, alias.alias)
            if alias.model is not None and alias.version is not None:
                await self._registry.point(alias.model, alias.alias, alias.version)
        except MlflowRefused as refused:
            error = str(refused)
            log.error("registry.refused", alias=alias.alias, tenant=alias.tenant, model=alias.model, error=error)
        async with self._database.connection() as connection:
            if alias.model is None or alias.version is None:
                await registry.forgotten(connection, alias.tenant, alias.alias)
            else:
                await registry.pointed(connection, alias.tenant, alias.alias, alias.model, alias.version, error)


def registered_name(adapter: StoredAdapter) -> str:
    """`tenant~base~name`: no `~` is in any of them, and MLflow takes neither `/` nor `:`."""
    return f"{adapter.tenant}~{adapter.base}~{adapter.name}"


def _tags(adapter: StoredAdapter) -> dict[str, str]:
    """Where the version comes from, to be searched for."""
    tags = {
        "welip.model": str(NamedAdapter(adapter.base, adapter.name, adapter.version)),
        "welip.tenant": adapter.tenant,
        "welip.sha256": adapter.sha256,
    }
    if adapter.lineage is None:
        return tags
    told = Lineage.model_validate_json(adapter.lineage)
    found = {
        "welip.job": told.job,
        "welip.code": told.code,
        "welip.method": f"{told.method}/{told.adapter}",
        "welip.base.weights": told.weights,
        "welip.base.revision": told.revision,
        "welip.file": told.archive,
        "welip.dataset": None if told.dataset is None else told.dataset.file,
        "welip.dataset.sha256": None if told.dataset is None else told.dataset.sha256,
        **{f"welip.param.{name}": str(value) for name, value in told.parameters.items() if value is not None},
    }
    return tags | {name: value for name, value in found.items() if value}


async def _whole(data: bytes) -> AsyncIterator[bytes]:
    yield data
