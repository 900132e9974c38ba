"""No text is embedded twice while its vector is kept, and a cache that fails costs only time."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest

from infra.blobs.folder import FolderBlobs
from infra.engines.embedder import BatchedEmbedder, EmbeddingCache
from infra.postgres.database import Database
from infra.postgres.embeddings import PostgresEmbeddingCache
from infra.settings import RetentionSettings
from producers.retention import Retention
from schemas.errors import DependencyUnavailable
from schemas.retrieval import Embedding, SparseVector


class CountingModel:
    """Makes vectors from the letters of a text, exact in 32 bits; counts what it embedded."""

    learned = True
    dimension = 3
    query_prefix = ""
    document_prefix = "d: "

    def __init__(self) -> None:
        self.embedded: list[str] = []

    async def encode(self, texts: Sequence[str]) -> list[Embedding]:
        self.embedded += texts
        return [self.of(text) for text in texts]

    @staticmethod
    def of(text: str) -> Embedding:
        dense = np.array([len(text), text.count("가"), 1], dtype=np.float32)
        dense /= np.linalg.norm(dense)
        weights = SparseVector([1, 2**32 - 1], [0.5, 0.25]) if "가" in text else SparseVector([], [])
        return Embedding(dense.tolist(), weights)

    async def close(self) -> None:
        return None


def embedder(model: CountingModel, cache: EmbeddingCache, name: str = "m") -> BatchedEmbedder:
    return BatchedEmbedder(name, model, model.encode, batch=8, cache=cache)


def same(one: Embedding, other: Embedding) -> bool:
    return (list(one.dense), one.learned and (list(one.learned.indices), list(one.learned.values))) == (
        list(other.dense),
        other.learned and (list(other.learned.indices), list(other.learned.values)),
    )


async def age(database: Database, days: int, text: str | None = None) -> None:
    async with database.connection() as connection:
        await connection.execute(
            "UPDATE embedding SET used_at = now() - make_interval(days => $1)"
            " WHERE $2::text IS NULL OR hash = sha256(convert_to($2, 'UTF8'))",
            days,
            text,
        )


async def rows(database: Database) -> int:
    async with database.connection() as connection:
        return int(await connection.fetchval("SELECT count(*) FROM embedding"))


async def test_what_was_embedded_before_is_not_embedded_again_by_any_worker(database: Database) -> None:
    first, second = CountingModel(), CountingModel()
    texts = ["가나다", "라마바", "", "가" * 10_000, "👩‍👩‍👧‍👦", "라마바"]
    made = await embedder(first, PostgresEmbeddingCache(database)).embed_documents(texts)
    again = await embedder(second, PostgresEmbeddingCache(database)).embed_documents([*texts[::-1], "사"])
    assert first.embedded == [f"d: {text}" for text in dict.fromkeys(texts)]
    assert second.embedded == ["d: 사"]
    assert all(same(a, b) for a, b in zip(again, [*made[::-1], CountingModel.of("d: 사")], strict=True))


async def test_another_model_makes_its_own(database: Database) -> None:
    model, cache = CountingModel(), PostgresEmbeddingCache(database)
    for name in ("m", "n", "n"):
        await embedder(model, cache, name).embed_documents(["가"])
    assert len(model.embedded) == 2
    assert await rows(database) == 2


async def test_what_does_not_fit_the_model_is_made_anew(database: Database) -> None:
    model, cache = CountingModel(), PostgresEmbeddingCache(database)
    await embedder(model, cache).embed_documents(["가"])
    model.dimension = 4
    await embedder(model, cache).embed_documents(["가"])
    model.dimension, model.learned = 3, False
    await embedder(model, cache).embed_documents(["가"])
    assert len(model.embedded) == 3


async def test_a_model_that_does_not_know_its_dimension_yet_is_asked_first(database: Database) -> None:
    await embedder(CountingModel(), PostgresEmbeddingCache(database)).embed_documents(["가", "나"])
    endpoint = CountingModel()
    endpoint.dimension = 0
    fresh = embedder(endpoint, PostgresEmbeddingCache(database))
    await fresh.embed_documents(["가"])
    assert endpoint.embedded == ["d: 가"]
    endpoint.dimension = 3
    await fresh.embed_documents(["나"])
    assert endpoint.embedded == ["d: 가"]


async def test_queries_are_not_kept(database: Database) -> None:
    model = CountingModel()
    await embedder(model, PostgresEmbeddingCache(database)).embed_query("가")
    assert await rows(database) == 0


async def test_jobs_that_keep_the_same_texts_at_once_do_not_disturb_each_other(database: Database) -> None:
    texts = [f"글 {n}" for n in range(50)]
    shared = [embedder(CountingModel(), PostgresEmbeddingCache(database)) for _ in range(6)]
    made = await asyncio.gather(*(one.embed_documents(texts if n % 2 else texts[::-1]) for n, one in enumerate(shared)))
    assert all(same(a, b) for one in made[1::2] for a, b in zip(one, made[1], strict=True))
    assert await rows(database) == 50


class BrokenCache:
    """A cache that fails, or never answers."""

    def __init__(self, error: Exception | None) -> None:
        self.error = error

    async def find(self, model: str, hashes: Sequence[bytes]) -> Mapping[bytes, Embedding]:
        await self._fail()
        return {}

    async def keep(self, model: str, made: Mapping[bytes, Embedding]) -> None:
        await self._fail()

    async def _fail(self) -> None:
        if self.error is not None:
            raise self.error
        await asyncio.Event().wait()


@pytest.mark.parametrize("error", [DependencyUnavailable("Postgres is away"), ValueError("defect"), None])
async def test_without_its_cache_the_work_is_done(error: Exception | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("infra.engines.embedder.CACHE_S", 0.05)
    model = CountingModel()
    made = await embedder(model, BrokenCache(error)).embed_documents(["가", "나"])
    assert all(same(a, CountingModel.of(text)) for a, text in zip(made, ["d: 가", "d: 나"], strict=True))


async def test_a_table_that_is_missing_does_not_fail_the_work(database: Database) -> None:
    async with database.connection() as connection:
        await connection.execute("DROP TABLE embedding")
    model = CountingModel()
    assert len(await embedder(model, PostgresEmbeddingCache(database)).embed_documents(["가"])) == 1


async def test_unused_vectors_are_removed_and_used_ones_stay(database: Database, tmp_path: Path) -> None:
    model, cache = CountingModel(), PostgresEmbeddingCache(database)
    texts = [f"글 {n}" for n in range(25)]
    await embedder(model, cache).embed_documents(texts)
    await age(database, 29)
    await embedder(model, cache).embed_documents(texts[:5])  # used, so their time starts again
    await age(database, 31, "d: 글 24")
    keep = Retention(database, FolderBlobs(tmp_path), RetentionSettings(batch=7))
    assert await keep.round() == {"embeddings": 1}
    async with database.connection() as connection:
        await connection.execute("UPDATE embedding SET used_at = used_at - interval '2 days'")
    assert await keep.round() == {"embeddings": 19}
    assert await rows(database) == 5


async def test_a_period_of_0_keeps_for_ever(database: Database, tmp_path: Path) -> None:
    await embedder(CountingModel(), PostgresEmbeddingCache(database)).embed_documents(["가"])
    await age(database, 3650)
    keep = Retention(database, FolderBlobs(tmp_path), RetentionSettings(embeddings=timedelta(0)))
    assert await keep.round() == {}
