"""A stage of `inference` for deployments with a reranker: orders the passages better, and keeps fewer."""

from collections.abc import Sequence
from dataclasses import replace
from time import perf_counter
from typing import Final

from consumers.stages.context import StageJob
from consumers.stages.inference.onward import onward
from consumers.stages.models import under_headings
from consumers.stages.ports import Ports, needs
from schemas.errors import DependencyMissing, JobError
from schemas.kinds.inference import Found, InferenceInput
from schemas.outcomes import Outcome
from schemas.retrieval import Passage

NEEDS: Final = needs(Ports.reranker)


async def run(job: StageJob[InferenceInput, Found], ports: Ports) -> Outcome:
    """The best `top_k` by the reranker, then on to `generate` or the end. Raises `DependencyMissing`."""
    began = perf_counter()
    question = job.carry.search_question or job.input.question
    best = await reranked(ports, question, job.carry.passages, job.input.top_k)
    timings = {**job.carry.timings_ms, "rerank": round((perf_counter() - began) * 1000, 3)}
    return onward(job, best, job.carry.model_copy(update={"timings_ms": timings}))


async def reranked(ports: Ports, question: str, passages: Sequence[Passage], top_k: int) -> list[Passage]:
    """The best `top_k` of the passages by the reranker, best first. Raises `DependencyMissing` (`reranker_missing`)."""
    if ports.reranker is None:
        raise DependencyMissing(
            "a worker of the pool `gpu` has no reranker: give all workers the same models file, WELIP_RERANKER and"
            " WELIP_RERANKER_MODEL",
            code="reranker_missing",
        )
    texts = [under_headings(passage.title, passage.heading, passage.text) for passage in passages]
    relevance = await ports.reranker.rerank(question, texts)
    scored = [
        # A passage that the model cannot read comes after the others, and has no score from it.
        replace(passage, score=0.0)
        if isinstance(score, JobError)
        else replace(passage, score=score, scores={**passage.scores, "rerank": score})
        for passage, score in zip(passages, relevance, strict=True)
    ]
    # Stable: among equals the retriever's order holds.
    return sorted(scored, key=lambda passage: ("rerank" not in passage.scores, -passage.score))[:top_k]
