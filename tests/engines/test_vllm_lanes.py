"""Who goes next in vLLM's own queue: bulk only while it may, and nobody is lost on the way."""

from dataclasses import dataclass, field

import pytest

pytest.importorskip("vllm", reason="runs in the environment of model engines")

from infra.engines.vllm_lanes import LaneQueue, priority
from schemas.topics import Lane


@dataclass(order=True)
class Waits:
    """What the queue needs of vLLM's `Request`."""

    priority: int
    name: str = field(compare=False)


def waits(lane: Lane, due: float, name: str) -> Waits:
    return Waits(priority(lane, due), name)


BULK = waits(Lane.BULK, 1.0, "bulk")
LATER = waits(Lane.BULK, 3.0, "later bulk")
QUICK = waits(Lane.INTERACTIVE, 2.0, "quick")


def queue(*, bulk_may_run: bool) -> LaneQueue:
    made = LaneQueue(lambda: bulk_may_run)
    for one in (LATER, QUICK, BULK):
        made.add_request(one)
    return made


def test_the_one_due_first_goes_first() -> None:
    found = queue(bulk_may_run=True)
    assert [one.name for one in found] == ["bulk", "quick", "later bulk"]
    assert [found.pop_request().name for _ in range(2)] == ["bulk", "quick"]
    assert (bool(found), len(found)) == (False, 1), "no bulk in a step in which an interactive request begins"
    found.begin_step()
    assert found.pop_request() is LATER
    assert not found


def test_bulk_that_may_not_run_holds_up_nobody() -> None:
    found = queue(bulk_may_run=False)
    assert found.peek_request() is QUICK
    assert found.pop_request() is QUICK
    assert (bool(found), len(found)) == (False, 2)
    with pytest.raises(IndexError):
        found.peek_request()


def test_who_was_put_back_or_taken_out_is_in_its_place_or_gone() -> None:
    found = queue(bulk_may_run=True)
    found.prepend_requests([found.pop_request(), found.pop_request()])
    found.remove_request(QUICK)
    found.remove_requests({id(LATER): LATER}.values())
    assert [one.name for one in found] == ["bulk"]


def test_of_those_due_at_the_same_time_the_interactive_one_goes_first() -> None:
    assert priority(Lane.INTERACTIVE, 7.0) < priority(Lane.BULK, 7.0) < priority(Lane.INTERACTIVE, 7.001)
