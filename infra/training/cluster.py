"""TrainJobs in a Kubernetes cluster: made, looked at and deleted, with the official client.

The client is found like `kubectl` finds its cluster: by `KUBECONFIG`, or by the service account of the worker's pod.
"""

import asyncio
import json
import os
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from infra.training.settings import KubeflowSettings
from infra.training.trainjob import GROUP, OF_JOB, PLURAL, VERSION
from schemas.errors import DependencyMissing, DependencyUnavailable, TrainingFailed

ANSWERS_WITHIN_S: Final = 30
NAMESPACE_OF_POD: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
BUSY: Final = 429


class Cluster:
    """Every call raises `DependencyMissing` where no cluster is configured, `DependencyUnavailable` where it does not
    answer, and `TrainingFailed` (`trainjob_refused`), with its reason, where it refuses.
    """

    def __init__(self, settings: KubeflowSettings) -> None:
        self._settings = settings

    async def create(self, body: Mapping[str, Any]) -> None:
        """Make a TrainJob; one of this name that is there already is taken for it."""
        # Strict: a field that this version of the Trainer does not know is refused, not dropped.
        await self._call("create_namespaced_custom_object", body, field_validation="Strict", also=409)

    async def end(self, name: str) -> str | None:
        """How a TrainJob ended; None while it waits or runs."""
        found = await self._call("get_namespaced_custom_object", name, also=404)
        if found is None:
            return "it was deleted"
        for one in found.get("status", {}).get("conditions", []):
            if one["type"] in ("Complete", "Failed") and one["status"] == "True":
                return f"{one['type']}, {one['reason']}: {one['message']}"
        return None

    async def delete(self, name: str) -> None:
        """Delete a TrainJob and its pods, if it is there."""
        await self._call("delete_namespaced_custom_object", name, also=404)

    async def delete_all(self, job: str) -> None:
        """Delete all TrainJobs of a job: those of workers that were killed."""
        await self._call("delete_collection_namespaced_custom_object", label_selector=f"{OF_JOB}={job}")

    @cached_property
    def _namespace(self) -> str:
        if self._settings.namespace is not None:
            return self._settings.namespace
        return NAMESPACE_OF_POD.read_text().strip() if NAMESPACE_OF_POD.exists() else "default"

    @cached_property
    def _api(self) -> Any:
        try:
            from kubernetes import client, config
        except ImportError as error:
            raise DependencyMissing("TrainJobs need the Kubernetes client: pip install 'welip[train]'") from error
        told = client.Configuration()
        named = os.environ.get("KUBECONFIG")
        try:
            if named is None and "KUBERNETES_SERVICE_HOST" in os.environ:
                config.load_incluster_config(client_configuration=told)
            else:
                config.load_kube_config(named, client_configuration=told)
        except config.ConfigException as error:
            why = "WELIP_KUBEFLOW_RUNTIME is set, but this worker knows no cluster"
            raise DependencyMissing(f"{why}: run it in a pod with a service account, or set KUBECONFIG") from error
        return client.CustomObjectsApi(client.ApiClient(told))

    async def _call(self, method: str, *given: Any, also: int | None = None, **options: Any) -> Any:
        """What a call returns; None for the status that is `also` an answer."""
        return await asyncio.to_thread(self._called, method, given, options, also)

    def _called(self, method: str, given: Sequence[Any], options: Mapping[str, Any], also: int | None) -> Any:
        call = getattr(self._api, method)
        from kubernetes.client import ApiException
        from urllib3.exceptions import HTTPError

        try:
            return call(GROUP, VERSION, self._namespace, PLURAL, *given, **options, _request_timeout=ANSWERS_WITHIN_S)
        except HTTPError as error:
            raise DependencyUnavailable(f"the Kubernetes API does not answer: {error}") from error
        except ApiException as error:
            if error.status == also:
                return None
            if error.status == BUSY or error.status >= 500:
                raise DependencyUnavailable(f"the Kubernetes API is at fault: status {error.status}") from error
            raise TrainingFailed(_refusal(error.status, error.body), code="trainjob_refused") from error


def _refusal(status: int, body: str | bytes | None) -> str:
    try:
        said = str(json.loads(body or "")["message"])
    except (ValueError, KeyError, TypeError):
        said = f"status {status}"
    remedy = {
        403: "; the worker's service account needs the role of infra/deploy/kubeflow.yaml",
        404: "; is Kubeflow Trainer installed in this cluster?",
    }
    return f"the cluster refused the TrainJob: {said}{remedy.get(status, '')}"
