"""The answers in Postgres, for the stages of evaluations."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar
from uuid import UUID

import orjson

from infra.postgres.database import Database
from infra.postgres.queries import answers

A = TypeVar("A")


@dataclass(frozen=True, slots=True)
class PostgresAnswers(Generic[A]):
    """Implements `Answers`. `answer` builds a known answer that stages work with."""

    database: Database
    answer: Callable[..., A]

    async def find(self, tenant: str, addresses: Sequence[bytes]) -> dict[bytes, A]:
        """Those of a tenant's addresses that have an answer."""
        async with self.database.connection() as connection:
            rows = await answers.find(connection, tenant, addresses)
        return {row["address"]: self.answer(kind=row["kind"], result=orjson.loads(row["result"])) for row in rows}

    async def remember(self, tenant: str, given: Mapping[bytes, UUID]) -> None:
        """Let addresses lead to the results of these jobs."""
        async with self.database.connection() as connection:
            await answers.remember(connection, tenant, given)
