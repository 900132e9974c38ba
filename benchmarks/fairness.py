"""Measures what a tenant's flood of bulk work costs another tenant: in the lane interactive, and in the same lane."""

import time
from statistics import median
from typing import Any, NamedTuple

import httpx

from benchmarks.jobs import CONCURRENCY, empty, query
from benchmarks.lines import make, wait_until_completed
from benchmarks.processes import Bench
from infra.postgres.keys import create_key
from schemas.ids import parsed

ITEM_S = 0.05
"""How long an item of the flood takes."""
ASKED = 200
"""Interactive jobs of one measurement."""
PAUSE_S = 0.02
"""Between two of them."""
ROUNDS = 3
"""Batches of one measurement, of which the median counts."""


class Took(NamedTuple):
    """Seconds of a small batch: from the request for it to its end, and from its first claim to its last item's end."""

    all_s: float
    items_s: float


def measure(bench: Bench, flood: int, few: int = 100) -> dict[str, Any]:
    """Tenant B's latency and batch of `few` items, alone and beside tenant A's batch of `flood` items.

    An equal share doubles the time in which the workers do B's items, from the first claim to the last end, and no
    more.
    """
    empty(bench)
    keys = {tenant: create_key(bench.postgres, tenant, "bench") for tenant in ("bench-a", "bench-b")}
    with (
        bench.gateway(WELIP_AUTH="on"),
        bench.workers(1, CONCURRENCY, warm=False),
        _client(bench, keys["bench-a"]) as a,
        _client(bench, keys["bench-b"]) as b,
    ):
        wait_until_completed(a, make(a, 100))
        _took(bench, b, few)  # every module is loaded now, and every statement prepared
        alone, quiet = _median(bench, b, few), _p95_ms(b)
        batch = make(a, flood, ITEM_S)
        _wait_until_begun(a, batch)
        beside, busy = _median(bench, b, few), _p95_ms(b)
        if a.get(f"/v1/batches/{batch}").json()["status"] != "in_progress":
            raise RuntimeError("the flood ended before the measurement did: make it larger")
        a.post(f"/v1/batches/{batch}/cancel")
    return {
        "flood": flood,
        "few_alone_s": round(alone.all_s, 2),
        "few_items_s": round(alone.items_s, 2),
        "few_beside_s": round(beside.all_s, 2),
        "fair_ratio": round(beside.all_s / (alone.all_s + alone.items_s), 2),
        "interactive_p95_ms": [round(quiet, 1), round(busy, 1)],
        "interactive_p95_ratio": round(busy / quiet, 2),
    }


def _client(bench: Bench, key: str) -> httpx.Client:
    headers = {"Authorization": f"Bearer {key}"}
    return httpx.Client(base_url=f"http://127.0.0.1:{bench.port}", headers=headers, timeout=300)


def _median(bench: Bench, http: httpx.Client, lines: int) -> Took:
    """The median of some small batches, one after the other."""
    every = [_took(bench, http, lines) for _ in range(ROUNDS)]
    return Took(median(one.all_s for one in every), median(one.items_s for one in every))


def _took(bench: Bench, http: httpx.Client, lines: int) -> Took:
    began = time.monotonic()
    batch = make(http, lines, ITEM_S)
    wait_until_completed(http, batch, every_s=0.02)
    all_s = time.monotonic() - began
    parent = parsed("batch", batch)
    items = f"SELECT extract(epoch FROM max(finished_at) - min(claimed_at))::float8 FROM job WHERE parent = '{parent}'"
    return Took(all_s, query(bench, items))


def _p95_ms(http: httpx.Client) -> float:
    """The 95th percentile of the time from sending an interactive no-op job to the answer that it has ended."""
    taken = []
    for _ in range(ASKED):
        began = time.monotonic()
        answer = http.post("/v1/jobs", json={"kind": "noop", "input": {}}, headers={"Prefer": "wait=30"})
        if answer.status_code != 200:
            raise RuntimeError(f"an interactive job did not end: {answer.text}")
        taken.append(time.monotonic() - began)
        time.sleep(PAUSE_S)
    return sorted(taken)[int(ASKED * 0.95)] * 1000


def _wait_until_begun(http: httpx.Client, batch: str) -> None:
    deadline = time.monotonic() + 300
    while not http.get(f"/v1/batches/{batch}").json()["request_counts"]["completed"]:
        if time.monotonic() > deadline:
            raise RuntimeError("no line of the flood was done within 300 s")
        time.sleep(0.1)
