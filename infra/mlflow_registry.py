"""MLflow's model registry through its REST API: versions of models, and aliases that point to them."""

from collections.abc import Mapping
from typing import Final

from infra.mlflow import Mlflow, MlflowRefused

MADE_BY: Final = "welip.adapter"
"""The tag by which a version is found again that was made by a process that died before it could note so."""
_THERE: Final = "RESOURCE_ALREADY_EXISTS"
_GONE: Final = "RESOURCE_DOES_NOT_EXIST"


class MlflowRegistry:
    """The registry of one MLflow server. Every call may be repeated, and raises as `Mlflow` does."""

    def __init__(self, mlflow: Mlflow) -> None:
        self._mlflow = mlflow

    async def version(
        self, model: str, adapter: str, *, source: str, run: str, tags: Mapping[str, str], description: str
    ) -> str:
        """The version of a registered model that an adapter is; it is made, with its model, unless it is there.

        `source`: where its files lie, within the artifacts of `run`.
        """
        try:
            await self._mlflow.call("POST", "registered-models/create", {"name": model})
        except MlflowRefused as error:
            if error.code != _THERE:
                raise
        wanted = {"filter": f"name = '{model}' and tags.`{MADE_BY}` = '{adapter}'", "max_results": "1"}
        found = (await self._mlflow.call("GET", "model-versions/search", wanted)).get("model_versions", [])
        if found:
            return str(found[0]["version"])
        pairs = [{"key": name, "value": value} for name, value in {**tags, MADE_BY: adapter}.items()]
        body = {"name": model, "source": source, "run_id": run, "tags": pairs, "description": description}
        made = await self._mlflow.call("POST", "model-versions/create", body)
        return str(made["model_version"]["version"])

    async def point(self, model: str, alias: str, version: str) -> None:
        """Let an alias of a model point to a version."""
        await self._mlflow.call("POST", "registered-models/alias", {"name": model, "alias": alias, "version": version})

    async def unpoint(self, model: str, alias: str) -> None:
        """Remove an alias of a model, if it is there."""
        try:
            await self._mlflow.call("DELETE", "registered-models/alias", {"name": model, "alias": alias})
        except MlflowRefused as error:
            if error.code != _GONE:
                raise
