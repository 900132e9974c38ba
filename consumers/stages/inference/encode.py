"""A stage of `inference` for workers that have the embedding model: embeds the question, and hands back."""

from dataclasses import asdict
from time import perf_counter
from typing import Final

from consumers.stages.context import StageJob
from consumers.stages.models import embedder_for
from consumers.stages.ports import Ports, needs
from schemas.kinds.inference import InferenceInput
from schemas.outcomes import Next, Outcome

NEEDS: Final = needs(Ports.embedder)


async def run(job: StageJob, ports: Ports) -> Outcome:
    """Back to `retrieve` with the embedding.

    Raises `DependencyMissing` (`embedder_missing`) and `Conflict` (`encoder_mismatch`) when this pool is configured
    otherwise than the one that sent the job here.
    """
    request = InferenceInput.model_validate(job.input)
    wanted = job.carry["embedder"]
    embedder = embedder_for(ports, wanted)
    began = perf_counter()
    embedding = await embedder.embed_query(request.question)
    timings = {**job.carry["timings_ms"], "encode": round((perf_counter() - began) * 1000, 3)}
    return Next("retrieve", {"embedder": wanted, "embedding": asdict(embedding), "timings_ms": timings})
