"""How much of Kiwi's own speed indexing keeps: the encoder alone, and whole jobs through a running stack."""

import asyncio
import tempfile
import time
from collections.abc import Sequence
from itertools import count, islice
from pathlib import Path
from statistics import median
from typing import Any

from kiwipiepy import Kiwi, KiwiConfig

from benchmarks.retrieval.generated import texts, write_corpus
from benchmarks.retrieval.ours import made_points
from benchmarks.retrieval.stacks import indexed, running
from consumers.tuning.judged import Judged, JudgedDocument
from infra.text.kiwi import BEAM
from infra.text.sparse import KiwiSparseEncoder
from producers.client.sync import Client
from schemas.collections import CollectionSettings

AIM = 0.8


def indexing(judged: Judged, kiwi: Kiwi, encoder: KiwiSparseEncoder, *, documents: int, rounds: int) -> dict[str, Any]:
    """Documents a second of Kiwi, the encoder and whole jobs on the same text, in turn; medians of the rounds.

    Shares are computed within each round, because a machine's speed drifts. Kiwi runs at its defaults;
    `kiwi_at_our_beam` is its speed when it gives up readings as early as it does here.
    """
    rows = [JudgedDocument(str(n), None, text) for n, text in zip(count(), islice(texts(judged), documents))]
    alone, at_our_beam, encoded, jobs = [], [], [], []
    ours = KiwiConfig(cutoff_threshold=BEAM)
    with tempfile.TemporaryDirectory(prefix="welip-bench-", ignore_cleanup_errors=True) as folder:
        corpus = Path(folder) / "corpus.jsonl"
        write_corpus(corpus, judged, documents=documents)
        with running(Path(folder) / "welip") as stack, Client(stack.url) as client:
            indexed(client, corpus, "warm")  # a worker's first job loads its analyser's tables
            for number in range(rounds):
                alone.append(documents / _tokenised(kiwi, rows))
                at_our_beam.append(documents / _tokenised(kiwi, rows, ours))
                encoded.append(documents / _encoded(encoder, rows))
                jobs.append(documents / indexed(client, corpus, f"round-{number}"))
    return {
        "documents": documents,
        "characters": sum(len(row.text) for row in rows),
        "kiwi_docs_per_s": round(median(alone), 1),
        "kiwi_at_our_beam_docs_per_s": round(median(at_our_beam), 1),
        "encoder_docs_per_s": round(median(encoded), 1),
        "encoder_share": _share(encoded, alone),
        "job_docs_per_s": round(median(jobs), 1),
        "job_share": _share(jobs, alone),
        "aim": AIM,
    }


def _tokenised(kiwi: Kiwi, rows: Sequence[JudgedDocument], config: KiwiConfig | None = None) -> float:
    began = time.perf_counter()
    for _ in kiwi.tokenize((row.text for row in rows), override_config=config):
        pass
    return time.perf_counter() - began


def _encoded(encoder: KiwiSparseEncoder, rows: Sequence[JudgedDocument]) -> float:
    async def work() -> float:
        began = time.perf_counter()
        async for _ in made_points(rows, encoder, CollectionSettings()):
            pass
        return time.perf_counter() - began

    return asyncio.run(work())


def _share(ours: Sequence[float], theirs: Sequence[float]) -> float:
    return round(median(a / b for a, b in zip(ours, theirs, strict=True)), 3)
