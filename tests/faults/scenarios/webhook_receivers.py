"""8. Webhook receivers that are down, slow, answer 500, 410, 301 or reset, while one beside them is well."""

import asyncio
import contextlib
import json
import random
import time
from asyncio import StreamWriter
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

import httpx

from infra.local.child import LOOPBACK, free_port
from schemas.topics import Pool
from tests.faults.grounds import Grounds
from tests.faults.site import Site, eventually
from tests.faults.verdict import Verdict, judge
from tests.receivers import Answer, Receiver, Request, ok, reset, status

NAME: Final = "webhook receivers down, slow, 500, 410, 301, resets"
BOUND_S: Final = 60.0
RATE: Final = 5.0
TIMEOUT_S: Final = 2.0
BAD_S: Final = 3.0
"""How long receivers misbehave from their first request on: the second attempt, 5 s later, finds them well."""
PROMPT_S: Final = 10.0
"""How late the receiver that is well may hear, and a job may end, on a machine as busy as this one."""
IN_FLIGHT: Final = 4
"""Attempts under way to one receiver, which a killed process leaves to the end of their leases."""


async def run(grounds: Grounds, quick: bool) -> Verdict:
    async with contextlib.AsyncExitStack() as listening:
        target = await listening.enter_async_context(Receiver(ok))
        answers = {
            "well": ok,
            "slow": _for_a_while(_slow),
            "500": _for_a_while(status(500)),
            "resets": _for_a_while(reset),
            "410": status(410),
            "301": status(301, f"Location: {target.url}"),
        }
        receivers = {name: await listening.enter_async_context(Receiver(answer)) for name, answer in answers.items()}
        receivers["down"] = Receiver(ok, port=free_port())
        site = await grounds.site(
            "webhooks",
            WELIP_WEBHOOK_ALLOW=LOOPBACK,
            WELIP_WEBHOOK_INSECURE_HTTP="true",
            WELIP_WEBHOOK_TIMEOUT=f"{TIMEOUT_S}",
        )
        await listening.enter_async_context(site)
        await site.hire(2)
        [deliverer] = await site.hire(1, pools=[Pool.WEBHOOK])
        endpoints = {name: await _add(site, receiver) for name, receiver in receivers.items()}
        async with site.load.steadily(RATE, lambda: {"seconds": random.uniform(0, 0.2)}):
            await receivers["well"].until(1, within_s=30)
            await asyncio.sleep(BAD_S)
            await listening.enter_async_context(receivers["down"])
            await asyncio.sleep(1 if quick else 5)
            if not quick:
                site.kill(deliverer)
                await asyncio.sleep(5)
        healed = time.monotonic()
        verdict = await judge(site, bound_s=BOUND_S)
        told = [receivers[name] for name in ("well", "slow", "500", "resets", "down")]
        with contextlib.suppress(AssertionError):
            await eventually(lambda: not _missing(told, site), "every event arrives", within_s=BOUND_S)
        verdict.recovery_s = max(0.0, max(request.at for one in told for request in one.requests) - healed)
        verdict.lost += len(_missing(told, site))
        _check_ids(verdict, told, [endpoints[name] for name in ("well", "slow", "500", "resets", "down")])
        await _check_promptness(verdict, site, receivers["well"], killed=not quick)
        gone = await _endpoint(site, endpoints["410"])
        verdict.check(gone["disabled_reason"] == "gone", f"the endpoint that answered 410 is {gone}")
        verdict.check(not target.requests, f"{len(target.requests)} redirects were followed")
        events = sum(len(one.requests) for one in told)
        verdict.notes.append(f"{len(told)} receivers heard of {verdict.jobs} jobs each, in {events} requests")
        return verdict


def _for_a_while(bad: Answer) -> Answer:
    first: list[float] = []

    async def answer(request: Request, writer: StreamWriter) -> None:
        first.append(request.at)
        await (bad if request.at - first[0] < BAD_S else ok)(request, writer)

    return answer


async def _slow(request: Request, writer: StreamWriter) -> None:
    """It takes the event, but says so when nobody waits any more."""
    await asyncio.sleep(2 * TIMEOUT_S)
    await ok(request, writer)


async def _add(site: Site, receiver: Receiver) -> dict[str, Any]:
    async with httpx.AsyncClient(base_url=site.url) as http:
        made = await http.post("/v1/webhooks", json={"url": receiver.url})
        assert made.status_code == 201, made.text
        return dict(made.json())


async def _endpoint(site: Site, endpoint: dict[str, Any]) -> dict[str, Any]:
    async with httpx.AsyncClient(base_url=site.url) as http:
        return dict((await http.get(f"/v1/webhooks/{endpoint['id']}")).json())


def _job(request: Request) -> UUID:
    return UUID(json.loads(request.body)["data"]["id"].removeprefix("job_"))


def _missing(told: Sequence[Receiver], site: Site) -> list[UUID]:
    """Jobs whose end a receiver has not heard of."""
    return [job for one in told for job in set(site.load.accepted) - {_job(request) for request in one.requests}]


def _check_ids(verdict: Verdict, told: Sequence[Receiver], endpoints: Sequence[dict[str, Any]]) -> None:
    """One id an event, the same in every attempt; every request signed with its endpoint's secret."""
    for one, endpoint in zip(told, endpoints, strict=True):
        pairs = {(_job(request), request.id) for request in one.requests}
        jobs, ids = {job for job, _ in pairs}, {id for _, id in pairs}
        verdict.check(len(pairs) == len(jobs) == len(ids), f"{one.url}: {len(ids)} ids of {len(jobs)} events")
        for request in one.requests:
            request.verified(endpoint["secret"])


async def _check_promptness(verdict: Verdict, site: Site, well: Receiver, *, killed: bool) -> None:
    """Neither the receiver that is well nor any job waited for the others."""
    rows = await site.fetch("SELECT id, finished_at, finished_at - created_at AS took FROM job")
    slowest = max(row["took"].total_seconds() for row in rows)
    verdict.check(slowest < PROMPT_S, f"a job took {slowest:.1f} s beside receivers that fail")
    zero = datetime.now(UTC).timestamp() - time.monotonic()
    heard = {_job(request): request.at + zero for request in reversed(well.requests)}
    late = [row for row in rows if heard.get(row["id"], 0.0) - row["finished_at"].timestamp() > PROMPT_S]
    verdict.check(len(late) <= (IN_FLIGHT if killed else 0), f"{len(late)} events came late where all was well")
