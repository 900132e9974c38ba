"""MLflow's REST API, as far as runs need it: https://mlflow.org/docs/latest/rest-api.html."""

import contextlib
import re
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from urllib.parse import quote

import httpx

from infra.settings import MlflowSettings
from schemas.errors import DependencyUnavailable

MAX_METRICS: Final = 1_000
MAX_PARAMS: Final = 100
MAX_KEY_CHARS: Final = 250
MAX_PARAM_CHARS: Final = 6_000
MAX_TAG_CHARS: Final = 5_000
MAX_EXPERIMENT_CHARS: Final = 500
_NOT_IN_NAMES: Final = re.compile(r"[^\w\-. :/]")
_WAITS: Final = frozenset({401, 403, 408, 429})
"""Refusals that the operator or time mends: what is refused so stays in the spool."""

SERVED: Final = "mlflow-artifacts:"
"""How the address of artifacts begins that go through the server."""


class MlflowRefused(Exception):
    """MLflow says that a request can never succeed, and why."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code


@dataclass(frozen=True, slots=True)
class MlflowRun:
    """A run in MLflow. `artifacts`: where its files lie."""

    id: str
    artifacts: str


class Mlflow:
    """A client of one MLflow server. Every call may be repeated.

    Raises `MlflowRefused`, and `DependencyUnavailable` while the server does not answer, fails, or wants another key.
    """

    def __init__(self, uri: str, settings: MlflowSettings) -> None:
        headers = {}
        if settings.token is not None:
            headers["Authorization"] = f"Bearer {settings.token.get_secret_value()}"
        self._client = httpx.AsyncClient(
            base_url=uri.rstrip("/") + "/api/2.0",
            headers=headers,
            auth=(settings.username, settings.password.get_secret_value()) if settings.username else None,
            timeout=settings.timeout.total_seconds(),
        )

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def experiment(self, name: str) -> str:
        """The id of the experiment, which is made if it is not there."""
        name = name[:MAX_EXPERIMENT_CHARS]
        try:
            return await self._experiment(name)
        except MlflowRefused as error:
            if error.code != "RESOURCE_DOES_NOT_EXIST":
                raise
        try:
            return str((await self._post("experiments/create", {"name": name}))["experiment_id"])
        except MlflowRefused as error:
            if error.code != "RESOURCE_ALREADY_EXISTS":
                raise
            return await self._experiment(name)

    async def find(self, experiment: str, tag: str, value: str) -> MlflowRun | None:
        """The run of an experiment that has a tag of this value: a name and a value without quotation marks."""
        wanted = {"experiment_ids": [experiment], "filter": f"tags.`{tag}` = '{value}'", "max_results": 1}
        found = (await self._post("runs/search", wanted)).get("runs", [])
        return _run(found[0]) if found else None

    async def create(self, experiment: str, name: str, started_at: datetime, tags: Mapping[str, str]) -> MlflowRun:
        """Begin a run."""
        body = {
            "experiment_id": experiment,
            "run_name": name[:MAX_KEY_CHARS],
            "start_time": _ms(started_at),
            "tags": _pairs(tags, MAX_TAG_CHARS),
        }
        return _run((await self._post("runs/create", body))["run"])

    async def get(self, run: str) -> MlflowRun:
        """A run by its id."""
        with _reached():
            answer = await self._client.get("/mlflow/runs/get", params={"run_id": run})
        return _run(_told(answer)["run"])

    async def delete(self, run: str) -> None:
        """Move a run to MLflow's bin."""
        await self._post("runs/delete", {"run_id": run})

    async def set_params(self, run: str, params: Mapping[str, str]) -> None:
        """Say what a run was made with. A value that was said stays."""
        pairs = _pairs(params, MAX_PARAM_CHARS)
        for first in range(0, len(pairs), MAX_PARAMS):
            await self._post("runs/log-batch", {"run_id": run, "params": pairs[first : first + MAX_PARAMS]})

    async def log(self, run: str, metrics: Mapping[str, float | str], step: int, at: datetime) -> None:
        """Add values of a step. The same values of the same time, once more, change nothing."""
        points = [
            {"key": _name(name), "value": value, "timestamp": _ms(at), "step": step} for name, value in metrics.items()
        ]
        for first in range(0, len(points), MAX_METRICS):
            await self._post("runs/log-batch", {"run_id": run, "metrics": points[first : first + MAX_METRICS]})

    async def set_tag(self, run: str, name: str, value: str) -> None:
        """Set a tag."""
        await self._post("runs/set-tag", {"run_id": run, "key": _name(name), "value": value[:MAX_TAG_CHARS]})

    async def end(self, run: str, status: str, at: datetime) -> None:
        """End a run as `FINISHED`, `FAILED` or `KILLED`."""
        await self._post("runs/update", {"run_id": run, "status": status, "end_time": _ms(at)})

    async def upload(self, run: MlflowRun, name: str, size: int, pieces: AsyncIterator[bytes]) -> None:
        """Store a file of a run whose artifacts go through the server; a file of that name is replaced."""
        where = run.artifacts.removeprefix(SERVED).lstrip("/")
        with _reached():
            answer = await self._client.put(
                f"/mlflow-artifacts/artifacts/{quote(f'{where}/{name}')}",
                content=pieces,
                headers={"Content-Length": str(size)},
            )
        _told(answer)

    async def call(self, method: str, path: str, given: Mapping[str, Any]) -> dict[str, Any]:
        """A call of the API under `/mlflow`. `given`: the body, of a GET the query."""
        how: dict[str, Any] = {"params" if method == "GET" else "json": given}
        with _reached():
            answer = await self._client.request(method, f"/mlflow/{path}", **how)
        return _told(answer)

    async def _experiment(self, name: str) -> str:
        with _reached():
            answer = await self._client.get("/mlflow/experiments/get-by-name", params={"experiment_name": name})
        return str(_told(answer)["experiment"]["experiment_id"])

    async def _post(self, call: str, body: dict[str, Any]) -> dict[str, Any]:
        return await self.call("POST", call, body)


@contextlib.contextmanager
def _reached() -> Iterator[None]:
    try:
        yield
    except httpx.HTTPError as error:
        raise DependencyUnavailable(f"MLflow does not answer: {error or type(error).__name__}") from error


def _told(answer: httpx.Response) -> dict[str, Any]:
    """The JSON of an answer. What does not come from MLflow itself, such as a proxy's page, is no refusal."""
    try:
        told = answer.json() if answer.content else {}
    except ValueError:
        told = None
    if answer.is_success and isinstance(told, dict):
        return told
    if (
        isinstance(told, dict)
        and "error_code" in told
        and answer.status_code < 500
        and answer.status_code not in _WAITS
    ):
        raise MlflowRefused(str(told["error_code"]), str(told.get("message", ""))[:1_000])
    raise DependencyUnavailable(f"MLflow answers {answer.status_code}: {answer.text[:200]}")


def _run(told: dict[str, Any]) -> MlflowRun:
    return MlflowRun(told["info"]["run_id"], told["info"].get("artifact_uri", ""))


def _pairs(given: Mapping[str, str], most: int) -> list[dict[str, str]]:
    return [{"key": _name(name), "value": value[:most]} for name, value in given.items()]


def _name(name: str) -> str:
    return _NOT_IN_NAMES.sub("_", name.replace("@", "_at_"))[:MAX_KEY_CHARS]


def _ms(at: datetime) -> int:
    return round(at.timestamp() * 1000)
