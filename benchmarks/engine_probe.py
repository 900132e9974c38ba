"""A worker as `welip worker` runs it, whose engine a benchmark may also drive straight, and whose counters it may read.

`python -m benchmarks.engine_probe PORT --model NAME`, in the environment of engines. On the port, each line is a JSON
command and gets a line of JSON: `direct` writes prompts without WeLIP, perhaps beside interactive questions, `ask` asks
those alone, `forget` drops cached prompts, `load` tells what the engine counts, and `written` when it wrote what of
each job.
"""

import asyncio
import json
import sys
import time
from collections import defaultdict
from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any, Final

import structlog

import infra.engines.vllm
from consumers.__main__ import main
from infra.engines.chats import tokens
from infra.engines.load import EngineLoad
from schemas.text import Completion, Message, TextDelta, TextOptions
from schemas.topics import Lane

LINE: Final = 64 * 1024 * 1024


class Probed(infra.engines.vllm.VllmTextModel):
    """The engine, with a port of its own once it is warm."""

    port = 0
    steps = 0
    """Passes of the model that wrote something."""

    def __init__(self, *given: Any, **options: Any) -> None:
        super().__init__(*given, **options)
        self._marks: dict[str, list[tuple[int, int]]] = defaultdict(list)
        self._unread: dict[str, list[int]] = defaultdict(list)
        self._step_ns = 0
        self._ends: dict[str, int] = {}
        self._server: asyncio.Server | None = None

    @property
    def _load(self) -> EngineLoad:
        return self._last

    @_load.setter
    def _load(self, load: EngineLoad) -> None:  # set after each pass
        self._last = load
        self.steps += load.running > 0

    async def warm(self) -> None:
        """Then listen, and note from now on when the engine's own process was done with each token."""
        await super().warm()
        self._note_steps()
        self._server = await asyncio.start_server(self._answer, "127.0.0.1", self.port, limit=LINE)

    def _note_steps(self) -> None:
        from vllm.v1.engine import async_llm

        probe, processor = self, self._engine.output_processor
        process = processor.process_outputs

        class Noted(async_llm.RequestOutputCollector):  # type: ignore[misc] # vLLM is not typed here
            def __init__(self, *given: Any) -> None:
                super().__init__(*given)
                self.times = probe._unread[_job()]

            def put(self, output: Any) -> None:
                self.times.append(probe._step_ns)
                super().put(output)

        def process_outputs(outputs: Any, timestamp: float, *given: Any, **options: Any) -> Any:
            # The clock that counts since the machine began is the same in all processes.
            probe._step_ns = time.time_ns() - time.monotonic_ns() + int(timestamp * 1e9)
            return process(outputs, timestamp, *given, **options)

        async_llm.RequestOutputCollector = Noted
        processor.process_outputs = process_outputs

    async def _written(
        self, messages: Sequence[Message], options: TextOptions, *, pieces: bool
    ) -> AsyncGenerator[TextDelta | Completion]:
        """The same, noting when each token of each piece was there and when the text was over."""
        job, length = _job(), 0
        unread = self._unread[job]
        unread.clear()
        self._marks[job].clear()
        try:
            async for item in super()._written(messages, options, pieces=pieces):
                if isinstance(item, TextDelta):
                    length += len(item.text)
                    self._marks[job] += [(length, at) for at in unread]
                    unread.clear()
                yield item
        finally:
            self._ends[job] = time.time_ns()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            asked = json.loads(line)
            match asked.pop("do"):
                case "direct":
                    found = await self._direct(**asked)
                case "ask":
                    first_ms: list[float] = []
                    await self._ask(first_ms, **asked)
                    found = {"first_ms": first_ms}
                case "load":
                    load = self.load
                    found = {
                        "running": load.running,
                        "waiting": load.waiting + self._seats.waiting,
                        "steps": self.steps,
                    }
                case "forget":
                    found = {"forgotten": await self._engine.reset_prefix_cache()}
                case _:
                    found = {"pieces": dict(self._marks), "ends": self._ends}
            writer.write(json.dumps(found).encode() + b"\n")
            await writer.drain()

    async def _direct(
        self, prompts: list[str], lengths: list[int], beside: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """Give the engine all prompts at once; how many tokens it wrote, and in how many seconds.

        As bulk, so it runs as many at a time as it does through WeLIP. A prompt becomes tokens here, too. `beside`:
        what `_ask` is to ask meanwhile.
        """
        most = int(self._engine.model_config.max_model_len)
        loop, due = asyncio.get_running_loop(), time.monotonic()

        async def write(prompt: str, length: int, number: int) -> int:
            options = TextOptions(max_tokens=length, temperature=0.0)
            ids = await loop.run_in_executor(
                self._thread,
                lambda: tokens(
                    self._tokenizer, [Message("user", prompt)], options, model=self.name, context_length=most
                ),
            )
            sampling = self._sampling(options, most - len(ids), pieces=False)
            written = 0
            outputs = self._engine.generate(
                {"prompt_token_ids": ids}, sampling, f"direct-{number}", priority=self._ranks(Lane.BULK, due)
            )
            async for output in outputs:
                written += len(output.outputs[0].token_ids)
            return written

        await self._engine.reset_prefix_cache()
        began, steps = time.perf_counter(), self.steps
        numbers = [next(self._numbers) for _ in prompts]
        first_ms: list[float] = []
        asking = asyncio.create_task(self._ask(first_ms, **(beside or {"questions": []})))
        counts = await asyncio.gather(*map(write, prompts, lengths, numbers))
        took = time.perf_counter() - began
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        return {"tokens": sum(counts), "seconds": took, "steps": self.steps - steps, "first_ms": first_ms}

    async def _ask(self, first_ms: list[float], questions: Sequence[str], tokens: int = 0, every_s: float = 0) -> None:
        """Ask interactively, each question `every_s` after the answer before; adds the milliseconds to first pieces."""
        for question in questions:
            await asyncio.sleep(every_s)
            began, came = time.perf_counter(), False
            async for _ in self.stream([Message("user", question)], TextOptions(max_tokens=tokens, temperature=None)):
                if not came:
                    first_ms.append((time.perf_counter() - began) * 1000)
                came = True


def _job() -> str:
    return str(structlog.contextvars.get_contextvars().get("job_id"))


if __name__ == "__main__":
    Probed.port = int(sys.argv[1])
    infra.engines.vllm.VllmTextModel = Probed  # type: ignore[misc] # which the worker opens
    sys.exit(main(sys.argv[2:]))
