"""What the scenarios share: one PostgreSQL and one Apache Kafka, on which each has a database of its own."""

import asyncio
from itertools import count
from pathlib import Path
from typing import Self

from infra.local.kafka import KafkaServer
from infra.postgres.keys import create_key
from tests.faults.servers import Postgres
from tests.faults.site import Site


class Grounds:
    """`async with`: both servers run."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        self.folder = folder
        self.postgres = Postgres(folder / "pg")
        self.kafka = KafkaServer(folder / "kafka")
        self._numbers = count(1)

    async def __aenter__(self) -> Self:
        await asyncio.to_thread(self.postgres.start)
        try:
            await asyncio.to_thread(self.kafka.start)
        except BaseException:
            await asyncio.to_thread(self.postgres.stop)
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.to_thread(self.kafka.stop)
        await asyncio.to_thread(self.postgres.stop)

    async def site(
        self,
        name: str,
        *,
        postgres: Postgres | None = None,
        kafka: KafkaServer | None = None,
        tenant: str | None = None,
        **settings: str,
    ) -> Site:
        """Processes on a database of their own; on other servers than the shared ones where they are given.

        `tenant`: keys are asked for, and the load is of this one.
        """
        unique = f"{name}_{next(self._numbers)}"
        url = await asyncio.to_thread((postgres or self.postgres).database, unique)
        key = None if tenant is None else await asyncio.to_thread(create_key, url, tenant, "load")
        return Site(self.folder / unique, url, (kafka or self.kafka).bootstrap, key=key, **settings)
