"""Generation through WeLIP beside the same engine driven straight: throughput, first tokens, cancellation, streams.

`python -m benchmarks.generate [--model tiny|smollm2|8b-dummy]`. One worker runs vLLM (`benchmarks.engine_probe`), from
the environment of engines or another one (`--python`). The last line is one JSON object; without `--model` it tells of
the tiny model, and of SmolLM2 under `smollm2`.
"""

import argparse
import asyncio
import contextlib
import json
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from itertools import count
from pathlib import Path
from statistics import median
from typing import Any, Final

import asyncpg
import httpx
import stamina.instrumentation
import uuid_utils.compat as uuids
from rich.console import Console

from benchmarks.generation_models import MODELS, BenchModel
from benchmarks.generation_stack import Running, stack
from benchmarks.processor_time import medians
from benchmarks.processor_time import spent as spent_by
from benchmarks.reads import Read, lags_of, quantile, shown
from benchmarks.streams import Balanced
from infra.local import engines
from infra.postgres.queries.submit import NewJob, submit
from producers.client.async_ import AsyncClient
from producers.client.events import TokenEvent
from schemas.topics import Lane

ENDS_WITHIN_S: Final = 1800.0
REST_S: Final = 75.0
"""For what comes after the rounds."""
LOG_END: Final = 10_000
"""Characters."""
LINE: Final = 64 * 1024 * 1024
QUESTION_TOKENS: Final = 8
QUESTION_EVERY_S: Final = 0.5
"""After the answer to the one before."""
IDLE_QUESTIONS: Final = 12
WORDS: Final = ("mountain", "river", "island", "winter", "market", "train", "school", "music", "garden", "bridge")
console = Console(stderr=True)


def main() -> int:
    """0, or 1 when a token was lost or doubled or something was left in the engine."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.generate", description=__doc__)
    parser.add_argument("--model", choices=sorted(MODELS), action="append")
    parser.add_argument("--jobs", type=int, help="of each round; by default as many as suit the model")
    parser.add_argument("--rounds", type=int, default=3, help="straight and through WeLIP by turns; the median counts")
    parser.add_argument("--minutes", type=float, default=8, help="no round is begun that would end later; one is")
    parser.add_argument("--python", type=Path, help="of an environment with vLLM, for example for a GPU")
    given = parser.parse_args()
    python = given.python or engines.install()
    stamina.instrumentation.set_on_retry_hooks([])
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # and stop what it started
    found: dict[str, dict[str, Any]] = {}
    names = given.model or ["smollm2", "tiny"]
    began, each_s = time.monotonic(), given.minutes * 60 / len(names)
    for number, name in enumerate(names, start=1):
        # Not under a folder of root's alone: Postgres runs as another user then.
        with tempfile.TemporaryDirectory(prefix="welip-bench-", ignore_cleanup_errors=True) as folder:
            model = MODELS[name]
            model = model if given.jobs is None else replace(model, jobs=given.jobs)
            until = began + number * each_s
            found[name] = measure(Path(folder), name, model, python, given.rounds, until)
    [*others, last] = found
    print(json.dumps(found[last] | {name: found[name] for name in others}))
    return 1 if any(one["tokens_lost"] or one["tokens_doubled"] or one["left"] for one in found.values()) else 0


def measure(folder: Path, name: str, model: BenchModel, python: Path, rounds: int, until: float) -> dict[str, Any]:
    """Start everything and measure one model. No round is begun that would end after `until` (monotonic clock)."""
    console.print(f"[bold]{name}[/]: {model.jobs} jobs a round; the engine starts, which takes a minute")
    with stack(folder, name, model, python) as running:
        try:
            return asyncio.run(Measurement(running, model).all(rounds, until))
        except Exception:
            with contextlib.suppress(subprocess.TimeoutExpired):
                console.print(f"the worker ended with status {running.worker.wait(1)}")
            console.print((folder / "processes.log").read_text(errors="replace")[-LOG_END:], markup=False)
            raise


class Measurement:
    """The parts of the benchmark, on a running stack."""

    def __init__(self, running: Running, model: BenchModel) -> None:
        self._running = running
        self._ports = list(running.gateways)
        chosen = random.Random(7)
        self._prompts = [
            f"Tell me about the {' and the '.join(chosen.choices(WORDS, k=16))}." for _ in range(model.jobs)
        ]
        self._lengths = [chosen.randint(*model.tokens) for _ in range(model.jobs)]
        self._longest = model.context_length - 256
        self._streamed = min(model.streamed, self._longest)
        self._seats = int(model.options["max_num_seqs"])
        self._numbers = count(1)

    async def all(self, rounds: int, until: float) -> dict[str, Any]:
        """Every part, unless the worker ends meanwhile."""
        parts = asyncio.create_task(self._parts(rounds, until))
        try:
            while not parts.done():
                if self._running.worker.poll() is not None:
                    raise RuntimeError("the worker ended in the midst of the benchmark")
                await asyncio.wait({parts}, timeout=0.5)
            return parts.result()
        finally:
            parts.cancel()
            await asyncio.gather(parts, return_exceptions=True)

    async def _parts(self, rounds: int, until: float) -> dict[str, Any]:
        """In an order in which none disturbs the next."""
        self._database = await asyncpg.connect(self._running.postgres)
        await self._warm()
        rates: dict[str, list[float]] = {"straight": [], "through": [], "straight_beside": [], "beside": []}
        steps: dict[str, list[int]] = {way: [] for way in rates}
        spent: dict[str, list[dict[str, float]]] = {way: [] for way in rates}
        first: dict[str, list[float]] = {"straight_idle": [], "straight_under_bulk": [], "idle": [], "under_bulk": []}
        longest_s = 0.0
        for number in range(rounds):
            began = time.monotonic()
            if number and began + longest_s > until - REST_S:
                console.print(f"no time is left for round {number + 1}: --minutes gives more")
                break
            for way in rates:
                beside = way.endswith("beside")
                before, passes = self._running.processor.now(), (await self._probe("load"))["steps"]
                if way.startswith("straight"):
                    rate = await self._straight(first["straight_under_bulk"] if beside else None)
                else:
                    bulk = await self._bulk()
                    rate = await self._beside(bulk, first["under_bulk"]) if beside else await self._drained(bulk)
                rates[way].append(rate)
                spent[way].append(spent_by(before, self._running.processor.now(), len(self._prompts)))
                steps[way].append((await self._probe("load"))["steps"] - passes)
                console.print(
                    f"round {number + 1}: {way} {rate:,.0f} tokens/s, {spent[way][-1]} ms of processors a job"
                )
            first["straight_idle"] += (await self._probe("ask", **self._questions(IDLE_QUESTIONS)))["first_ms"]
            first["idle"] += await self._first_tokens(IDLE_QUESTIONS)
            for way, found in first.items():
                console.print(f"round {number + 1}: first token, {way}: {shown(found)}")
            longest_s = max(longest_s, time.monotonic() - began)
        straight, through, straight_beside, through_beside = map(median, rates.values())
        cancelled, abort_s, left = await self._cancel(100)
        console.print(f"{cancelled} running jobs cancelled, the last out of the engine after {abort_s:.2f} s")
        served_s = await self._adapter_served()
        console.print(f"the first answer with an adapter {served_s:.2f} s after its registration began")
        lags, lost, doubled = await self._streams(64)
        console.print(f"64 streams: lag {shown(lags)}, {lost} characters lost, {doubled} doubled")
        await self._database.close()
        return {
            "throughput_share": round(through / straight, 3),
            "ttft_p95_ms": {way: quantile(found, 95) for way, found in first.items()},
            "bulk_share": round(through_beside / through, 3),
            "straight_bulk_share": round(straight_beside / straight, 3),
            "cancelled": cancelled,
            "abort_s_max": round(abort_s, 2),
            "adapter_served_s": round(served_s, 2),
            "stream_lag_p95_ms": quantile(lags, 95),
            "tokens_lost": lost,
            "tokens_doubled": doubled,
            "jobs": len(self._prompts),
            "tokens_per_s": {name: [round(rate) for rate in found] for name, found in rates.items()},
            "steps": steps,
            "processor_ms_a_job": {way: medians(found) for way, found in spent.items()},
            "ttft_p50_ms": {way: quantile(found, 50) for way, found in first.items()},
            "asked_under_bulk": len(first["under_bulk"]),
            "left": left,
        }

    async def _straight(self, beside: list[float] | None) -> float:
        """Tokens a second of all prompts, given to the engine without WeLIP. `beside`: while questions come."""
        asked = {"prompts": self._prompts, "lengths": self._lengths}
        if beside is not None:
            asked["beside"] = self._questions(len(self._prompts))
        found = await self._probe("direct", **asked)
        if beside is not None:
            beside += found["first_ms"]
        return float(found["tokens"] / found["seconds"])

    async def _beside(self, bulk: Sequence[str], first_ms: list[float]) -> float:
        """Tokens a second of these jobs while questions come."""
        asking = asyncio.create_task(self._first_tokens(None))
        rate = await self._drained(bulk)
        asking.cancel()
        first_ms += await asking
        return rate

    async def _warm(self) -> None:
        async with asyncio.timeout(ENDS_WITHIN_S), self._client() as client:
            while True:
                with contextlib.suppress(OSError):
                    await self._probe("load")
                    break
                await asyncio.sleep(1)
            await self._read(client, Read(), "Hello.", 8)
        # The first pass of each size takes longer, and so do the first jobs.
        some = len(self._prompts) // 4
        await self._probe("direct", prompts=self._prompts[:some], lengths=self._lengths[:some])
        await self._ended(await self._bulk(some))

    async def _bulk(self, count: int | None = None) -> list[str]:
        """Submit all prompts, or some, in one statement; the jobs' ids."""
        await self._probe("forget")
        asked = [
            {"messages": [{"role": "user", "content": prompt}], "max_tokens": length, "temperature": 0.0}
            for prompt, length in zip(self._prompts[:count], self._lengths, strict=False)
        ]
        return await self._submitted(asked, Lane.BULK)

    async def _submitted(self, asked: Sequence[dict[str, Any]], lane: Lane) -> list[str]:
        made = [
            NewJob(
                id=uuids.uuid7(), tenant="default", kind="generation", stage="run", lane=lane.value, model="bench",
                input=json.dumps(one), max_attempts=5,
            )
            for one in asked
        ]  # fmt: skip
        await submit(self._database, made)  # type: ignore[arg-type] # a connection without a pool
        return [one.id.hex for one in made]

    async def _drained(self, jobs: Sequence[str]) -> float:
        """Tokens a second of these jobs, from the first claim to the last end."""
        await self._ended(jobs)
        rows = await self._database.fetch(
            "SELECT result::text, started_at, finished_at FROM job WHERE id = ANY($1::uuid[]) AND state = 'succeeded'",
            jobs,
        )
        if len(rows) < len(jobs):
            raise RuntimeError("not all jobs succeeded")
        # Not by Postgres, which takes no `\u0000` out of JSON: random weights write anything.
        tokens = sum(json.loads(row["result"])["usage"]["completion_tokens"] for row in rows)
        took = max(row["finished_at"] for row in rows) - min(row["started_at"] for row in rows)
        return float(tokens / took.total_seconds())

    async def _ended(self, jobs: Sequence[str]) -> None:
        last = "SELECT NOT EXISTS (SELECT FROM job WHERE id = ANY($1::uuid[]) AND finished_at IS NULL)"
        async with asyncio.timeout(ENDS_WITHIN_S):
            while not await self._database.fetchval(last, jobs):  # noqa: ASYNC110 - another process ends them
                await asyncio.sleep(0.5)

    async def _first_tokens(self, count: int | None) -> list[float]:
        """Ask interactively, a question at a time; the milliseconds to each first piece. None: until cancelled."""
        found: list[float] = []
        async with self._client() as client:
            with contextlib.suppress(asyncio.CancelledError):
                while count is None or len(found) < count:
                    await asyncio.sleep(QUESTION_EVERY_S)
                    read = await self._read(client, Read(), self._question(), QUESTION_TOKENS)
                    if read.first_ms is not None:
                        found.append(read.first_ms)
        return found

    def _question(self) -> str:
        """Begun in its own way: nothing of it is in the engine's cache."""
        number = next(self._numbers)
        return f"{number}. {self._prompts[number % len(self._prompts)]}"

    def _questions(self, count: int) -> dict[str, Any]:
        """What the probe is to ask."""
        questions = [self._question() for _ in range(count)]
        return {"questions": questions, "tokens": QUESTION_TOKENS, "every_s": QUESTION_EVERY_S}

    async def _cancel(self, count: int) -> tuple[int, float, int]:
        """Let many jobs run and cancel them: how many were cancelled, how long the engine wrote on, what is left."""
        story = {"messages": [{"role": "user", "content": "Tell me a long story."}], "max_tokens": self._longest}
        jobs = await self._submitted([{**story, "seed": n} for n in range(count)], Lane.INTERACTIVE)
        async with asyncio.timeout(ENDS_WITHIN_S), self._client() as client:
            while (await self._probe("load"))["running"] < min(count, self._seats):  # noqa: ASYNC110 - as above
                await asyncio.sleep(0.05)
            told: dict[str, float] = {}

            async def cancel(job: str) -> None:
                told[job] = time.time()
                with contextlib.suppress(Exception):  # it has ended
                    await client.cancel(f"job_{job}")

            await asyncio.gather(*map(cancel, jobs))
            last = max(told.values())
            while (load := await self._probe("load"))["running"] or load["waiting"]:
                if time.time() > last + 60:
                    break
                await asyncio.sleep(0.02)
            idle_s = time.time() - last
            await self._ended(jobs)
        ends = (await self._probe("written"))["ends"]
        wrote_on = [ends[job] / 1e9 - told[job] for job in jobs if job in ends]
        cancelled = await self._database.fetchval(
            "SELECT count(*) FROM job WHERE id = ANY($1::uuid[]) AND state = 'cancelled'", jobs
        )
        return cancelled, max([idle_s, *wrote_on]), load["running"] + load["waiting"]

    async def _adapter_served(self) -> float:
        """Seconds from the request that registers an adapter, uploaded already, to the first answer with it."""

        async def answer(model: str) -> str:
            asked = {"messages": [{"role": "user", "content": "Tell me of it."}], "max_tokens": 16, "temperature": 0}
            job = await client.submit("generation", {**asked, "model": model}, lane="interactive")
            await client.wait(job.id, ENDS_WITHIN_S)
            return str((await client.result(job.id))["message"]["content"])

        async with (
            asyncio.timeout(ENDS_WITHIN_S),
            self._client() as client,
            httpx.AsyncClient(base_url=f"http://127.0.0.1:{self._ports[0]}", timeout=60) as http,
        ):
            plain = await answer("bench")
            file = {"file": self._running.adapter.read_bytes()}
            sent = await http.post("/v1/files", data={"purpose": "adapter"}, files=file)
            body = {"base": "bench", "name": "fresh", "file": sent.raise_for_status().json()["id"]}
            began = time.perf_counter()
            (await http.post("/v1/models", json=body)).raise_for_status()
            if await answer("bench:fresh") == plain:
                raise RuntimeError("the adapter changed nothing")
            return time.perf_counter() - began

    async def _streams(self, count: int) -> tuple[list[float], int, int]:
        """Texts read at once over two gateways, of which one is killed: lags in ms, characters lost and doubled.

        The lag is from the engine's piece to the client's socket, while both gateways live.
        """
        reads = [Read() for _ in range(count)]
        killed_at = 0
        async with contextlib.AsyncExitStack() as exits, asyncio.timeout(ENDS_WITHIN_S), asyncio.TaskGroup() as group:
            clients = [await exits.enter_async_context(self._client(port)) for port in self._running.gateways]
            for number, read in enumerate(reads):
                prompt = self._prompts[number % len(self._prompts)]
                group.create_task(self._read(clients[number % 2], read, prompt, self._streamed))
            while sum(bool(read.final) for read in reads) < count // 4:  # noqa: ASYNC110 - a look at many readers
                await asyncio.sleep(0.02)
            killed_at = time.time_ns()
            self._running.first.kill()
            self._running.first.wait()
            self._ports.remove(self._running.gateways[0])
        marks = (await self._probe("written"))["pieces"]
        lags = [lag for read in reads for lag in lags_of(read, marks[read.job], killed_at)]
        lost = sum(max(0, len(read.final) - len(read.text)) for read in reads)
        doubled = sum(max(0, len(read.text) - len(read.final)) for read in reads)
        changed = sum(len(read.text) == len(read.final) and read.text != read.final for read in reads)
        return lags, lost + changed, doubled

    async def _read(self, client: AsyncClient, read: Read, prompt: str, length: int) -> Read:
        """Ask, and read the text while it is written."""
        asked = {"messages": [{"role": "user", "content": prompt}], "max_tokens": length, "stream": True}
        read.asked_at = time.perf_counter()
        job = await client.submit("generation", asked, lane="interactive")
        read.job = job.id.removeprefix("job_")
        read.followed_at = time.time_ns()
        async for event in client.events(job.id):
            if isinstance(event, TokenEvent):
                read.first_ms = read.first_ms or (time.perf_counter() - read.asked_at) * 1000
                read.text += event.text
                read.pieces.append((len(read.text), time.time_ns()))
        read.final = (await client.result(job.id))["message"]["content"]
        return read

    @contextlib.asynccontextmanager
    async def _client(self, port: int | None = None) -> AsyncIterator[AsyncClient]:
        transport = Balanced(self._ports, port or self._ports[0])
        async with AsyncClient("http://127.0.0.1", transport=transport, retry_for_s=60) as client:
            yield client

    async def _probe(self, do: str, **asked: Any) -> Any:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._running.probe, limit=LINE)
        writer.write(json.dumps({"do": do, **asked}).encode() + b"\n")
        found = json.loads(await reader.readline())
        writer.close()
        return found


if __name__ == "__main__":
    sys.exit(main())
