"""Submissions over HTTP, as a careful client makes them: repeated under one idempotency key until accepted."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Self
from uuid import UUID, uuid4

import httpx

from tests.faults.probe import KIND

PAUSE_S = 0.3


class Load:
    """`accepted`: each job's id and when its acceptance was answered. `problems`: answers that are never right.

    A clean refusal is a 503 that is a problem document and says when to come again; it is counted in `refused`.
    `key`: of the tenant whose jobs they are, where the gateway asks for one.
    """

    def __init__(self, url: str, key: str | None = None) -> None:
        self.accepted: dict[UUID, float] = {}
        self.refused: Counter[int] = Counter()
        self.problems: list[str] = []
        self.slowest_s = 0.0
        # A kept connection is let go before the server closes it: a request that meets that moment gets no answer.
        limits = httpx.Limits(max_connections=200, keepalive_expiry=2)
        self.http = httpx.AsyncClient(base_url=url, timeout=60, limits=limits, headers=bearer(key))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.http.aclose()

    async def submit(
        self, *, kind: str = KIND, max_attempts: int = 5, tries: int = 200, lane: str = "interactive", **input: Any
    ) -> None:
        """Until accepted, `tries` times at most."""
        body = {"kind": kind, "input": input, "max_attempts": max_attempts, "lane": lane}
        key = uuid4().hex
        for _ in range(tries):
            began = time.monotonic()
            try:
                answer = await self.http.post("/v1/jobs", json=body, headers={"Idempotency-Key": key})
            except httpx.TransportError as error:
                self.problems.append(f"a submission got no answer: {error!r}")
                return
            self.slowest_s = max(self.slowest_s, time.monotonic() - began)
            if answer.status_code in (200, 202):
                self.accepted[UUID(answer.json()["id"].removeprefix("job_"))] = time.time()
                return
            if not clean(answer):
                self.problems.append(f"a submission was answered {answer.status_code}: {answer.text[:200]}")
                return
            self.refused[answer.status_code] += 1
            await asyncio.sleep(PAUSE_S)

    async def burst(self, count: int, *, kind: str = KIND, max_attempts: int = 5, **input: Any) -> None:
        """`count` equal jobs at once."""
        await asyncio.gather(*(self.submit(kind=kind, max_attempts=max_attempts, **input) for _ in range(count)))

    @asynccontextmanager
    async def steadily(
        self, per_second: float, make: Callable[[], dict[str, Any]], *, max_attempts: int = 5
    ) -> AsyncIterator[None]:
        """While the block runs, submit at a fixed rate, whatever the answers do; all are accepted when it is over."""
        enough = asyncio.Event()

        async def feed() -> None:
            async with asyncio.TaskGroup() as tasks:
                while not enough.is_set():
                    tasks.create_task(self.submit(max_attempts=max_attempts, **make()))
                    await asyncio.sleep(1 / per_second)

        feeding = asyncio.create_task(feed())
        try:
            yield
            enough.set()
            await feeding
        finally:
            feeding.cancel()
            await asyncio.gather(feeding, return_exceptions=True)


def bearer(key: str | None) -> dict[str, str]:
    """The header that says who asks."""
    return {} if key is None else {"Authorization": f"Bearer {key}"}


def clean(answer: httpx.Response) -> bool:
    """Whether a refusal says what a client needs: come again later."""
    return (
        answer.status_code == 503
        and answer.headers["content-type"].startswith("application/problem+json")
        and int(answer.headers.get("retry-after", 0)) > 0
    )
