"""A small HTTP server that answers the calls of remote engines and keeps what it was sent."""

import asyncio
import contextlib
import json
import math
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any
from zlib import crc32

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

Reply = Callable[[Request], Awaitable[Response]]


class EngineServer:
    """Answers every call with `reply`."""

    def __init__(self) -> None:
        self.bodies: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.targets: list[str] = []
        self.url = ""
        self.reply: Reply = self.says("")

    @staticmethod
    def says(content: Any, finish: str | None = "stop", *, usage: Any = None, **message: Any) -> Reply:
        """A whole chat completion; `content` may have any form that engines use."""
        told = {"role": "assistant", "content": content, **message}
        return EngineServer.answers(
            {"choices": [{"index": 0, "message": told, "finish_reason": finish}], "usage": usage}
        )

    @staticmethod
    def answers(body: Any, status: int = 200, **headers: str) -> Reply:
        """A response with any JSON."""
        return EngineServer.refuses(status, json.dumps(body, ensure_ascii=False), **headers)

    @staticmethod
    def streams(*pieces: str, finish: str | None = "stop", done: bool = True, usage: Any = None) -> Reply:
        """A chat completion in pieces, sent as server-sent events."""
        deltas = [{"choices": [{"index": 0, "delta": {"content": piece}}]} for piece in pieces]
        events: list[Any] = [{"choices": [{"index": 0, "delta": {"role": "assistant"}}]}, *deltas]
        if finish:
            events.append({"choices": [{"index": 0, "delta": {}, "finish_reason": finish}]})
        if usage:
            events.append({"choices": [], "usage": usage})
        return EngineServer.sends(*events, *(["[DONE]"] if done else []))

    @staticmethod
    def sends(*events: Any) -> Reply:
        """Server-sent events with any content."""

        async def lines() -> AsyncIterator[str]:
            yield ": a comment, as servers send it to keep a connection open\n\n"
            for event in events:
                yield f"data: {event if isinstance(event, str) else json.dumps(event, ensure_ascii=False)}\n\n"

        async def reply(_: Request) -> Response:
            return StreamingResponse(lines(), media_type="text/event-stream")

        return reply

    @staticmethod
    def embeds(dimension: int = 8, *, reverse: bool = False) -> Reply:
        """Embeddings that tell texts apart, not of unit length; `reverse` answers in the opposite order."""

        async def reply(request: Request) -> Response:
            body = await request.json()
            rows = [
                {"index": at, "embedding": [3 * math.sin(crc32(text.encode()) + i) for i in range(dimension)]}
                for at, text in enumerate(body["input"])
            ]
            return JSONResponse({"object": "list", "data": rows[::-1] if reverse else rows, "model": body["model"]})

        return reply

    @staticmethod
    def scores(score: Callable[[str, str], float]) -> Reply:
        """Reranked documents, best first."""

        async def reply(request: Request) -> Response:
            body = await request.json()
            scores = [score(body["query"], text) for text in body["documents"]]
            order = sorted(range(len(scores)), key=lambda at: -scores[at])
            return JSONResponse({"results": [{"index": at, "relevance_score": scores[at]} for at in order]})

        return reply

    @staticmethod
    def refuses(status: int, body: str, **headers: str) -> Reply:
        named = {name.replace("_", "-"): value for name, value in headers.items()}

        async def reply(_: Request) -> Response:
            return Response(body, status_code=status, media_type="application/json", headers=named)

        return reply

    async def handle(self, request: Request) -> Response:
        self.bodies.append(await request.json())
        self.headers.append(dict(request.headers))
        self.targets.append(str(request.url).removeprefix(self.url))
        return await self.reply(request)


@contextlib.asynccontextmanager
async def engine_server() -> AsyncIterator[EngineServer]:
    """The server, on its own port."""
    peer = EngineServer()
    app = Starlette(routes=[Route("/{path:path}", peer.handle, methods=["POST"])])
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error", lifespan="off", timeout_graceful_shutdown=1))
    serving = asyncio.create_task(server.serve())
    async with asyncio.timeout(60):
        while not server.started:
            await asyncio.sleep(0.005)
    peer.url = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    try:
        yield peer
    finally:
        server.should_exit = True
        await serving
