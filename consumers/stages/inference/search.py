"""Finds the passages for a question: shared by the stage `retrieve` and by searches without a job."""

import asyncio
from contextlib import suppress
from dataclasses import dataclass

from consumers.stages.collections import named_collection
from consumers.stages.inference.visible import Outdated, visible
from consumers.stages.ports import Deployment, Ports
from schemas.catalogue import MAX_FIELDS, CollectionRecord
from schemas.errors import Conflict, DependencyMissing, InvalidInput, JobError, NotFound
from schemas.filters import Condition, fields_of, parse_filter
from schemas.kinds.inference import InferenceInput
from schemas.requester import Requester
from schemas.retrieval import Embedding, IndexName, Passage, Query, SparseVector


@dataclass(frozen=True, slots=True)
class Search:
    """A question to a collection of a tenant.

    `question`: what is searched for, which differs from the request's question after a conversation. `embedding`: its
    vectors by the model `embedder`, where another pool has encoded it.
    """

    tenant: str
    request: InferenceInput
    question: str
    by: Requester
    embedder: str | None = None
    embedding: Embedding | None = None


@dataclass(frozen=True, slots=True)
class ToBeEncoded:
    """The question needs vectors by this model, which this process does not have."""

    embedder: str


async def search(asked: Search, ports: Ports) -> list[Passage] | ToBeEncoded:
    """The best passages, best first: `top_k` of them, or as many as the reranker reads if the request is reranked.

    The collection is taken to be as this process last read it. Postgres says whether it still is when it says which
    hits may be shown; if not, the search begins anew. So one statement does for two, and no change is missed.

    Raises `NotFound` (`collection_not_found`), `Conflict` (`collection_empty`, `encoder_mismatch`, `index_missing`,
    `index_restored`), `InvalidInput` (`filter_field_unknown`, `reranker_missing`, and for a question that takes too
    much) and `DependencyMissing` (`embedder_missing`).
    """
    wanted = asked.request.top_k
    if reranks(asked.request, ports.deployment):
        wanted = max(wanted, ports.deployment.candidates)
    if (plan := _remembered(asked, ports)) is not None:
        with suppress(Outdated, NotFound):
            return await _passages(asked, ports, plan, wanted, state=plan.record.state)
    plan = await _read(asked, ports)
    try:
        return await _passages(asked, ports, plan, wanted)
    except NotFound as error:
        # The collection may have been swapped for another index between the two.
        swapped = await _read(asked, ports)
        if swapped.record.generation == plan.record.generation:
            why = f"the index of the collection {plan.record.name!r} is gone; rebuild the collection from its texts"
            raise Conflict(why, code="index_missing", field="input.collection") from error
        return await _passages(asked, ports, swapped, wanted)


def reranks(request: InferenceInput, deployment: Deployment) -> bool:
    """Whether a reranker orders the passages. Raises `InvalidInput` (`reranker_missing`)."""
    if request.rerank and deployment.reranker is None:
        why = "this deployment has no reranker: leave `rerank` out, or set WELIP_RERANKER and WELIP_RERANKER_MODEL"
        raise InvalidInput(why, code="reranker_missing", field="input.rerank")
    return deployment.reranker is not None and request.rerank is not False


@dataclass(frozen=True, slots=True)
class _Plan:
    """How a question is answered from a collection as it was read: `embeds`, whether a model's arm counts."""

    record: CollectionRecord
    condition: Condition | None
    embeds: bool


def _remembered(asked: Search, ports: Ports) -> _Plan | None:
    record = ports.catalogue.remembered(asked.tenant, asked.request.collection)
    try:
        return None if record is None else _planned(asked, ports, record)
    except JobError:
        return None  # what was wrong may have been put right since


async def _read(asked: Search, ports: Ports) -> _Plan:
    return _planned(asked, ports, await named_collection(ports, asked.tenant, asked.request.collection))


def _planned(asked: Search, ports: Ports, record: CollectionRecord) -> _Plan:
    name = record.name
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
    return _Plan(record, _condition(asked.request, record), _needs_embedding(record, ports))


async def _passages(
    asked: Search, ports: Ports, plan: _Plan, wanted: int, *, state: str | None = None
) -> list[Passage] | ToBeEncoded:
    """Raises `Outdated` when a `state` is given and the collection has left it."""
    record = plan.record
    # What was encoded does not count once the collection has moved to another model.
    embedding = asked.embedding if asked.embedder == record.embedder else None
    sparse: SparseVector
    if embedding is None and plan.embeds:
        if ports.embedder is None:
            assert record.embedder is not None
            return ToBeEncoded(record.embedder)
        sparse, embedding = await asyncio.gather(
            ports.sparse.encode_query(asked.question, record.settings.sparse, by=asked.by),
            ports.embedder.embed_query(asked.question),
        )
    else:
        sparse = await ports.sparse.encode_query(asked.question, record.settings.sparse, by=asked.by)
    query = Query(sparse)
    if embedding is not None:
        if record.dimension not in (None, len(embedding.dense)):
            raise _mismatch(record.name, f"{record.dimension} dimensions", f"a model of {len(embedding.dense)}")
        query = Query(sparse, embedding.dense, embedding.learned if record.learned else None)
    # A question of symbols alone has no terms: nothing can match it.
    elif not sparse.indices:
        if state is not None:
            raise Outdated
        return []
    index = IndexName(asked.tenant, record.name, record.generation)
    fusion = record.settings.fusion
    return await visible(ports, index, query, wanted=wanted, fusion=fusion, filter=plan.condition, state=state)


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


def _mismatch(collection: str, made: str, here: str) -> Conflict:
    return Conflict(
        f"the collection {collection!r} was made with {made}, this deployment has {here}: configure the same, or"
        " rebuild the collection",
        code="encoder_mismatch",
        field="input.collection",
    )
