"""Who is given an engine's next sequence: interactive first, some kept for it, and nobody waits for ever."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest

from infra.engines.seats import AGES_S, Seats
from schemas.topics import Lane

BULK, INTERACTIVE = Lane.BULK, Lane.INTERACTIVE


@dataclass
class Engine:
    """Requests sit until they are told to go; `log` is the order in which they sat down."""

    total: int
    reserved: int
    queue: int = 0
    now: float = 0.0
    full: bool = False
    log: list[str] = field(default_factory=list)
    due: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.seats = Seats(self.total, self.reserved, lambda: self.full, queue=self.queue, clock=lambda: self.now)
        self._go: dict[str, asyncio.Event] = {}
        self.tasks: dict[str, asyncio.Task[None]] = {}

    async def come(self, lane: Lane, *names: str) -> None:
        for name in names:
            self._go[name] = asyncio.Event()
            self.tasks[name] = asyncio.create_task(self._sit(lane, name))
        await settled()

    async def end(self, name: str) -> None:
        self._go[name].set()
        await self.tasks[name]
        await settled()

    async def _sit(self, lane: Lane, name: str) -> None:
        async with self.seats.seat(lane) as due:
            self.log.append(name)
            self.due[name] = due
            await self._go[name].wait()


async def settled() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


@contextlib.asynccontextmanager
async def engine(total: int, reserved: int, queue: int = 0) -> AsyncIterator[Engine]:
    made = Engine(total, reserved, queue)
    yield made
    for task in made.tasks.values():
        task.cancel()
    await asyncio.gather(*made.tasks.values(), return_exceptions=True)


async def test_bulk_leaves_the_reserved_seats_to_interactive_requests() -> None:
    async with engine(3, 1) as e:
        await e.come(BULK, "b1", "b2", "b3")
        assert e.log == ["b1", "b2"]
        await e.come(INTERACTIVE, "i1")
        assert e.log == ["b1", "b2", "i1"]


async def test_a_seat_that_comes_free_goes_to_interactive_requests_first() -> None:
    async with engine(2, 0) as e:
        await e.come(BULK, "b1", "b2", "b3")
        await e.come(INTERACTIVE, "i1", "i2")
        await e.end("b1")
        await e.end("b2")
        assert e.log == ["b1", "b2", "i1", "i2"]
        await e.end("i1")
        assert e.log[-1] == "b3"


async def test_a_bulk_request_does_not_wait_for_ever_behind_interactive_ones() -> None:
    async with engine(2, 1) as e:
        await e.come(INTERACTIVE, "i1", "i2")
        await e.come(BULK, "b1")
        e.now += AGES_S + 1
        await e.come(INTERACTIVE, "i3", "i4")
        await e.end("i1")
        assert e.log == ["i1", "i2", "b1"]
        await e.end("i2")
        assert e.log[-1] == "i3"


async def test_a_full_engine_is_given_no_more_bulk_until_it_is_due() -> None:
    async with engine(4, 1) as e:
        await e.come(BULK, "b1")
        e.full = True
        await e.come(BULK, "b2")
        await e.come(INTERACTIVE, "i1")
        assert e.log == ["b1", "i1"]
        e.now += AGES_S
        e.seats.look()
        await settled()
        assert e.log == ["b1", "i1", "b2"]
        await e.come(BULK, "b3")
        assert len(e.log) == 3
        e.full = False
        e.seats.look()
        await settled()
        assert e.log[-1] == "b3"


async def test_an_idle_engine_is_never_too_full_for_a_request() -> None:
    async with engine(2, 1) as e:
        e.full = True
        await e.come(BULK, "b1")
        assert e.log == ["b1"]


@pytest.mark.parametrize("total", [1, 4])
async def test_who_is_cancelled_while_it_waits_or_as_it_is_given_a_seat_holds_none(total: int) -> None:
    async with engine(total, 0) as e:
        await e.come(BULK, *(f"b{n}" for n in range(total)), "waits", "given", "last")
        e.tasks["waits"].cancel()
        await settled()
        # Freed and cancelled in one turn of the loop: the seat may have been given away already.
        e._go["b0"].set()
        await asyncio.sleep(0)
        e.tasks["given"].cancel()
        await settled()
        assert e.log[-1] == "last"
        for name in [f"b{n}" for n in range(1, total)] + ["last"]:
            await e.end(name)
        await e.come(BULK, *(f"c{n}" for n in range(total)))
        assert e.log[-total:] == [f"c{n}" for n in range(total)]


async def test_the_room_is_what_fits_and_a_few_that_are_ready() -> None:
    async with engine(8, 2) as e:
        ahead = 2
        assert (e.seats.room(INTERACTIVE), e.seats.room(BULK)) == (8 + ahead, 6 + ahead)
        await e.come(BULK, *(f"b{n}" for n in range(6)))
        assert (e.seats.room(INTERACTIVE), e.seats.room(BULK)) == (2 + ahead, 6 + ahead)
        e.full = True
        assert (e.seats.room(INTERACTIVE), e.seats.room(BULK)) == (2 + ahead, 6)
        e.full = False
        await e.end("b0")
        await e.come(INTERACTIVE, "i1", "i2", "i3")
        assert (e.seats.room(INTERACTIVE), e.seats.room(BULK)) == (3 + ahead, 5 + ahead)


async def test_bulk_is_claimed_in_groups() -> None:
    async with engine(64, 0, queue=8) as e:
        await e.come(BULK, *(f"b{n}" for n in range(80)))
        assert e.seats.room(BULK) == 80
        for n in range(7):
            await e.end(f"b{n}")
            assert e.seats.room(BULK) == 80 - n - 1, "nothing is free"
        await e.end("b7")
        assert e.seats.room(BULK) == 80


async def test_bulk_is_always_claimed_a_little_so_that_it_can_age() -> None:
    async with engine(4, 1) as e:
        await e.come(INTERACTIVE, *(f"i{n}" for n in range(9)))
        assert e.seats.room(BULK) == 1


async def test_an_engine_with_a_queue_of_its_own_is_given_a_few_bulk_requests_more() -> None:
    async with engine(8, 2, queue=1) as e:
        await e.come(BULK, *(f"b{n}" for n in range(9)))
        assert len(e.log) == 6 + 1
        await e.end("b0")
        assert len(e.log) == 6 + 1 + 1


async def test_interactive_requests_overtake_bulk_in_the_engines_queue() -> None:
    async with engine(4, 1, queue=2) as e:
        await e.come(BULK, *(f"b{n}" for n in range(9)))
        await e.come(INTERACTIVE, *(f"i{n}" for n in range(5)))
        # The engine keeps one sequence free of bulk, and knows who goes next where more come.
        assert e.log[5:] == ["i0", "i1", "i2", "i3"]
        await e.end("b0")
        assert len(e.log) == 9, "bulk makes room for those who overtook it"
        await e.end("i0")
        assert e.log[-1] == "i4"


async def test_bulk_comes_to_the_engines_queue_even_under_a_flood_of_interactive_requests() -> None:
    async with engine(4, 1, queue=1) as e:
        await e.come(INTERACTIVE, *(f"i{n}" for n in range(20)))
        await e.come(BULK, "b1", "b2")
        assert e.log == ["i0", "i1", "i2", "i3", "b1"]
        assert e.seats.room(BULK) == 1


async def test_who_sits_down_knows_when_it_was_due() -> None:
    async with engine(1, 0) as e:
        await e.come(BULK, "b1", "b2")
        await e.come(INTERACTIVE, "i1")
        e.now = 5.0
        await e.end("b1")
        await e.end("i1")
        assert e.due == {"b1": AGES_S, "i1": 0.0, "b2": AGES_S}, "waiting here counts in the engine's queue"
