"""How many requests a server is sent at a time, in which order, and how many tokens a minute."""

import asyncio
import math
from contextlib import AsyncExitStack
from datetime import timedelta

from infra.engines.gate import BULK_EVERY, Gate, Turn
from infra.engines.pace import TokenPace
from schemas.topics import Lane


async def turns(gate: Gate, count: int, exits: AsyncExitStack) -> list[Turn]:
    return [await exits.enter_async_context(gate.turn(Lane.INTERACTIVE)) for _ in range(count)]


async def settled() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


class TestAdapting:
    async def test_one_refusal_of_those_under_way_together_halves_their_number(self) -> None:
        gate = Gate("m", adapts=True)
        assert gate.limit == math.inf
        async with AsyncExitStack() as exits:
            for turn in await turns(gate, 8, exits):
                turn.refused(None)
        assert gate.limit == 4

    async def test_it_grows_by_one_for_as_many_as_it_allows_and_no_further_than_it_may(self) -> None:
        gate = Gate("m", 6, adapts=True)
        async with AsyncExitStack() as exits:
            (await turns(gate, 6, exits))[0].refused(None)
        assert gate.limit == 3
        for _ in range(4):
            async with gate.turn(Lane.BULK) as turn:
                turn.taken()
        assert 4 <= gate.limit < 4.3
        for _ in range(100):
            async with gate.turn(Lane.BULK) as turn:
                turn.taken()
        assert gate.limit == 6

    async def test_a_refusal_by_chance_costs_little_where_the_server_had_taken_as_many_for_a_while(self) -> None:
        gate = Gate("m", 20, adapts=True)
        for _ in range(2):
            async with AsyncExitStack() as exits:
                for turn in await turns(gate, 20, exits):
                    turn.taken()
        async with AsyncExitStack() as exits:
            (await turns(gate, 20, exits))[0].refused(None)
        assert gate.limit == 14
        for _ in range(5):
            async with gate.turn(Lane.BULK) as turn:
                turn.taken()
        assert gate.limit == 19
        async with AsyncExitStack() as exits:
            (await turns(gate, 18, exits))[0].refused(None)
        assert gate.limit == 9
        async with gate.turn(Lane.BULK) as turn:
            turn.taken()
        assert gate.limit < 9.2, "the second one came too soon to be a chance"

    async def test_a_refusal_in_each_round_goes_down_to_one_at_a_time(self) -> None:
        gate = Gate("m", 8, adapts=True)
        for _ in range(10):
            async with gate.turn(Lane.BULK) as turn:
                turn.refused(None)
        assert gate.limit == 1
        async with gate.turn(Lane.BULK):
            waiting = asyncio.ensure_future(gate.turn(Lane.BULK).__aenter__())
            await settled()
            assert not waiting.done()
        await waiting

    async def test_nobody_goes_before_the_time_that_the_server_named(self) -> None:
        gate = Gate("m", adapts=True)
        loop = asyncio.get_running_loop()
        async with gate.turn(Lane.BULK) as turn:
            turn.refused(timedelta(seconds=0.2))
            until = loop.time() + 0.19
        async with asyncio.timeout(30), gate.turn(Lane.INTERACTIVE):
            assert loop.time() >= until

    async def test_a_gate_that_does_not_adapt_stays_as_it_is(self) -> None:
        gate = Gate("m", 2)
        async with gate.turn(Lane.BULK) as turn:
            turn.refused(timedelta(hours=1))
        async with asyncio.timeout(30), gate.turn(Lane.BULK):
            assert gate.limit == 2


class TestOrder:
    async def order(self, lanes: list[Lane]) -> list[Lane]:
        gate, went = Gate("m", 1), []

        async def one(lane: Lane) -> None:
            async with gate.turn(lane):
                went.append(lane)

        async with asyncio.TaskGroup() as group, gate.turn(Lane.BULK):
            for lane in lanes:
                group.create_task(one(lane))
            await settled()
        return went

    async def test_interactive_requests_go_first(self) -> None:
        assert await self.order([Lane.BULK, Lane.BULK, Lane.INTERACTIVE]) == [Lane.INTERACTIVE, Lane.BULK, Lane.BULK]

    async def test_bulk_ones_do_not_starve(self) -> None:
        went = await self.order([Lane.BULK] * 4 + [Lane.INTERACTIVE] * 40)
        assert went[:BULK_EVERY] == [Lane.INTERACTIVE] * (BULK_EVERY - 1) + [Lane.BULK]
        assert went[: 4 * BULK_EVERY].count(Lane.BULK) == 4

    async def test_whoever_is_cancelled_leaves_no_place_taken(self) -> None:
        gate = Gate("m", 1)
        for admitted in (False, True):
            async with AsyncExitStack() as exits:
                await turns(gate, 1, exits)
                waiting = asyncio.ensure_future(gate.turn(Lane.BULK).__aenter__())
                await settled()
                if admitted:
                    await exits.aclose()  # its turn comes, and it has not heard of it
                waiting.cancel()
                await asyncio.gather(waiting, return_exceptions=True)
            async with asyncio.timeout(30), gate.turn(Lane.BULK):
                pass


class TestTokens:
    async def test_a_long_reply_is_paid_by_those_who_come_after(self) -> None:
        now = 0.0
        pace = TokenPace(600, clock=lambda: now)
        await pace.take(100)
        pace.settle(800)
        assert pace.left == -300
        now += 20
        assert pace.left == -100
        now += 11
        await pace.take(5)
        assert pace.left == 5
        now += 1_000
        assert pace.left == 600

    async def test_an_empty_bucket_lets_nobody_through(self) -> None:
        pace = TokenPace(6)
        await pace.take(60_000)
        waiting = asyncio.ensure_future(pace.take(1))
        await settled()
        assert not waiting.done()
        waiting.cancel()
