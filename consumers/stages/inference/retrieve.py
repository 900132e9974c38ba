"""The first stage of `inference`: finds the passages that may answer the question."""

from time import perf_counter
from typing import Final

from consumers.stages.context import StageJob
from consumers.stages.inference.onward import milliseconds, onward
from consumers.stages.inference.search import Search, ToBeEncoded, reranks, search
from consumers.stages.ports import Ports, needs
from schemas.kinds.inference import Asked, InferenceInput, Resumed, ToEncode, ToGenerate
from schemas.outcomes import Next, Outcome

NEEDS: Final = needs(Ports.catalogue, Ports.embedder, Ports.index, Ports.sparse)


async def run(job: StageJob[InferenceInput, Resumed | None], ports: Ports) -> Outcome:
    """Search, then on to `rerank`, `generate` or the end; through `encode` when the model is in another pool.

    A question after a conversation goes to the model of `generate` first, which condenses the two. Raises what `search`
    raises.
    """
    request = job.input
    rerank = reranks(request, ports.deployment)
    began = perf_counter()
    timings = {"queue": milliseconds(job.created_at, job.started_at), **(job.carry.timings_ms if job.carry else {})}
    asked = job.carry or Asked(timings_ms=timings)
    if request.messages and request.generate is not None and not asked.condensed:
        return Next("generate", ToGenerate(passages=None, timings_ms=timings))
    encoded = job.carry or Resumed()
    question = encoded.search_question or request.question
    found = await search(
        Search(job.tenant, request, question, job.requester, encoded.embedder, encoded.embedding), ports
    )
    timings["retrieve"] = round(timings.get("retrieve", 0.0) + (perf_counter() - began) * 1000, 3)
    if isinstance(found, ToBeEncoded):
        carried = {**asked.model_dump(include=set(Asked.model_fields)), "timings_ms": timings}
        return Next("encode", ToEncode(embedder=found.embedder, **carried))
    return onward(job, found, asked.model_copy(update={"timings_ms": timings}), rerank=rerank)
