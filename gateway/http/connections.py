"""The head of a request, its line and headers, has a limit, before anybody knows whose request it is.

uvicorn's parser keeps a head of any size in memory.
"""

from http import HTTPStatus
from typing import Final

import orjson
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from gateway.http.problems import document

MAX_HEAD_BYTES: Final = 64 * 1024
"""And at most one read of the socket more."""

REFUSAL: Final = (
    b"HTTP/1.1 %d %b\r\nContent-Type: application/problem+json\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%b"
)


def refusal(status: HTTPStatus, code: str, detail: str) -> bytes:
    """A whole answer, for a request that never becomes one of the application's."""
    body = orjson.dumps(document(status, code, detail))
    return REFUSAL % (status, status.phrase.encode(), len(body), body)


TOO_LARGE: Final = refusal(
    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
    "head_too_large",
    f"the request line and headers have more than {MAX_HEAD_BYTES} bytes",
)
MALFORMED: Final = refusal(HTTPStatus.BAD_REQUEST, "malformed_http", "this is no HTTP/1.1 request (RFC 9112)")


class LimitedHead(HttpToolsProtocol):
    """Answers a head that does not end with 431, and closes the connection."""

    _in_head = False
    _head_bytes = 0

    def on_message_begin(self) -> None:
        """A request begins."""
        super().on_message_begin()
        self._in_head = True
        self._head_bytes = 0

    def on_headers_complete(self) -> None:
        """Its body follows."""
        self._in_head = False
        super().on_headers_complete()

    def data_received(self, data: bytes) -> None:
        """A piece of a request, or of several."""
        super().data_received(data)
        if self._in_head:
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD_BYTES and not self.transport.is_closing():
                self.transport.write(TOO_LARGE)
                self.transport.close()

    def send_400_response(self, msg: str) -> None:
        """What is no HTTP is answered as every other error is, and the connection closed."""
        self.transport.write(MALFORMED)
        self.transport.close()
