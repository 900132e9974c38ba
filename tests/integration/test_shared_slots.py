"""A worker whose lanes share one slot runs one job at a time, and waiting interactive work goes first."""

import json
from datetime import timedelta
from itertools import pairwise

from tests.integration.house import House


async def test_one_job_at_a_time_and_interactive_before_bulk(house: House) -> None:
    await house.worker(concurrency=1, shared_slots=True)
    [first] = await house.submit(kind="trial", stage="act", lane="bulk", input='{"sleep_s": 1.5}')
    await house.until([first], {"running"})
    bulk = await house.submit(3, kind="trial", stage="act", lane="bulk", input='{"sleep_s": 0.3}')
    interactive = await house.submit(2, kind="trial", stage="act", input='{"sleep_s": 0.3}')
    rows = await house.until([first, *bulk, *interactive])
    assert {row["state"] for row in rows} == {"succeeded"}
    order = sorted(rows, key=lambda row: row["started_at"])
    for one, following in pairwise(order):
        # The slot is free when the stage ends, a moment before that is recorded. A tenth is for the clocks.
        sleeps = timedelta(seconds=json.loads(one["input"])["sleep_s"])
        assert following["started_at"] >= one["started_at"] + 0.9 * sleeps, "two at once"
    assert order[0]["id"] == first
    assert {row["id"] for row in order[1:3]} == set(interactive)
