"""Many callers, few statements: calls that arrive while a flush is running share the next one.

Under light load a call goes out at once. Under heavy load groups grow by themselves, without a timer.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

T = TypeVar("T")
R = TypeVar("R")


class Drain:
    """Sends waiting work, one group at a time in each of `lanes`, until none is left.

    `send_next` sends the next group and returns whether there was one.
    """

    def __init__(self, send_next: Callable[[], Awaitable[bool]], *, lanes: int) -> None:
        self._send_next = send_next
        self._lanes = lanes
        self._running: set[asyncio.Task[None]] = set()

    def start(self, groups: int = 1) -> None:
        """Start sending this many more groups, as far as lanes are free."""
        for _ in range(min(groups, self._lanes - len(self._running))):
            self._running.add(asyncio.create_task(self._run()))

    async def close(self) -> None:
        """Wait for all pending work."""
        while self._running:
            await asyncio.gather(*self._running)

    async def _run(self) -> None:
        try:
            await asyncio.sleep(0)  # callers in this turn of the loop join the first group
            while await self._send_next():
                pass
        finally:
            # In the same turn, not in a callback of the task: a call in between would wait for a drain that is over.
            task = asyncio.current_task()
            assert task is not None
            self._running.discard(task)


class Grouper(Generic[T, R]):
    """Passes calls to `flush` in groups of at most `limit`, `lanes` groups at a time; answers come back in order.

    When a group fails, its members are tried one by one, so that one bad row does not affect the others. An error of
    type `fatal` (a whole outside system is away) goes to all of them at once instead.
    """

    def __init__(
        self,
        flush: Callable[[Sequence[T]], Awaitable[Sequence[R]]],
        *,
        limit: int = 200,
        lanes: int = 1,
        fatal: tuple[type[BaseException], ...] = (),
    ) -> None:
        self._flush = flush
        self._limit = limit
        self._fatal = fatal
        self._waiting: list[tuple[T, asyncio.Future[R]]] = []
        self._drain = Drain(self._send_next, lanes=lanes)

    async def call(self, item: T) -> R:
        """The answer to `item`. Raises the exception that its flush raised."""
        future: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, future))
        self._drain.start()
        return await future

    async def close(self) -> None:
        """Wait for all pending work."""
        await self._drain.close()

    async def _send_next(self) -> bool:
        group, self._waiting = self._waiting[: self._limit], self._waiting[self._limit :]
        if group:
            await self._send(group)
        return bool(group)

    async def _send(self, group: list[tuple[T, asyncio.Future[R]]]) -> None:
        try:
            answers = await self._flush([item for item, _ in group])
        except Exception as error:  # noqa: BLE001 - every caller must hear of it
            if len(group) == 1 or isinstance(error, self._fatal):
                for _, future in group:
                    if not future.done():
                        future.set_exception(error)
            else:
                for member in group:
                    await self._send([member])
            return
        for (_, future), answer in zip(group, answers, strict=True):
            if not future.done():
                future.set_result(answer)
