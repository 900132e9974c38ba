"""A submitted job reaches its end over relay, topic and worker, on either broker, whatever happens to its messages."""

from tests.integration.house import House


async def test_submitted_jobs_succeed(house: House) -> None:
    await house.worker()
    ids = await house.submit(50)
    rows = await house.until(ids)
    assert {(row["state"], row["epoch"], row["attempt"]) for row in rows} == {("succeeded", 1, 1)}
