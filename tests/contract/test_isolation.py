"""Isolated processes: whatever one of them does ends only its own request."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pytest
from structlog.testing import capture_logs

from infra.isolation.forks import ForkServer
from infra.isolation.limits import Limits
from infra.isolation.pool import Broke, IsolatedPool, TookTooLong, TookTooMuch
from schemas.errors import DependencyUnavailable, InvalidInput
from tests.contract.isolated import forked, servers, until

MiB = 1024**2
MODULE = "tests.contract.isolated"


def limits(**given: float) -> Limits:
    return Limits(**{"memory": 256 * MiB, "cpu": 20, "wall": 600, "answer": MiB, "requests": 100, **given})  # type: ignore[arg-type]


@pytest.fixture
async def server() -> AsyncIterator[ForkServer]:
    made = ForkServer(MODULE)
    yield made
    await made.close()
    assert servers(MODULE) == []


@pytest.fixture
def pool(server: ForkServer) -> IsolatedPool:
    return IsolatedPool(server, "test", processes=2, limits=limits())


async def echo(pool: IsolatedPool, owner: str = "t") -> int:
    answer, payload = await pool.ask("echo", {"say": "네"}, b"\0\xff", owner=owner)
    assert (answer["said"], payload) == ("네", b"\0\xff")
    return int(answer["process"])


def hanging() -> list[psutil.Process]:
    return [process for process in forked(MODULE) if process.name() == "hangs"]


async def test_a_process_answers_many_requests(pool: IsolatedPool) -> None:
    assert await echo(pool) == await echo(pool)


async def test_a_process_makes_room_when_its_requests_are_used_up(server: ForkServer) -> None:
    pool = IsolatedPool(server, "test", processes=1, limits=limits(requests=2))
    first, second, third = [await echo(pool) for _ in range(3)]
    assert first == second != third
    assert len(forked(MODULE)) == 1


async def test_what_hangs_is_killed_when_its_time_is_up(server: ForkServer) -> None:
    pool = IsolatedPool(server, "test", processes=1, limits=limits(wall=0.5))
    with capture_logs() as logs, pytest.raises(TookTooLong):
        await pool.ask("hang", {}, owner="t")
    assert forked(MODULE) == []
    assert [(entry["event"], entry["pool"], entry["reason"]) for entry in logs] == [
        ("isolation.killed", "test", "timeout")
    ]
    await echo(pool)


async def test_what_spins_ends_with_its_processor_time(server: ForkServer) -> None:
    pool = IsolatedPool(server, "test", processes=1, limits=limits(cpu=0.1, wall=60))
    with pytest.raises(TookTooLong):
        await pool.ask("spin", {}, owner="t")
    await echo(pool)


async def test_a_process_stands_back_for_others_if_it_is_told_to(server: ForkServer) -> None:
    ours = psutil.Process().nice()
    for nice in (0, 5):
        child = await echo(IsolatedPool(server, "test", processes=1, limits=limits(nice=nice)))
        assert psutil.Process(child).nice() == min(ours + nice, 19)
    assert psutil.Process().nice() == ours


async def test_what_needs_too_much_memory_is_refused_and_its_process_replaced(pool: IsolatedPool) -> None:
    before = await echo(pool)
    with pytest.raises(TookTooMuch, match="256 MiB"):
        await pool.ask("eat", {"bytes": 300 * MiB}, owner="t")
    assert await echo(pool) != before


async def test_an_answer_has_a_limit(pool: IsolatedPool) -> None:
    with pytest.raises(TookTooMuch, match="bytes"):
        await pool.ask("shout", {"bytes": 2 * MiB}, owner="t")
    assert forked(MODULE) == []


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT])
async def test_what_dies_ends_its_own_request_alone(pool: IsolatedPool, end: signal.Signals) -> None:
    other = asyncio.create_task(pool.ask("hang", {}, owner="u"))
    await until(hanging)
    with pytest.raises(Broke, match=end.name):
        await pool.ask("die", {"signal": end}, owner="t")
    await echo(pool)
    assert not other.done()
    other.cancel()
    await asyncio.wait([other])


async def test_a_refusal_is_told_and_a_defect_is_not_quoted(pool: IsolatedPool) -> None:
    with pytest.raises(InvalidInput) as caught:
        await pool.ask("raise", {"kind": "refusal"}, owner="t")
    assert (caught.value.reason, caught.value.message, caught.value.field) == ("wrong", "it is wrong", "input.text")
    with pytest.raises(Broke, match=r"RuntimeError") as broke:
        await pool.ask("raise", {"kind": "defect"}, owner="t")
    assert "tenant" not in str(broke.value)


async def test_a_cancelled_request_leaves_no_process(pool: IsolatedPool) -> None:
    asking = asyncio.create_task(pool.ask("hang", {}, owner="t"))
    await until(hanging)
    asking.cancel()
    async with asyncio.timeout(60):
        with pytest.raises(asyncio.CancelledError):
            await asking
    assert forked(MODULE) == []
    await echo(pool)


async def test_what_hangs_delays_nobody_else(pool: IsolatedPool) -> None:
    """One owner's hanging requests hold both slots, and ten more of them wait."""
    asking = [asyncio.create_task(pool.ask("hang", {}, owner="mallory")) for _ in range(12)]
    await until(lambda: len(hanging()) == 2)
    async with asyncio.timeout(60):
        for _ in range(5):
            await echo(pool, "bob")
    assert len(hanging()) == 2
    for one in asking:
        one.cancel()
    await asyncio.wait(asking)
    assert hanging() == []


async def test_pools_of_one_server_do_not_wait_for_each_other(server: ForkServer) -> None:
    bulk, questions = (IsolatedPool(server, name, processes=1, limits=limits()) for name in ("bulk", "question"))
    asking = asyncio.create_task(bulk.ask("hang", {}, owner="t"))
    await until(hanging)
    await echo(questions)
    asking.cancel()
    await asyncio.wait([asking])


async def test_a_session_keeps_its_process_and_ends_it(pool: IsolatedPool) -> None:
    async with pool.session(owner="t") as session:
        (first, _), (second, _) = [await session.ask("echo", {"say": 1}) for _ in range(2)]
        assert first["process"] == second["process"]
    assert forked(MODULE) == []


async def test_a_server_that_dies_is_started_again(pool: IsolatedPool) -> None:
    await echo(pool)
    (server,) = servers(MODULE)
    (child,) = forked(MODULE)
    server.kill()
    await until(lambda: not child.is_running())
    await echo(pool)
    assert [one.pid for one in servers(MODULE)] != [server.pid]


async def test_a_request_whose_server_dies_is_asked_again(pool: IsolatedPool) -> None:
    asking = asyncio.create_task(pool.ask("hang", {}, owner="t"))
    await until(hanging)
    [first] = servers(MODULE)
    first.kill()
    await until(lambda: len(hanging()) == 1 and [one.pid for one in servers(MODULE)] not in ([], [first.pid]))
    servers(MODULE)[0].kill()
    with pytest.raises(DependencyUnavailable):
        await asking


async def test_closing_ends_what_runs_and_what_waits(server: ForkServer) -> None:
    pool = IsolatedPool(server, "test", processes=1, limits=limits())
    asking = [asyncio.create_task(pool.ask("hang", {}, owner="t")) for _ in range(3)]
    await until(hanging)
    await pool.close()
    await server.close()
    ends = await asyncio.gather(*asking, return_exceptions=True)
    assert [type(end) for end in ends] == [DependencyUnavailable] * 3


async def test_a_process_knows_no_secret_and_holds_one_channel(
    pool: IsolatedPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WELIP_POSTGRES_URL", "postgresql://welip:secret@db/welip")
    await echo(pool)
    other = asyncio.create_task(pool.ask("hang", {}, owner="t"))
    await until(hanging)
    seen, _ = await pool.ask("look", {}, owner="t")
    other.cancel()
    assert "secret" not in str(seen["environment"])
    (channel,) = [one for one in seen["descriptors"] if one != os.devnull]
    assert channel.startswith("socket:")
    assert seen["threads"] == 1


async def test_a_process_writes_no_file(pool: IsolatedPool, tmp_path: Path) -> None:
    with pytest.raises(Broke):
        await pool.ask("write", {"path": str(tmp_path / "made")}, owner="t")
    assert not (tmp_path / "made").exists() or (tmp_path / "made").stat().st_size == 0


async def test_a_server_that_cannot_start_says_why() -> None:
    server = ForkServer("tests.contract.no_such_module")
    with pytest.raises(DependencyUnavailable, match="no_such_module"):
        await server.fork(limits(), "test")
    await server.close()
