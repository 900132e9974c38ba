"""The first stage of `inference`: finds the passages that may answer the question."""

import asyncio
from dataclasses import asdict
from datetime import UTC, datetime
from time import perf_counter

from consumers.stages.context import StageJob
from consumers.stages.ports import Ports
from schemas.errors import Conflict, NotFound
from schemas.kinds.inference import Citation, InferenceInput, InferenceResult
from schemas.outcomes import Done, Next, Outcome
from schemas.retrieval import Passage, SparseVector


async def run(job: StageJob, ports: Ports) -> Outcome:
    """Search; `Done` with the passages as citations when nothing is to be generated, else on to `generate`.

    Raises `NotFound` (`collection_not_found`) and `Conflict` (`collection_empty`).
    """
    request = InferenceInput.model_validate(job.input)
    began = perf_counter()
    await _check_collection(job, ports, request.collection)
    sparse, dense = await asyncio.to_thread(_encode, ports, request.question)
    passages: list[Passage] = []
    # A question of signs alone has no terms: nothing can match it.
    if sparse.indices or dense is not None:
        passages = await ports.index.search(
            job.tenant,
            request.collection,
            sparse=sparse,
            dense=dense,
            top_k=request.top_k,
            filter=request.filter or None,
        )
    timings = {"queue": _ms(job.created_at, job.started_at), "retrieve": round((perf_counter() - began) * 1000, 3)}
    if request.generate is not None:
        return Next("generate", {"passages": [asdict(passage) for passage in passages], "timings_ms": timings})
    timings["total"] = _ms(job.created_at, datetime.now(UTC))
    citations = [Citation(**asdict(passage)) for passage in passages]
    result = InferenceResult(answer=None, found=bool(passages), citations=citations, model=None, timings_ms=timings)
    return Done(result.model_dump())


async def _check_collection(job: StageJob, ports: Ports, name: str) -> None:
    try:
        empty = await ports.catalogue.is_empty(job.tenant, name)
    except NotFound as error:
        why = f"there is no collection {name!r}; make it with a job of kind `indexing`, or list those there are"
        raise NotFound(why, code="collection_not_found", field="input.collection") from error
    if empty:
        why = f"the collection {name!r} holds no document; add some with a job of kind `indexing`"
        raise Conflict(why, code="collection_empty", field="input.collection")


def _encode(ports: Ports, question: str) -> tuple[SparseVector, list[float] | None]:
    return ports.sparse.encode_query(question), ports.embedder.embed_query(question) if ports.embedder else None


def _ms(start: datetime, end: datetime) -> float:
    # The two may come from clocks of two machines.
    return max(0.0, round((end - start).total_seconds() * 1000, 3))
