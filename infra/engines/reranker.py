"""The `Reranker` port: a model behind a batcher, shared by all stages of a process."""

from collections.abc import Sequence

from infra.engines.batching import Batcher
from infra.engines.blame import Run, blames_an_item
from schemas.errors import JobError

Pair = tuple[str, str]


class BatchedReranker:
    """`run` scores at most `batch` pairs of question and text at once."""

    def __init__(self, name: str, run: Run[Pair, float], *, batch: int) -> None:
        self._name = name
        self._batcher = Batcher(run, limit=batch, size=lambda pair: len(pair[0]) + len(pair[1]), model="reranker")

    @property
    def name(self) -> str:
        """The model's name."""
        return self._name

    async def rerank(self, question: str, texts: Sequence[str]) -> list[float | JobError]:
        """A relevance in 0..1 for each text, or the error of a text that the model cannot take."""
        return told(await self._batcher.call([(question, text) for text in texts]))

    async def close(self) -> None:
        """Nothing is held but the model."""


def told(scores: Sequence[float | Exception]) -> list[float | JobError]:
    """The scores, with errors of texts in place.

    Raises errors that no single text causes, and errors that all of them have.
    """
    errors = [score for score in scores if isinstance(score, Exception)]
    for error in errors:
        if not blames_an_item(error) or len(errors) == len(scores):
            raise error
    return [_as_job_error(score) if isinstance(score, Exception) else score for score in scores]


def _as_job_error(error: Exception) -> JobError:
    if isinstance(error, JobError):
        return error
    return JobError(f"the reranker cannot take this text: {type(error).__name__}", code="rerank_invalid")
