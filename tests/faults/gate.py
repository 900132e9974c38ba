"""A gate before Postgres: it lets everything through but, while it is shut, the word COMMIT."""

import asyncio
import contextlib
import re
from asyncio import StreamReader, StreamWriter
from typing import Final, Self

from infra.local.child import LOOPBACK, free_port

COMMIT: Final = b"COMMIT;\0"
PIECE: Final = 64 * 1024


class Gate:
    """`async with`: listens at `url`. `held`: how many commits wait before it."""

    def __init__(self, database: str) -> None:
        found = re.search(r"/([^/?]+)\?host=([^&]+)", database)
        assert found is not None, database
        self._socket = f"{found[2]}/.s.PGSQL.5432"
        self._port = free_port()
        self.url = f"postgresql://postgres@{LOOPBACK}:{self._port}/{found[1]}"
        self.held = 0
        self._open = asyncio.Event()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, LOOPBACK, self._port)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()

    async def _accept(self, reader: StreamReader, writer: StreamWriter) -> None:
        there, back = await asyncio.open_unix_connection(self._socket)
        asked = asyncio.create_task(self._pump(reader, back, hold=True))
        answered = asyncio.create_task(self._pump(there, writer, hold=False))
        # When the client has gone, Postgres must hear of it at once, also with a commit still before the gate.
        await asyncio.wait({asked, answered}, return_when=asyncio.FIRST_COMPLETED)
        for task in (asked, answered):
            task.cancel()
        await asyncio.gather(asked, answered, return_exceptions=True)
        for end in (writer, back):
            end.transport.abort()

    async def _pump(self, reader: StreamReader, writer: StreamWriter, *, hold: bool) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(PIECE):
                if hold and data.endswith(COMMIT):
                    self.held += 1
                    await reader.read(PIECE)  # until the client hangs up
                    return
                writer.write(data)
                await writer.drain()
