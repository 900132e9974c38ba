"""The cache of embeddings in Postgres, shared by all workers. Vectors are 32-bit floats, little-endian."""

import struct
from collections.abc import Mapping, Sequence

from infra.postgres.database import Database
from infra.postgres.queries import embeddings
from schemas.retrieval import Embedding, SparseVector


class PostgresEmbeddingCache:
    """Finds and stores embeddings, one statement each. Retention removes unused ones (`producers/retention.py`)."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def find(self, model: str, hashes: Sequence[bytes]) -> dict[bytes, Embedding]:
        """The cached embeddings among `hashes`, by hash."""
        async with self._database.connection() as connection:
            rows = await embeddings.find(connection, model, hashes)
        return {
            row["hash"]: Embedding(_floats(row["dense"]), None if row["learned"] is None else _sparse(row["learned"]))
            for row in rows
        }

    async def keep(self, model: str, made: Mapping[bytes, Embedding]) -> None:
        """Store these embeddings for other jobs."""
        rows = [
            (key, struct.pack(f"<{len(one.dense)}f", *one.dense), None if one.learned is None else _packed(one.learned))
            for key, one in made.items()
        ]
        async with self._database.connection() as connection:
            await embeddings.keep(connection, model, rows)


def _packed(vector: SparseVector) -> bytes:
    count = len(vector.indices)
    return struct.pack(f"<{count}I{count}f", *vector.indices, *vector.values)


def _sparse(data: bytes) -> SparseVector:
    count = len(data) // 8
    numbers = struct.unpack(f"<{count}I{count}f", data)
    return SparseVector(numbers[:count], numbers[count:])


def _floats(data: bytes) -> tuple[float, ...]:
    return struct.unpack(f"<{len(data) // 4}f", data)
