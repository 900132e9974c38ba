"""A stage of `inference` for workers that have the embedding model: embeds the question, and hands back."""

from time import perf_counter
from typing import Final

from consumers.stages.context import StageJob
from consumers.stages.models import embedder_for
from consumers.stages.ports import Ports, needs
from schemas.kinds.inference import InferenceInput, Resumed, ToEncode
from schemas.outcomes import Next, Outcome

NEEDS: Final = needs(Ports.embedder)


async def run(job: StageJob[InferenceInput, ToEncode], ports: Ports) -> Outcome:
    """Back to `retrieve` with the embedding.

    Raises `DependencyMissing` (`embedder_missing`) and `Conflict` (`encoder_mismatch`) when this pool is configured
    otherwise than the one that sent the job here.
    """
    wanted = job.carry.embedder
    embedder = embedder_for(ports, wanted)
    began = perf_counter()
    embedding = await embedder.embed_query(job.carry.search_question or job.input.question)
    timings = {**job.carry.timings_ms, "encode": round((perf_counter() - began) * 1000, 3)}
    carried = {**job.carry.model_dump(exclude={"timings_ms"}), "timings_ms": timings}
    return Next("retrieve", Resumed(**carried, embedding=embedding))
