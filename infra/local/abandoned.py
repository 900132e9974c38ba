"""Gives back the jobs of a stack that was killed, when the next one starts on its data.

The rescuer would do so, too, but only when their workers have been silent for `WELIP_RESCUE_GONE`. Here it is known
that they will not come back: they ran on this host, and their processes are gone.
"""

from typing import Final

from infra.postgres.database import Database
from infra.postgres.queries import deaths, rescue
from infra.settings import PostgresSettings, RescueSettings
from infra.worker_names import has_ended

AT_MOST: Final = 10_000
"""Jobs that are given back here. A stack runs a few dozen at a time; the rescuer finds what is left."""


async def give_back(url: str) -> int:
    """End the leases of dead workers of this host, as the rescuer does; how many jobs. Raises `DependencyUnavailable`.

    Jobs go on after the wait of a first retry, a second at most.
    """
    database = Database(PostgresSettings.model_validate({"url": url, "pool_size": 2}), application="welip-up")
    await database.open()
    try:
        async with database.unit_of_work() as connection:
            if not await rescue.lead(connection):
                return 0
            dead = {worker for worker in await deaths.absent(connection) if has_ended(worker)}
            if not dead:
                return 0
            lost = await deaths.end_leases(connection, AT_MOST, proof=RescueSettings().proof, dead=dead)
            return lost.jobs
    finally:
        await database.close()
