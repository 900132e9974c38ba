"""Another tenant beside the load: it indexes what does harm, over HTTP, and is told how each of its jobs ended."""

import asyncio
from typing import Any, Self

import httpx

from infra.postgres.keys import create_key
from tests.faults.load import bearer
from tests.faults.site import NotInTime, Site

ENDED = ("succeeded", "failed", "cancelled")


class Tenant:
    """`async with`: a client with a key of its own."""

    def __init__(self, site: Site, name: str) -> None:
        self._site = site
        self._name = name

    async def __aenter__(self) -> Self:
        key = await asyncio.to_thread(create_key, self._site.database, self._name, "harm")
        self._http = httpx.AsyncClient(base_url=self._site.url, timeout=60, headers=bearer(key))
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.aclose()

    async def upload(self, data: bytes, filename: str) -> str:
        """The id of a file that is there now."""
        answer = await self._http.post("/v1/files", files={"file": (filename, data)}, data={"purpose": "corpus"})
        return str(answer.raise_for_status().json()["id"])

    async def index(self, **input: Any) -> str:
        """The id of the job."""
        answer = await self._http.post("/v1/jobs", json={"kind": "indexing", "input": input})
        return str(answer.raise_for_status().json()["id"])

    async def ended(self, job: str, *, within_s: float) -> dict[str, Any]:
        """The job, as it is shown after its end. Raises `NotInTime`."""
        deadline = asyncio.get_running_loop().time() + within_s
        while True:
            found: dict[str, Any] = (await self._http.get(f"/v1/jobs/{job}")).raise_for_status().json()
            if found["state"] in ENDED:
                return found
            if asyncio.get_running_loop().time() > deadline:
                raise NotInTime(f"not within {within_s:g} s: {job} ends; it is {found['state']}")
            await asyncio.sleep(0.2)
