"""An HTTP load generator that costs little beside the server: one request at a time on each kept-alive connection."""

import asyncio
import json
import time
from dataclasses import dataclass, field

BODY = b'{"kind":"noop","input":{}}'


@dataclass(slots=True)
class Sent:
    """What was sent: when (seconds since the Unix epoch) and which job came back. `refused` counts other responses."""

    jobs: list[tuple[float, str]] = field(default_factory=list)
    refused: int = 0


class Connection:
    """A kept-alive HTTP/1.1 connection, with one request at a time."""

    def __init__(self, port: int) -> None:
        self._port = port

    async def open(self) -> "Connection":
        """Connect."""
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
        return self

    async def post(self, path: str, body: bytes) -> tuple[int, bytes]:
        """Send JSON; returns the status and the body of the answer."""
        self._writer.write(
            b"POST %s HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
            b"Content-Length: %d\r\n\r\n%s" % (path.encode(), len(body), body)
        )
        head = await self._reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().split(b"content-length: ", 1)[1].split(b"\r\n", 1)[0])
        return int(head[9:12]), await self._reader.readexactly(length)

    async def submit(self, body: bytes = BODY) -> str | None:
        """Submit a job, by default a no-op one; returns its id, or None when it was not accepted."""
        status, answer = await self.post("/v1/jobs", body)
        if status != 202:
            return None
        # `{"id":"job_..."`: parsing the whole body would make the generator the bottleneck.
        return answer[7 : answer.index(b'"', 7)].decode()

    def close(self) -> None:
        """Disconnect."""
        self._writer.close()


class Connections:
    """As many connections as there are submissions at once."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._idle: list[Connection] = []

    async def submit(self, body: bytes = BODY) -> str | None:
        """The same as `Connection.submit`."""
        while True:
            connection = self._idle.pop() if self._idle else await Connection(self._port).open()
            try:
                job = await connection.submit(body)
                break
            except (ConnectionError, asyncio.IncompleteReadError):
                connection.close()  # the server had closed it while it was idle; the time keeps running
        self._idle.append(connection)
        return job

    def close(self) -> None:
        """Disconnect."""
        for connection in self._idle:
            connection.close()


async def closed_loop(port: int, *, connections: int, seconds: float) -> float:
    """Accepted submissions per second when each connection sends its next one as soon as it has an answer."""
    opened = [Connection(port) for _ in range(connections)]
    await asyncio.gather(*(connection.open() for connection in opened))
    accepted = 0
    end = time.perf_counter() + seconds

    async def loop(connection: Connection) -> None:
        nonlocal accepted
        while time.perf_counter() < end:
            if await connection.submit() is None:
                raise RuntimeError("a submission was refused")
            accepted += 1

    began = time.perf_counter()
    await asyncio.gather(*map(loop, opened))
    took = time.perf_counter() - began
    for connection in opened:
        connection.close()
    return accepted / took


async def open_loop(port: int, *, per_second: int, seconds: float) -> Sent:
    """Submit at a fixed rate, whatever the answers do: a late answer never delays the next request."""
    sent = Sent()
    connections = Connections(port)
    tasks: list[asyncio.Task[None]] = []

    async def one() -> None:
        at = time.time()
        job = await connections.submit()
        if job is None:
            sent.refused += 1
        else:
            sent.jobs.append((at, job))

    began = time.perf_counter()
    for n in range(int(per_second * seconds)):
        await asyncio.sleep(max(began + n / per_second - time.perf_counter(), 0))
        tasks.append(asyncio.create_task(one()))
    await asyncio.gather(*tasks)
    connections.close()
    return sent


if __name__ == "__main__":
    import sys

    import uvloop

    mode, port, rate, seconds = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
    if mode == "closed":
        print(json.dumps(uvloop.run(closed_loop(port, connections=rate, seconds=seconds))))
    else:
        found = uvloop.run(open_loop(port, per_second=rate, seconds=seconds))
        print(json.dumps({"jobs": found.jobs, "refused": found.refused}))
