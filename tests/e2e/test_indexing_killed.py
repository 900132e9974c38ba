"""The worker is killed again and again while it indexes and rebuilds; each document is found once, and nothing else."""

import asyncio
import json
import os
import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import psutil
import pytest

from infra.vectors.edge import EdgeIndex
from producers.client.errors import WelipError
from producers.client.sync import Client
from schemas.retrieval import IndexName
from tests.e2e.processes import Up, until

pytestmark = pytest.mark.timeout(900)  # each wait has a deadline of its own
QUICK: Final = {
    # Here the test itself kills, again and again, so no part of the work must be taken for the killer.
    "WELIP_RESCUE_PROOF": "1000",
    "WELIP_RESCUE_GONE": "3",
    "WELIP_RESCUE_EVERY": "0.2",
}
DOCUMENTS: Final = 600
SEED: Final = int(os.environ.get("SEED", "1"))
KILLS: Final = 3
ANCHOR: Final = {"id": "anchor", "text": "닻은 움직이지 않는다. 이 문서는 아무도 고치지 않는다.", "metadata": {"n": -1}}


def document(number: int, edition: int) -> dict[str, Any]:
    sentences = " ".join(f"{number}번 문서의 {line}째 문장은 {edition}판에 실렸다." for line in range(12))
    return {"id": f"d{number}", "text": sentences, "metadata": {"n": number, "edition": edition}}


def submit(client: Client, **input: Any) -> str:
    return client.submit("indexing", {"collection": "ko", **input}, lane="bulk", max_attempts=25).id


def submit_corpus(client: Client, numbers: range, edition: int) -> str:
    lines = "\n".join(
        json.dumps({"id": row["id"], "text": row["text"], **row["metadata"]}, ensure_ascii=False)
        for row in (document(number, edition) for number in numbers)
    )
    file = client.upload(lines.encode(), filename="corpus.jsonl")
    return submit(client, corpus={"file": file.id, "format": "jsonl", "id": "id", "metadata": ["n", "edition"]})


def kill_at_random(up: Up, client: Client, jobs: list[str], rng: random.Random, answers: list[int]) -> int:
    """Kill the worker at random moments, `KILLS` times or until the jobs have ended; returns how often."""
    killed: set[int] = set()
    for kills in range(KILLS):
        until(lambda: up.child("consumers").pid not in killed, "the worker is started again")
        worker = up.child("consumers")
        before, loading = answers[0], rng.random() < 0.25
        if not loading:
            # A worker that answers is at work, on fast and on slow machines.
            until(lambda before=before: answers[0] > before or ended(client, jobs), "it is at work")
        began, pause = time.monotonic(), rng.uniform(0.3, 2.0) if loading else rng.uniform(0.0, 0.6)
        while time.monotonic() - began < pause and not ended(client, jobs):
            time.sleep(0.02)
        if ended(client, jobs):
            return kills
        with suppress(psutil.NoSuchProcess):  # it may have ended by itself
            worker.kill()
        killed.add(worker.pid)
    return KILLS


def ended(client: Client, jobs: list[str]) -> bool:
    return all(client.job(job).finished_at is not None for job in jobs)


@contextmanager
def asking(up: Up) -> Iterator[list[int]]:
    """Search all the time for what nobody changes, and count the answers; each must have found it exactly once."""
    stop, wrong, answers = threading.Event(), [], [0]

    def ask() -> None:
        with up.client() as client:
            while not stop.is_set():
                try:
                    hits = client.search("ko", "움직이지 않는 닻", top_k=3, filter={"n": -1})
                except WelipError:
                    continue  # no worker is alive at the moment
                answers[0] += 1
                if [hit.document_id for hit in hits] != ["anchor"]:
                    wrong.append(hits)

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield answers
    finally:
        stop.set()
        thread.join()
    assert wrong == []


def test_a_killed_worker_leaves_neither_gaps_nor_duplicates_nor_orphans(stack_database: str, tmp_path: Path) -> None:
    rng = random.Random(SEED)
    wanted = dict.fromkeys(range(DOCUMENTS), 1)
    with Up(tmp_path / "data", "--postgres", stack_database, **QUICK) as up, up.client() as client:
        client.wait(submit(client, documents=[ANCHOR]), timeout=120)
        with asking(up) as answers:
            first = submit_corpus(client, range(DOCUMENTS), 1)
            kills = kill_at_random(up, client, [first], rng, answers)
            assert client.wait(first, timeout=240).state == "succeeded"

            rebuild = submit(client, settings={"chunking": {"max_chars": 120}})
            second = submit_corpus(client, range(100, 300), 2)
            # Only documents that the other job does not write: which of the two is planned later is not known.
            gone = rng.sample(range(300, DOCUMENTS), 50)
            deletion = submit(client, delete=[f"d{number}" for number in gone])
            wanted |= dict.fromkeys(range(100, 300), 2)
            wanted = {number: edition for number, edition in wanted.items() if number not in gone}
            kills += kill_at_random(up, client, [rebuild, second, deletion], rng, answers)
            states = {job: client.wait(job, timeout=240) for job in (rebuild, second, deletion)}
            assert {job.state for job in states.values()} == {"succeeded"}, states
        # Up to six; a fast machine may finish earlier, however much there is to do.
        assert kills >= 2, "the jobs were over before the worker was killed"
        assert answers[0] > 0, "nothing could be asked"

        known = client.collection("ko")
        assert known.documents == len(wanted) + 1
        for number in rng.sample(range(DOCUMENTS), 60):
            hits = client.search("ko", f"{number}번 문서", top_k=50, filter={"n": number})
            editions = {hit.metadata["edition"] for hit in hits}
            assert editions == ({wanted[number]} if number in wanted else set()), number
            assert len({hit.chunk_id for hit in hits}) == len({(hit.start, hit.end) for hit in hits})
        assert up.stop() == 0
    in_index = asyncio.run(count(tmp_path / "data" / "index", known.generation))
    assert in_index == known.chunks, "points that no document of the catalogue has, or too few"


async def count(root: Path, generation: int) -> int:
    index = EdgeIndex(root)
    try:
        return await index.count(IndexName("default", "ko", generation))
    finally:
        await index.close()
