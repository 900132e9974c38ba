"""The `Reranker` port: a model behind a batcher, shared by all stages of a process."""

from collections.abc import Sequence

from infra.engines.batching import Batcher, Run

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

    async def rerank(self, question: str, texts: Sequence[str]) -> list[float]:
        """A relevance in 0..1 for each text."""
        return await self._batcher.call([(question, text) for text in texts])

    async def close(self) -> None:
        """Nothing is held but the model."""
