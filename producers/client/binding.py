"""A call written once for both clients: its body says what to send, and the bound client sends it in its own way."""

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from functools import wraps
from types import MethodType
from typing import Any, Concatenate, Generic, ParamSpec, Protocol, Self, TypeAlias, TypeVar, overload

from producers.client.errors import WelipError
from producers.client.flows import Flow, Pause
from producers.client.models import Page
from producers.client.requests import Request

P = ParamSpec("P")
T = TypeVar("T")

Sent: TypeAlias = Request[T] | Flow[T]
"""What a call gives: one request, or a flow of several."""


class Paging(Protocol[T]):
    """Gives the request of each page. Each item has an `id`."""

    def __call__(self, after: str | None) -> Request[Page[T]]:
        """The request for the page after an id, or for the first."""


class Blocking(ABC):
    """A client, or a part of one, whose calls return when they are answered."""

    @abstractmethod
    def _send(self, request: Request[T]) -> T: ...

    def _bound(self, body: Callable[P, Sent[T]]) -> Callable[P, T]:
        @wraps(body)
        def bound(*args: P.args, **kwargs: P.kwargs) -> T:
            sent = body(*args, **kwargs)
            return self._send(sent) if isinstance(sent, Request) else self._run(sent)

        return bound

    def _paged(self, body: Callable[P, Paging[T]]) -> Callable[P, Iterator[T]]:
        @wraps(body)
        def bound(*args: P.args, **kwargs: P.kwargs) -> Iterator[T]:
            page_after, after = body(*args, **kwargs), None
            while True:
                page = self._send(page_after(after))
                yield from page.data
                if not page.has_more or not page.data:
                    return
                after = _id(page.data[-1])

        return bound

    def _run(self, flow: Flow[T]) -> T:
        try:
            step = next(flow)
            while True:
                if isinstance(step, Pause):
                    time.sleep(step.seconds)
                    step = next(flow)
                    continue
                try:
                    answer = self._send(step)
                except WelipError as error:
                    step = flow.throw(error)  # which may clean up, and raises it again
                else:
                    step = flow.send(answer)
        except StopIteration as stop:
            value: T = stop.value
            return value
        finally:
            flow.close()


class Asynchronous(ABC):
    """A client, or a part of one, whose calls are awaited."""

    @abstractmethod
    async def _send(self, request: Request[T]) -> T: ...

    def _bound(self, body: Callable[P, Sent[T]]) -> Callable[P, Coroutine[Any, Any, T]]:
        @wraps(body)
        async def bound(*args: P.args, **kwargs: P.kwargs) -> T:
            sent = body(*args, **kwargs)
            return await (self._send(sent) if isinstance(sent, Request) else self._run(sent))

        return bound

    def _paged(self, body: Callable[P, Paging[T]]) -> Callable[P, AsyncIterator[T]]:
        @wraps(body)
        async def bound(*args: P.args, **kwargs: P.kwargs) -> AsyncIterator[T]:
            page_after, after = body(*args, **kwargs), None
            while True:
                page = await self._send(page_after(after))
                for item in page.data:
                    yield item
                if not page.has_more or not page.data:
                    return
                after = _id(page.data[-1])

        return bound

    async def _run(self, flow: Flow[T]) -> T:
        try:
            step = next(flow)
            while True:
                if isinstance(step, Pause):
                    await asyncio.sleep(step.seconds)
                    step = next(flow)
                    continue
                try:
                    answer = await self._send(step)
                except WelipError as error:
                    step = flow.throw(error)
                else:
                    step = flow.send(answer)
        except StopIteration as stop:
            value: T = stop.value
            return value
        finally:
            flow.close()


class call(Generic[P, T]):  # noqa: N801 - a decorator
    """A method whose body returns a request or a flow, and which returns, or awaits, the answer."""

    def __init__(self, body: Callable[Concatenate[Any, P], Sent[T]]) -> None:
        self._body = body
        self.__doc__ = body.__doc__

    @overload
    def __get__(self, client: None, owner: type) -> Self: ...
    @overload
    def __get__(self, client: Blocking, owner: type) -> Callable[P, T]: ...
    @overload
    def __get__(self, client: Asynchronous, owner: type) -> Callable[P, Coroutine[Any, Any, T]]: ...
    def __get__(self, client: Blocking | Asynchronous | None, owner: type) -> Any:
        return self if client is None else client._bound(MethodType(self._body, client))


class pages(Generic[P, T]):  # noqa: N801 - a decorator
    """A method whose body returns the request of a page, and which iterates over the items of all pages."""

    def __init__(self, body: Callable[Concatenate[Any, P], Paging[T]]) -> None:
        self._body = body
        self.__doc__ = body.__doc__

    @overload
    def __get__(self, client: None, owner: type) -> Self: ...
    @overload
    def __get__(self, client: Blocking, owner: type) -> Callable[P, Iterator[T]]: ...
    @overload
    def __get__(self, client: Asynchronous, owner: type) -> Callable[P, AsyncIterator[T]]: ...
    def __get__(self, client: Blocking | Asynchronous | None, owner: type) -> Any:
        return self if client is None else client._paged(MethodType(self._body, client))


class BlockingPart(Blocking):
    """Calls of one resource, sent by the client that has them."""

    def __init__(self, client: Blocking) -> None:
        self._client = client

    def _send(self, request: Request[T]) -> T:
        return self._client._send(request)


class AsynchronousPart(Asynchronous):
    """Calls of one resource, sent by the client that has them."""

    def __init__(self, client: Asynchronous) -> None:
        self._client = client

    async def _send(self, request: Request[T]) -> T:
        return await self._client._send(request)


def _id(item: Any) -> str:
    return str(item.id)
