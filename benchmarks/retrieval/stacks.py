"""Runs a whole WeLIP in a folder of its own, and indexes corpora into it as its users do."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.questions import ELSEWHERE, READY_WITHIN_S, succeeded
from infra.local.child import free_port
from infra.local.stack import Stack, StackOptions
from producers.client.models import Job
from producers.client.sync import Client


@contextmanager
def running(folder: Path) -> Iterator[Stack]:
    """The embedded stack with a running worker. Settings that would move a part elsewhere are ignored."""
    for name in ELSEWHERE:
        os.environ.pop(f"WELIP_{name}", None)
    with Stack(StackOptions(data=folder, port=free_port())) as stack:
        with Client(stack.url) as client:
            succeeded(client.wait(client.submit("noop", {}).id, timeout=READY_WITHIN_S))
        yield stack


def submitted(client: Client, corpus: Path, collection: str) -> Job:
    """The job that indexes a JSONL table with columns `id` and `text`."""
    return client.index_corpus(collection, corpus, {"format": "jsonl", "text": "text", "id": "id"}, lane="bulk")


def indexed(client: Client, corpus: Path, collection: str) -> float:
    """Seconds from the upload of a corpus to the end of its job. Raises `JobFailed`.

    The end is the recorded one, by this machine's clock, because a client hears of it up to a second later.
    """
    began = time.time()
    ended = client.wait(submitted(client, corpus, collection).id)
    succeeded(ended)
    assert ended.finished_at is not None
    return ended.finished_at.timestamp() - began
