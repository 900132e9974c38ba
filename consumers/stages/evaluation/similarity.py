"""A stage of `evaluation`'s children: how close the answers of a slice are in meaning to their references."""

from collections.abc import Mapping
from operator import mul
from typing import Final

from consumers.stages.context import StageJob
from consumers.stages.evaluation.judging.lines import Line, lines_of
from consumers.stages.ports import Ports, needs
from schemas.errors import JobError
from schemas.kinds.evaluation.judge import Scores, SimilarityInput, SliceResult
from schemas.outcomes import Done, Outcome
from schemas.retrieval import Embedding

NEEDS: Final = needs(Ports.blobs, Ports.embedder)

METRIC: Final = "similarity"


async def run(job: StageJob[SimilarityInput, None], ports: Ports) -> Outcome:
    """The cosine of answer and reference, of the best reference, 0 where it is negative; 0 without an answer."""
    embedder = ports.embedder
    lines = [line async for line in lines_of(ports.blobs, job.input.slice) if METRIC in line.open]
    result = SliceResult(answers={}, by="" if embedder is None else embedder.name)
    if embedder is None:
        result.answers = {line.key: Scores(unscored={METRIC: "embedder_missing"}) for line in lines}
        result.messages["embedder_missing"] = "this worker has no embedder: set WELIP_EMBEDDER alike for all workers"
        return Done(result.model_dump())
    texts = list(dict.fromkeys(text for line in lines for text in _texts(line)))
    embedded = await embedder.embed_documents(texts) if texts else []
    pairs = list(zip(texts, embedded, strict=True))
    vectors = {text: one for text, one in pairs if not isinstance(one, JobError)}
    refused = {text: one for text, one in pairs if isinstance(one, JobError)}
    for line in lines:
        told = result.answers[line.key] = Scores()
        if error := next((refused[text] for text in _texts(line) if text in refused), None):
            told.unscored[METRIC] = error.reason
            result.messages.setdefault(error.reason, error.message)
        else:
            told.scores[METRIC] = round(_best(line, vectors), 6)
    return Done(result.model_dump())


def _texts(line: Line) -> list[str]:
    return [line.text, *line.references] if line.text else []


def _best(line: Line, vectors: Mapping[str, Embedding]) -> float:
    if not line.text:
        return 0.0
    answer = vectors[line.text].dense
    # Vectors of a port have unit length.
    found: float = max(sum(map(mul, answer, vectors[one].dense)) for one in line.references)
    return min(1.0, max(0.0, found))
