"""`client.adapters`: register a LoRA adapter, list the tenant's own, and remove one."""

from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any, TypeAlias

import httpx

from producers.client import requests, uploads
from producers.client.binding import AsynchronousPart, BlockingPart, call
from producers.client.errors import WelipError
from producers.client.flows import Flow
from producers.client.models import Answered, Deleted, File
from producers.client.requests import Request, one, path
from producers.client.uploads import SentWatcher, Source


class Adapter(Answered):
    """An adapter; `id` is what requests name as their model. `version`, `rank` and `sha256` of a registered one.

    `served`: whether a worker that is alive runs the model it was trained on, the `parent`.
    """

    id: str
    parent: str
    created: datetime
    served: bool = False
    version: int | None = None
    rank: int | None = None
    sha256: str | None = None


Listed: TypeAlias = list[Adapter]


class _Models(Answered):
    data: Sequence[dict[str, Any]]


class AdapterCalls:
    """Adapters of the key's tenant, and those that a model's server has itself."""

    @call
    def add(
        self,
        source: Source,
        base: str,
        name: str,
        *,
        filename: str | None = None,
        progress: SentWatcher | None = None,
    ) -> Flow[Adapter]:
        """Upload a zip archive as PEFT saves its files, and register it as the next version of `base:name`.

        The same content again is no new version. The uploaded file is removed. `progress` gets the bytes sent so far.
        Raises `ApiError` with status 422 and the reason for what cannot be served.
        """
        with uploads.opened(source, filename, progress) as (called, file):
            sent: File = yield requests.upload(called, file, "adapter")
        try:
            body = {"base": base, "name": name, "file": sent.id}
            added: Adapter = yield Request("POST", path("models"), one(Adapter), json=body, patience_s=300)
        except WelipError:
            with suppress(WelipError):
                yield requests.delete_file(sent.id)
            raise
        yield requests.delete_file(sent.id)
        return added

    @call
    def list(self) -> Request[Listed]:
        """Every adapter in its newest version, under its model."""
        return Request("GET", path("models"), _adapters)

    @call
    def remove(self, id: str) -> Request[Deleted]:
        """Remove `base:name` with all its versions, or `base:name@version`. Jobs that wait for it fail."""
        return Request("DELETE", path("models", id), one(Deleted))


def _adapters(response: httpx.Response) -> Listed:
    models = _Models.model_validate_json(response.content).data
    return [Adapter.model_validate(model) for model in models if model.get("parent")]


class Adapters(AdapterCalls, BlockingPart):
    """`Client.adapters`."""


class AsyncAdapters(AdapterCalls, AsynchronousPart):
    """`AsyncClient.adapters`."""
