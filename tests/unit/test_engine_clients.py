"""Each request to an endpoint has an HTTP client to itself; those that nobody needs for a while are closed."""

import httpx
import pytest

from infra.engines import clients
from infra.engines.clients import Clients


@pytest.fixture
def made() -> Clients:
    return Clients({"x-of": "test"}, 5.0)


async def test_requests_at_once_share_no_client_and_the_last_one_that_came_back_goes_first(made: Clients) -> None:
    async with made.one() as first, made.one() as second:
        assert first is not second
        assert first.headers["x-of"] == second.headers["x-of"] == "test"
    async with made.one() as again, made.one() as other:
        assert (again, other) == (first, second)
    await made.close()
    assert first.is_closed
    assert second.is_closed


async def test_a_client_comes_back_from_a_request_that_failed(made: Clients) -> None:
    seen: list[httpx.AsyncClient] = []

    async def fails() -> None:
        async with made.one() as client:
            seen.append(client)
            raise httpx.ReadTimeout("silent")

    with pytest.raises(httpx.ReadTimeout):
        await fails()
    async with made.one() as again:
        assert [again] == seen
    await made.close()


async def test_clients_that_nobody_needed_for_a_while_are_closed(
    made: Clients, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with made.one() as first, made.one() as second, made.one() as third:
        pass
    monkeypatch.setattr(clients, "IDLE_S", 0.0)
    async with made.one() as used:
        assert used is first
    assert (first.is_closed, second.is_closed, third.is_closed) == (False, True, True)
    await made.close()
