"""vLLM's schedulers with sequences that bulk requests never take. They run in the engine's own process.

The number of a request's priority says its lane: vLLM itself only knows who goes first among those that wait.
"""

import heapq
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Any, Final

from vllm.sampling_params import RequestOutputKind
from vllm.v1.core.sched.async_scheduler import AsyncScheduler
from vllm.v1.core.sched.request_queue import RequestQueue
from vllm.v1.core.sched.scheduler import Scheduler

from infra.engines.vllm_groups import Groups
from schemas.topics import Lane

SETTING: Final = "welip_lanes"
"""In vLLM's `additional_config`: how many sequences run at once, `total`, how many of them bulk may take, `bulk`, and
whether tokens may come in groups, `groups`, which falsifies vLLM's own metrics of the time between tokens."""


def priority(lane: Lane, due_s: float) -> int:
    """vLLM takes the lowest first: of the request that is due first, in milliseconds. Odd numbers are bulk."""
    return int(due_s * 1000) * 2 + (lane is Lane.BULK)


def scheduler_of(config: Any) -> "type[Scheduler]":
    """The class for an engine's configuration, which says whether it schedules ahead of the device."""
    return AsyncLaneScheduler if config.scheduler_config.async_scheduling else LaneScheduler


def _bulk(request: Any) -> bool:
    return bool(request.priority % 2)


class LaneQueue(RequestQueue):  # type: ignore[misc] # vLLM is not typed here
    """Those who wait, by priority, without bulk while `bulk_may_run` says no. Empty means that nobody may go now.

    After an interactive request bulk goes in the next step: the prompts that are read in a step make it longer.
    """

    def __init__(self, bulk_may_run: Callable[[], bool]) -> None:
        self._bulk_may_run = bulk_may_run
        self._overtaken = False
        self._heaps: dict[bool, list[Any]] = {False: [], True: []}

    def add_request(self, request: Any) -> None:
        """Where its priority says."""
        heapq.heappush(self._heaps[_bulk(request)], request)

    def peek_request(self) -> Any:
        """Who goes next. Raises `IndexError` if nobody may."""
        return self._next()[0]

    def pop_request(self) -> Any:
        """The same, no longer waiting."""
        request = heapq.heappop(self._next())
        self._overtaken = self._overtaken or not _bulk(request)
        return request

    def begin_step(self) -> None:
        """Bulk may go again."""
        self._overtaken = False

    def prepend_request(self, request: Any) -> None:
        """Where its priority says: somebody who was interrupted keeps it."""
        self.add_request(request)

    def prepend_requests(self, requests: Iterable[Any]) -> None:
        """Several."""
        for request in requests:
            self.add_request(request)

    def remove_request(self, request: Any) -> None:
        """It was cancelled."""
        self.remove_requests([request])

    def remove_requests(self, requests: Collection[Any]) -> None:
        """Several."""
        gone = {id(request) for request in requests}
        for bulk, heap in self._heaps.items():
            self._heaps[bulk] = [request for request in heap if id(request) not in gone]
            heapq.heapify(self._heaps[bulk])

    def __bool__(self) -> bool:
        """Whether somebody may go now."""
        return bool(self._next())

    def __len__(self) -> int:
        """Everybody who waits."""
        return sum(map(len, self._heaps.values()))

    def __iter__(self) -> Iterator[Any]:
        """Everybody who waits, in the order of their priorities."""
        return heapq.merge(*(sorted(heap) for heap in self._heaps.values()))

    def _next(self) -> list[Any]:
        """The heap whose first one goes next; an empty one if nobody may."""
        interactive, bulk = self._heaps[False], self._heaps[True]
        if not bulk or self._overtaken or not self._bulk_may_run():
            return interactive
        return interactive if interactive and interactive[0] < bulk[0] else bulk


class _Lanes:
    """Beside a scheduler of vLLM."""

    def __init__(self, *given: Any, **options: Any) -> None:
        super().__init__(*given, **options)
        asked = self.vllm_config.additional_config[SETTING]  # type: ignore[attr-defined] # the scheduler's
        most = int(asked["bulk"])
        self.max_num_active_reqs = int(asked["total"])
        self.waiting = LaneQueue(lambda: sum(map(_bulk, self.running)) < most)  # type: ignore[attr-defined] # as above
        self._groups = Groups() if asked["groups"] else None

    def schedule(self, *given: Any, **options: Any) -> Any:
        """Who writes and who is read in the next step."""
        self.waiting.begin_step()
        return super().schedule(*given, **options)  # type: ignore[misc] # the scheduler's

    def update_from_output(self, *given: Any, **options: Any) -> Any:
        """What each client is told after a step."""
        told = super().update_from_output(*given, **options)  # type: ignore[misc] # the scheduler's
        if (groups := self._groups) is not None:
            for client in told.values():
                client.outputs = [
                    grouped
                    for output in client.outputs
                    if (grouped := groups.of(output, read_along=self._read_along(output.request_id))) is not None
                ]
        return told

    def finish_requests(self, *given: Any, **options: Any) -> Any:
        """Requests that were aborted, or failed."""
        gone = super().finish_requests(*given, **options)  # type: ignore[misc] # the scheduler's
        if self._groups is not None:
            for request in gone:
                self._groups.drop(request.request_id)
        return gone

    def _read_along(self, name: str) -> bool:
        """Whether somebody waits for each token: a reader, or whoever looks for strings at which a text stops."""
        request = self.requests.get(name)  # type: ignore[attr-defined] # the scheduler's
        asked = None if request is None else request.sampling_params
        return asked is None or asked.output_kind is not RequestOutputKind.FINAL_ONLY or bool(asked.stop)


class LaneScheduler(_Lanes, Scheduler):  # type: ignore[misc] # vLLM is not typed here
    """Plans a step when the one before has ended."""


class AsyncLaneScheduler(_Lanes, AsyncScheduler):  # type: ignore[misc] # as above
    """Plans a step while the one before runs."""
