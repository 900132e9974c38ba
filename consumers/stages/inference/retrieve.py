"""The first stage of `inference`: finds the passages that may answer the question."""

import asyncio
from time import perf_counter
from typing import Any, Final

from consumers.stages.context import StageJob
from consumers.stages.inference.onward import milliseconds, onward
from consumers.stages.inference.visible import visible
from consumers.stages.ports import Ports, needs
from schemas.catalogue import MAX_FIELDS, CollectionRecord
from schemas.errors import Conflict, DependencyMissing, InvalidInput, NotFound
from schemas.filters import Condition, fields_of, parse_filter
from schemas.kinds.inference import Asked, InferenceInput, Resumed, ToEncode, ToGenerate
from schemas.outcomes import Next, Outcome
from schemas.retrieval import Embedding, IndexName, Passage, Query, SparseVector

NEEDS: Final = needs(Ports.catalogue, Ports.embedder, Ports.index, Ports.sparse)


async def run(job: StageJob[InferenceInput, Resumed | None], ports: Ports) -> Outcome:
    """Search, then on to `rerank`, `generate` or the end; through `encode` when the model is in another pool.

    A question after a conversation goes to the model of `generate` first, which condenses the two.

    Raises `NotFound` (`collection_not_found`), `Conflict` (`collection_empty`, `encoder_mismatch`, `index_missing`,
    `index_restored`),
    `InvalidInput` (`filter_field_unknown`, `reranker_missing`) and `DependencyMissing` (`embedder_missing`).
    """
    request = job.input
    rerank = _reranks(request, ports)
    began = perf_counter()
    timings = {"queue": milliseconds(job.created_at, job.started_at), **(job.carry.timings_ms if job.carry else {})}
    asked = job.carry or Asked(timings_ms=timings)
    if request.messages and request.generate is not None and not asked.condensed:
        return Next("generate", ToGenerate(passages=None, timings_ms=timings))
    record = await _collection(job, ports, request.collection)
    try:
        found = await _search(job, ports, record, rerank=rerank)
    except NotFound as error:
        # The collection may have been swapped for another index between the two.
        swapped = await _collection(job, ports, request.collection)
        if swapped.generation == record.generation:
            why = f"the index of the collection {request.collection!r} is gone; rebuild the collection from its texts"
            raise Conflict(why, code="index_missing", field="input.collection") from error
        record = swapped
        found = await _search(job, ports, record, rerank=rerank)
    timings["retrieve"] = round(timings.get("retrieve", 0.0) + (perf_counter() - began) * 1000, 3)
    if found is None:
        assert record.embedder is not None
        carried = {**asked.model_dump(include=set(Asked.model_fields)), "timings_ms": timings}
        return Next("encode", ToEncode(embedder=record.embedder, **carried))
    return onward(job, found, asked.model_copy(update={"timings_ms": timings}), rerank=rerank)


async def _search(
    job: StageJob[InferenceInput, Resumed | None], ports: Ports, record: CollectionRecord, *, rerank: bool
) -> list[Passage] | None:
    """The passages; None when `encode` must bring the question's embedding first."""
    request = job.input
    question = (job.carry.search_question if job.carry else None) or request.question
    condition = _condition(request, record)
    embedding = _carried(job.carry, record)
    missing = embedding is None and _needs_embedding(record, ports)
    if missing and ports.embedder is None:
        return None
    encoding = ports.sparse.encode_query(question, record.settings.sparse, by=job.requester)
    sparse: SparseVector
    if missing and ports.embedder is not None:
        sparse, embedding = await asyncio.gather(encoding, ports.embedder.embed_query(question))
    else:
        sparse = await encoding
    query = Query(sparse)
    if embedding is not None:
        if record.dimension not in (None, len(embedding.dense)):
            raise _mismatch(record.name, f"{record.dimension} dimensions", f"a model of {len(embedding.dense)}")
        query = Query(sparse, embedding.dense, embedding.learned if record.learned else None)
    # A question of symbols alone has no terms: nothing can match it.
    elif not sparse.indices:
        return []
    return await visible(
        ports,
        IndexName(job.tenant, request.collection, record.generation),
        query,
        wanted=max(request.top_k, ports.deployment.candidates) if rerank else request.top_k,
        fusion=record.settings.fusion,
        filter=condition,
    )


async def _collection(job: StageJob[InferenceInput, Any], ports: Ports, name: str) -> CollectionRecord:
    try:
        record = await ports.catalogue.collection(job.tenant, name)
    except NotFound as error:
        why = f"there is no collection {name!r}; make it with a job of kind `indexing`, or list the existing ones"
        raise NotFound(why, code="collection_not_found", field="input.collection") from error
    if not record.documents:
        why = f"the collection {name!r} holds no document; add some with a job of kind `indexing`"
        raise Conflict(why, code="collection_empty", field="input.collection")
    if record.doubt is not None:
        why = (
            f"the index of the collection {name!r} does not hold what the catalogue says ({record.doubt}), as after a"
            f" restore: it is searched again once it is rebuilt (`welip collections rebuild {name}`)"
        )
        raise Conflict(why, code="index_restored", field="input.collection")
    if record.encoder != ports.sparse.name:
        raise _mismatch(name, record.encoder, ports.sparse.name)
    return record


def _reranks(request: InferenceInput, ports: Ports) -> bool:
    if request.rerank and ports.deployment.reranker is None:
        why = "this deployment has no reranker: leave `rerank` out, or set WELIP_RERANKER and WELIP_RERANKER_MODEL"
        raise InvalidInput(why, code="reranker_missing", field="input.rerank")
    return ports.deployment.reranker is not None and request.rerank is not False


def _condition(request: InferenceInput, record: CollectionRecord) -> Condition | None:
    condition = parse_filter(request.filter)
    unknown = sorted(fields_of(condition) - record.fields)
    if unknown and len(record.fields) < MAX_FIELDS:  # a full list does not know them all
        known = ", ".join(sorted(record.fields)) or "none"
        why = f"no document of the collection {record.name!r} has the field {unknown[0]!r}; there are: {known}"
        raise InvalidInput(why, code="filter_field_unknown", field=f"input.filter.{unknown[0]}")
    return condition


def _needs_embedding(record: CollectionRecord, ports: Ports) -> bool:
    """Whether a model's arm counts. Raises when it does and this deployment lacks the model it was made with."""
    weights = record.settings.fusion.weights
    if record.embedder is None or not (weights.dense or weights.learned):
        return False
    if ports.deployment.embedder is None:
        raise DependencyMissing(
            f"the collection {record.name!r} was embedded with {record.embedder}, and this deployment has no embedding"
            " model: set WELIP_EMBEDDER and WELIP_EMBEDDER_MODEL for all workers",
            code="embedder_missing",
            field="input.collection",
        )
    if ports.deployment.embedder != record.embedder:
        raise _mismatch(record.name, record.embedder, ports.deployment.embedder)
    return True


def _carried(carry: Resumed | None, record: CollectionRecord) -> Embedding | None:
    """What `encode` brought, unless the collection was moved to another model meanwhile."""
    return carry.embedding if carry is not None and carry.embedder == record.embedder else None


def _mismatch(collection: str, made: str, here: str) -> Conflict:
    return Conflict(
        f"the collection {collection!r} was made with {made}, this deployment has {here}: configure the same, or"
        " rebuild the collection",
        code="encoder_mismatch",
        field="input.collection",
    )
