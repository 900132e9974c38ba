"""Limits what a connection may cost before and while it is known whose request it is: bytes of a head, and time.

uvicorn keeps a head of any size in memory, and waits forever for heads, for bodies, and for readers of answers.
"""

import asyncio
from collections.abc import Callable
from http import HTTPStatus
from typing import Final

import orjson
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from gateway.http.problems import document

MAX_HEAD_BYTES: Final = 64 * 1024
"""Plus at most one more read of the socket."""

HEAD_WITHIN_S: Final = 20.0
"""From the connection, or from the first byte of a later request on it."""

BODY_GRACE_S: Final = 30.0
BODY_BYTES_A_SECOND: Final = 4096
"""A body may take the grace, plus a second per so many bytes received: enough for a slow line, not a trickle."""

LOOK_EVERY_S: Final = 5.0
TAKEN_WITHIN_S: Final = 60.0
"""How long an answer may wait for its reader to take any of it."""

REFUSAL: Final = (
    b"HTTP/1.1 %d %b\r\nContent-Type: application/problem+json\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%b"
)


def refusal(status: HTTPStatus, code: str, detail: str) -> bytes:
    """A complete answer to a request that never reaches the application."""
    body = orjson.dumps(document(status, code, detail))
    return REFUSAL % (status, status.phrase.encode(), len(body), body)


TOO_LARGE: Final = refusal(
    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
    "head_too_large",
    f"the request line and headers have more than {MAX_HEAD_BYTES} bytes",
)
TOO_SLOW: Final = refusal(HTTPStatus.REQUEST_TIMEOUT, "request_too_slow", "the request did not arrive in time")
MALFORMED: Final = refusal(HTTPStatus.BAD_REQUEST, "malformed_http", "this is not an HTTP/1.1 request (RFC 9112)")


class LimitedConnection(HttpToolsProtocol):
    """Refuses what is too large or too slow, and closes the connection.

    A request that arrives in one piece sets no timer.
    """

    _in_head = False
    _in_body = False
    _head_bytes = 0
    _body_bytes = 0
    _body_since = 0.0
    _waited_for: str | None = None
    _timer: asyncio.TimerHandle | None = None
    _stalled: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client connects, and may never send anything."""
        super().connection_made(transport)
        self._wait("head", HEAD_WITHIN_S, self._give_up)

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone."""
        self._rest()
        self._taken()
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        """A request begins."""
        super().on_message_begin()
        self._in_head = True
        self._head_bytes = 0

    def on_headers_complete(self) -> None:
        """Its body follows, if it has one."""
        self._in_head = False
        self._in_body = True
        self._body_bytes = 0
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """A piece of it."""
        self._body_bytes += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The request is complete."""
        self._in_body = False
        super().on_message_complete()

    def data_received(self, data: bytes) -> None:
        """A piece of a request, or of several."""
        super().data_received(data)
        if self._in_head:
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD_BYTES and not self.transport.is_closing():
                self.transport.write(TOO_LARGE)
                self.transport.close()
            else:
                self._wait("head", HEAD_WITHIN_S, self._give_up)
        elif self._in_body:
            self._wait("body", LOOK_EVERY_S, self._look)
        else:
            self._rest()

    def pause_writing(self) -> None:
        """The reader is not reading, and the answer waits."""
        super().pause_writing()
        if self._stalled is None:
            self._stalled = self.loop.call_later(TAKEN_WITHIN_S, self.transport.abort)

    def resume_writing(self) -> None:
        """The reader reads again."""
        self._taken()
        super().resume_writing()

    def send_400_response(self, msg: str) -> None:
        """Invalid HTTP is answered like every other error, and the connection is closed."""
        self.transport.write(MALFORMED)
        self.transport.close()

    def _wait(self, what: str, seconds: float, then: Callable[[], None]) -> None:
        """Start waiting for `what`, unless that has started."""
        if self._waited_for != what:
            self._rest()
            self._waited_for = what
            self._body_since = self.loop.time()
            self._timer = self.loop.call_later(seconds, then)

    def _rest(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._waited_for = None

    def _taken(self) -> None:
        if self._stalled is not None:
            self._stalled.cancel()
            self._stalled = None

    def _look(self) -> None:
        """Whether a body arrives fast enough. Time during which this side does not read does not count."""
        if self.flow.read_paused:
            self._body_since += LOOK_EVERY_S
        if self.loop.time() - self._body_since > BODY_GRACE_S + self._body_bytes / BODY_BYTES_A_SECOND:
            self._give_up()
        else:
            self._timer = self.loop.call_later(LOOK_EVERY_S, self._look)

    def _give_up(self) -> None:
        self._rest()
        begun = self._in_head or (self._in_body and not self.cycle.response_started)
        if begun and not self.transport.is_closing():
            self.transport.write(TOO_SLOW)
        self.transport.close()
