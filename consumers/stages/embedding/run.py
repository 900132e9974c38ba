"""The only stage of `embedding`: the job's model turns texts into vectors, in batches with those of other jobs."""

import asyncio
from collections.abc import Sequence
from typing import Final

from consumers.stages.context import StageJob
from consumers.stages.ports import Embedder, Ports, needs
from schemas.errors import InvalidInput, JobError
from schemas.kinds.embedding import EmbeddingInput, EmbeddingResult
from schemas.outcomes import Done, Outcome
from schemas.retrieval import Embedding

NEEDS: Final = needs(Ports.vectors)


async def run(job: StageJob[EmbeddingInput, None], ports: Ports) -> Outcome:
    """Embed. Raises `InvalidInput`, naming the text, for one that the model cannot take."""
    model = ports.vectors
    found = await (_queries if job.input.purpose == "query" else _documents)(model, job.input.texts)
    vectors = [[float(number) for number in embedding.dense] for embedding in found]
    return Done(EmbeddingResult(vectors=vectors, dimension=len(vectors[0]), model=model.name).model_dump())


async def _queries(model: Embedder, texts: Sequence[str]) -> list[Embedding]:
    return await asyncio.gather(*(model.embed_query(text) for text in texts))


async def _documents(model: Embedder, texts: Sequence[str]) -> list[Embedding]:
    found = await model.embed_documents(texts)
    for at, one in enumerate(found):
        if isinstance(one, JobError):
            raise InvalidInput(
                f"the model cannot take this text: {one.message}", code=one.reason, field=f"input.texts.{at}"
            ) from one
    return [one for one in found if not isinstance(one, JobError)]
