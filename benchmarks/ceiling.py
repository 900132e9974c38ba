"""The upper limit for submissions: the same server, one route, one INSERT through asyncpg."""

import contextlib
import os
import uuid
from collections.abc import AsyncIterator

import asyncpg
import uvicorn
from fastapi import FastAPI, Request


def create_app(url: str) -> FastAPI:
    """An app whose only route inserts a row as large as a job's."""

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with asyncpg.create_pool(url, min_size=8, max_size=8) as pool:
            await pool.execute(
                "CREATE TABLE IF NOT EXISTS bench_ceiling"
                " (id uuid PRIMARY KEY, body jsonb, created_at timestamptz DEFAULT now())"
            )
            app.state.pool = pool
            yield

    app = FastAPI(lifespan=lifespan)

    @app.post("/v1/jobs", status_code=202)
    async def submit(request: Request) -> dict[str, str]:
        body = (await request.body()).decode()
        job_id = uuid.uuid4()
        await app.state.pool.execute("INSERT INTO bench_ceiling (id, body) VALUES ($1, $2)", job_id, body)
        return {"id": job_id.hex}

    @app.get("/healthz")
    async def alive() -> dict[str, str]:
        return {"status": "ok"}

    return app


if __name__ == "__main__":
    uvicorn.run(
        create_app(os.environ["WELIP_POSTGRES_URL"]),
        host="127.0.0.1",
        port=int(os.environ["WELIP_GATEWAY_PORT"]),
        loop="uvloop",
        http="httptools",
        access_log=False,
        log_level="warning",
    )
