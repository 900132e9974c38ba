"""Answers by the address of what was asked: each leads to the job that gave it, and goes when that job is removed."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final
from uuid import UUID

import asyncpg

if TYPE_CHECKING:
    from infra.postgres.database import Connection

# The results behind a tenant's addresses.
FIND: Final = """
SELECT answer.address, job.kind, job.result
FROM answer JOIN job ON job.id = answer.job_id
WHERE answer.tenant = $1 AND answer.address = ANY($2::bytea[]) AND job.state = 'succeeded'
"""

# The newest job of an address wins: it is kept longest. A job that retention removed meanwhile is left out.
REMEMBER: Final = """
INSERT INTO answer (tenant, address, job_id)
SELECT $1, given.address, job.id
FROM unnest($2::bytea[], $3::uuid[]) AS given(address, job_id) JOIN job ON job.id = given.job_id
WHERE job.tenant = $1 AND job.state = 'succeeded'
ORDER BY given.address
ON CONFLICT (tenant, address) DO UPDATE SET job_id = excluded.job_id
"""


async def find(connection: "Connection", tenant: str, addresses: Sequence[bytes]) -> list[asyncpg.Record]:
    """`address`, `kind` and `result` (a JSON text) of those that have an answer."""
    return await connection.fetch(FIND, tenant, list(addresses))


async def remember(connection: "Connection", tenant: str, answers: Mapping[bytes, UUID]) -> None:
    """Let addresses lead to jobs of the tenant that have succeeded."""
    await connection.execute(REMEMBER, tenant, list(answers), list(answers.values()))
