"""The `Embedder` port: a model behind a cache and a batcher, shared by all stages of a process."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from hashlib import sha256
from typing import Final, Protocol

import structlog

from infra.engines.batching import Batcher
from infra.engines.blame import Run, blames_an_item
from infra.metrics import EMBEDDED
from schemas.errors import JobError
from schemas.retrieval import Embedding

log = structlog.get_logger(__name__)

PROBE: Final = "서울"
"""A text that every model takes."""

CACHE_S: Final = 5.0
"""A cache that answers later than this does not help."""


class EmbeddingCache(Protocol):
    """What was embedded before, by model and hash of the text."""

    async def find(self, model: str, hashes: Sequence[bytes]) -> Mapping[bytes, Embedding]:
        """The known ones."""

    async def keep(self, model: str, made: Mapping[bytes, Embedding]) -> None:
        """Remember these."""


class Model(Protocol):
    """What an embedding model says about itself. `dimension` is 0 if it is unknown before the first answer."""

    dimension: int
    learned: bool
    query_prefix: str
    document_prefix: str

    async def close(self) -> None:
        """Release connections."""


class BatchedEmbedder:
    """`model` encodes through `run`, at most `batch` texts at once, `lanes` times at once.

    Documents come from `cache` where they can, which is looked up and written in one statement for each call; a cache
    that fails costs time, nothing else. Queries are not kept, and go ahead of documents.
    """

    def __init__(
        self,
        name: str,
        model: Model,
        run: Run[str, Embedding],
        *,
        batch: int,
        lanes: int = 1,
        cache: EmbeddingCache | None = None,
    ) -> None:
        self._name = name
        self._model = model
        self._cache = cache
        self._batcher = Batcher(run, limit=batch, size=len, lanes=lanes, model="embedder", probe=PROBE)

    @property
    def name(self) -> str:
        """The model's name, with every setting that changes its vectors."""
        return self._name

    @property
    def dimension(self) -> int:
        """Length of each dense vector; of an endpoint's, 0 before its first answer."""
        return self._model.dimension

    @property
    def learned(self) -> bool:
        """Whether the model also gives its own sparse vectors."""
        return self._model.learned

    async def embed_documents(self, texts: Sequence[str]) -> list[Embedding | JobError]:
        """One embedding a text, or the error of a text that the model cannot take; the same text is embedded once.

        Raises errors that no single text causes: outages, and errors of the configuration.
        """
        prefixed = [self._model.document_prefix + text for text in texts]
        keys = {text: sha256(text.encode()).digest() for text in prefixed}
        found = await self._find(list(keys.values()))
        missing = [text for text, key in keys.items() if key not in found]
        answers = dict(zip((keys[text] for text in missing), await self._batcher.call(missing), strict=True))
        made = {key: answer for key, answer in answers.items() if not isinstance(answer, Exception)}
        EMBEDDED.labels("cache").inc(len(found))
        EMBEDDED.labels("model").inc(len(made))
        if made:
            await self._keep(made)
        refused = {key: error for key, error in answers.items() if isinstance(error, Exception)}
        for error in refused.values():
            if not blames_an_item(error):
                raise error
        held: dict[bytes, Embedding | JobError] = {**found, **made}
        held |= {key: _as_job_error(error) for key, error in refused.items()}
        return [held[keys[text]] for text in prefixed]

    async def embed_query(self, text: str) -> Embedding:
        """The embedding of a query."""
        (embedding,) = await self._batcher.call([self._model.query_prefix + text], urgent=True)
        if isinstance(embedding, Exception):
            raise embedding
        return embedding

    async def close(self) -> None:
        """Release connections."""
        await self._model.close()

    async def _find(self, keys: Sequence[bytes]) -> Mapping[bytes, Embedding]:
        cache = self._cache
        # Before its first answer an endpoint's dimension is not known, and what is kept cannot be held against it.
        if cache is None or not keys or not self.dimension:
            return {}
        found = await _in_time(lambda: cache.find(self._name, keys))
        # Vectors of another version of the model would spoil the index.
        return {
            key: kept
            for key, kept in (found or {}).items()
            if len(kept.dense) == self.dimension and (kept.learned is not None) == self.learned
        }

    async def _keep(self, made: Mapping[bytes, Embedding]) -> None:
        if (cache := self._cache) is not None:
            await _in_time(lambda: cache.keep(self._name, made))


def _as_job_error(error: Exception) -> JobError:
    """An error that a model in this process raises over one text also counts against that text."""
    if isinstance(error, JobError):
        return error
    log.warning("embedder.text_refused", error=repr(error))
    return JobError(f"the embedding model cannot take this text: {type(error).__name__}", code="embedding_invalid")


async def _in_time(ask: Callable[[], Awaitable[Mapping[bytes, Embedding] | None]]) -> Mapping[bytes, Embedding] | None:
    try:
        async with asyncio.timeout(CACHE_S):
            return await ask()
    except Exception as error:  # noqa: BLE001 - whatever it is, the model can do the work
        log.warning("embedder.cache_away", error=repr(error))
        return None
