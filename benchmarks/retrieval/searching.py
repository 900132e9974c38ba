"""How fast 50,000 chunks are searched: the embedded index with two arms and no encoders, and the whole HTTP call."""

import asyncio
import tempfile
import time
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import NAMESPACE_URL, uuid5

import numpy as np
import orjson
import psutil
from numpy.typing import NDArray

from benchmarks.load import Connection
from benchmarks.retrieval.generated import texts, write_corpus
from benchmarks.retrieval.ours import INDEX, UPSERT_AT_ONCE
from benchmarks.retrieval.stacks import indexed, running
from consumers.tuning.judged import Judged
from infra.text.sparse import KiwiSparseEncoder
from infra.vectors.edge import EdgeIndex
from producers.client.sync import Client
from schemas.collections import CollectionSettings
from schemas.retrieval import Point, Query

DIMENSION = 384
CLUSTERS = 200
TOP_K = 10
AIM_MS = 20
WARM = 200
"""Searches over HTTP before the clock starts, as many at once: processes are started and plans made, once."""
SERVERS = {"gateway": "gateway", "consumers": "worker"}


def searching(
    judged: Judged, encoder: KiwiSparseEncoder, *, chunks: int, searches: int, at_once: int
) -> dict[str, Any]:
    """The figures of the index and of the HTTP call, over the same number of chunks."""
    asked = [judged.questions[n % len(judged.questions)].text for n in range(searches)]
    with tempfile.TemporaryDirectory(prefix="welip-bench-", ignore_cleanup_errors=True) as folder:
        index = asyncio.run(_index(Path(folder) / "index", judged, encoder, chunks, asked))
        corpus = Path(folder) / "corpus.jsonl"
        write_corpus(corpus, judged, documents=chunks)
        last = Path(folder) / "last.jsonl"
        write_corpus(last, judged, documents=1, seed=1)
        with running(Path(folder) / "welip") as stack, Client(stack.url) as client:
            indexed(client, corpus, "benchmark")
            indexed(client, last, "benchmark")  # waits until the index is at rest
            held = client.collection("benchmark").chunks
            http = asyncio.run(_http(stack.url, asked, at_once, Path(folder) / "welip"))
    return {
        "index": {"chunks": chunks, "searches": searches, "aim_p95_ms": AIM_MS, **index},
        "http": {"chunks": held, "searches": searches, "at_once": at_once, **http},
    }


async def _index(
    folder: Path, judged: Judged, encoder: KiwiSparseEncoder, chunks: int, asked: Sequence[str]
) -> dict[str, Any]:
    """Searches with sparse vectors of real text, and dense ones around random centres, which is how real ones lie."""
    random = np.random.default_rng(0)
    centres = random.standard_normal((CLUSTERS, DIMENSION))
    settings = CollectionSettings()
    index = EdgeIndex(folder)
    made = texts(judged)
    try:
        await index.ensure(INDEX, dimension=DIMENSION)
        for first in range(0, chunks, UPSERT_AT_ONCE):
            some = list(islice(made, min(UPSERT_AT_ONCE, chunks - first)))
            vectors = _near(centres, len(some), random).tolist()
            points = [
                Point(
                    id=str(uuid5(NAMESPACE_URL, str(first + offset))),
                    document_id=str(first + offset),
                    content_hash="",
                    title=None,
                    text=text,
                    start=0,
                    end=len(text),
                    sparse=encoder.weigh([sentence.terms for sentence in sentences], settings.sparse),
                    dense=dense,
                )
                for offset, (text, sentences, dense) in enumerate(
                    zip(some, encoder.analyse(some, settings.sparse), vectors, strict=True)
                )
            ]
            await index.upsert(INDEX, points)
        for _ in range(2):  # a write waits for the optimiser, so after the second the index is at rest
            await index.upsert(INDEX, points)
        queries = [
            Query(encoder.encode_query(text, settings.sparse), dense)
            for text, dense in zip(asked, _near(centres, len(asked), random).tolist(), strict=True)
        ]
        for query in queries[:20]:  # so that what is read from disk once is read before the clock starts
            await index.search(INDEX, query, top_k=TOP_K, fusion=settings.fusion)
        took = []
        for query in queries:
            began = time.perf_counter()
            await index.search(INDEX, query, top_k=TOP_K, fusion=settings.fusion)
            took.append((time.perf_counter() - began) * 1000)
    finally:
        await index.close()
    return percentiles(took)


async def _http(url: str, asked: Sequence[str], at_once: int, data: Path) -> dict[str, Any]:
    """The search call, `at_once` of them at any moment, each on a connection that waits for its answer."""
    took: list[float] = []
    port = urlsplit(url).port
    assert port is not None

    async def search(connection: Connection, question: str) -> None:
        body = orjson.dumps({"query": question, "top_k": TOP_K})
        status, answer = await connection.post("/v1/collections/benchmark/search", body)
        if status != 200:
            raise RuntimeError(f"a search was answered with {status}: {answer[:500]!r}")

    async def one_after_the_other(connection: Connection, waiting: Iterator[str]) -> None:
        for question in waiting:
            began = time.perf_counter()
            await search(connection, question)
            took.append((time.perf_counter() - began) * 1000)

    async def all_of(questions: Sequence[str]) -> None:
        waiting = iter(questions)
        await asyncio.gather(*(one_after_the_other(connection, waiting) for connection in connections))

    connections = [await Connection(port).open() for _ in range(at_once)]
    await all_of(asked[:WARM])
    took.clear()
    before, began = processor_s(data), time.perf_counter()
    await all_of(asked)
    whole, after = time.perf_counter() - began, processor_s(data)
    for connection in connections:
        connection.close()
    each = {name: round((spent - before[name]) / len(took) * 1000, 2) for name, spent in after.items()}
    return {**percentiles(took), "searches_per_s": round(len(took) / whole, 1), "processor_ms_a_search": each}


def processor_s(data: Path) -> dict[str, float]:
    """Seconds of processor time that this process and those of the stack on `data` have used so far."""
    spent = {"client": time.process_time(), "gateway": 0.0, "worker": 0.0, "analysis": 0.0, "postgres": 0.0}
    for process in psutil.Process().children():
        module = (process.cmdline() or [""])[-1]
        if module in SERVERS:
            spent[SERVERS[module]] += _used(process)
            spent["analysis"] += sum(_used(child) for child in process.children(recursive=True))
    postmaster = psutil.Process(int((data / "postgres" / "postmaster.pid").read_text().split("\n", 1)[0]))
    spent["postgres"] = sum(_used(process) for process in (postmaster, *postmaster.children()))
    return spent


def _used(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def percentiles(took: Sequence[float]) -> dict[str, float]:
    """p50, p95 and p99, in milliseconds."""
    return {f"p{p}_ms": round(float(np.percentile(took, p)), 2) for p in (50, 95, 99)}


def _near(centres: NDArray[np.float64], count: int, random: np.random.Generator) -> NDArray[np.float64]:
    vectors = centres[random.integers(len(centres), size=count)] + random.standard_normal((count, DIMENSION)) * 0.5
    normed: NDArray[np.float64] = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return normed
