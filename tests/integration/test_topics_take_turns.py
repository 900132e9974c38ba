"""One consumer reads all topics of a pool and lane: a flood on one topic holds up no other."""

from tests.integration.house import House


async def test_a_flood_on_one_topic_does_not_hold_up_the_first_message_of_another(house: House) -> None:
    await house.worker(concurrency=1)
    flood = await house.submit(60, kind="trial", stage="act", input='{"sleep_s": 0.1}')
    await house.until(flood[:1], {"running", "succeeded"})
    [other] = await house.submit()
    [row] = await house.until([other])
    later = [one for one in await house.until(flood) if one["started_at"] > row["started_at"]]
    assert len(later) > 5
