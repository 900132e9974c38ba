"""The head of a request, its line and headers, has a limit, before anybody knows whose request it is.

uvicorn's parser keeps a head of any size in memory.
"""

from typing import Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MAX_HEAD_BYTES: Final = 64 * 1024
"""And at most one read of the socket more."""

REFUSAL: Final = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\nContent-Type: application/problem+json\r\nContent-Length: %d\r\n"
    b"Connection: close\r\n\r\n%b"
)
PROBLEM: Final = (
    b'{"type":"about:blank","title":"Too large","status":431,"code":"head_too_large",'
    b'"detail":"the request line and headers have more than %d bytes"}' % MAX_HEAD_BYTES
)


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
                self.transport.write(REFUSAL % (len(PROBLEM), PROBLEM))
                self.transport.close()
