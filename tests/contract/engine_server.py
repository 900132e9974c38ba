"""A small HTTP server with the calls of engines elsewhere; keeps what it was sent."""

import asyncio
import contextlib
import math
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any
from zlib import crc32

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

Reply = Callable[[Request], Awaitable[Response]]


class EngineServer:
    """Answers every call with `reply`."""

    def __init__(self) -> None:
        self.bodies: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.url = ""
        self.reply: Reply = self.says("")

    @staticmethod
    def says(content: str | None, **usage: int) -> Reply:
        """A chat completion."""

        async def reply(_: Request) -> Response:
            message = {"role": "assistant", "content": content}
            return JSONResponse({"choices": [{"index": 0, "message": message}], "usage": usage})

        return reply

    @staticmethod
    def embeds(dimension: int = 8, *, reverse: bool = False) -> Reply:
        """Embeddings that tell texts apart, not of unit length; `reverse` answers in another order."""

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
        return await self.reply(request)


@contextlib.asynccontextmanager
async def engine_server() -> AsyncIterator[EngineServer]:
    """The server, on a port of its own."""
    peer = EngineServer()
    paths = ("/v1/chat/completions", "/v1/embeddings", "/rerank", "/v2/rerank")
    app = Starlette(routes=[Route(path, peer.handle, methods=["POST"]) for path in paths])
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error", lifespan="off", timeout_graceful_shutdown=1))
    serving = asyncio.create_task(server.serve())
    async with asyncio.timeout(10):
        while not server.started:
            await asyncio.sleep(0.005)
    peer.url = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    try:
        yield peer
    finally:
        server.should_exit = True
        await serving
