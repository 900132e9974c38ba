"""A worker whose lanes share one slot runs one job at a time, and interactive work that waits goes first."""

from itertools import pairwise

from tests.integration.house import House


async def test_one_job_at_a_time_and_interactive_before_bulk(house: House) -> None:
    await house.worker(concurrency=1, shared_slots=True)
    [first] = await house.submit(kind="trial", stage="act", lane="bulk", input='{"sleep_s": 1.5}')
    await house.until([first], {"running"})
    bulk = await house.submit(3, kind="trial", stage="act", lane="bulk", input='{"sleep_s": 0.1}')
    interactive = await house.submit(2, kind="trial", stage="act", input='{"sleep_s": 0.1}')
    rows = await house.until([first, *bulk, *interactive])
    assert {row["state"] for row in rows} == {"succeeded"}
    spans = sorted((row["started_at"], row["finished_at"], row["id"]) for row in rows)
    assert all(end <= begin for (_, end, _), (begin, _, _) in pairwise(spans)), "two at once"
    order = [job_id for *_, job_id in spans]
    assert order[0] == first
    assert set(order[1:3]) == set(interactive)
