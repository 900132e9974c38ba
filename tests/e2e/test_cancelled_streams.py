"""Ctrl-C while an answer is printed: the job is cancelled, and the engine stops."""

import asyncio
import json
import signal
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from schemas.lifecycle import JobState
from tests.contract.engine_server import engine_server
from tests.e2e.processes import CLI, Up, environment


async def test_ctrl_c_at_the_command_line_stops_the_engine(stack_database: str, tmp_path: Path) -> None:
    left = asyncio.Event()

    async def endless(_: Request) -> Response:
        async def written() -> AsyncIterator[str]:
            try:
                while True:
                    yield f"data: {json.dumps({'choices': [{'delta': {'content': '한라산은 '}}]})}\n\n"
                    await asyncio.sleep(0.02)
            finally:
                left.set()

        return StreamingResponse(written(), media_type="text/event-stream")

    async with engine_server() as engine:
        engine.reply = endless
        settings = {"WELIP_GENERATOR": "openai", "WELIP_GENERATOR_URL": engine.url, "WELIP_GENERATOR_MODEL": "m"}
        with Up(tmp_path / "data", "--postgres", stack_database, **settings) as stack, stack.client() as client:
            [job] = client.index_documents("ko", [{"id": "d", "text": "한라산은 높다."}])
            client.wait(job.id, timeout=120)
            command = [*CLI, "--url", stack.url, "ask", "한라산은?", "-c", "ko", "--stream"]
            asking = await asyncio.create_subprocess_exec(*command, env=environment(), stdout=PIPE, stderr=PIPE)
            assert asking.stdout is not None
            assert asking.stderr is not None
            async with asyncio.timeout(120):
                assert "한라산은" in (await asking.stdout.readexactly(20)).decode(errors="ignore")
                asking.send_signal(signal.SIGINT)
                assert "being cancelled" in (await asking.stderr.read()).decode()
                assert await asking.wait() == 130
                await left.wait()
            [asked] = client.jobs(kind="inference").data
            assert client.wait(asked.id, timeout=120).state is JobState.CANCELLED
