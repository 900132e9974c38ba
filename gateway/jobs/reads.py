"""Reads a job for its owner: its row, and its public view."""

from typing import Any
from uuid import UUID

import asyncpg

from gateway.jobs.views import job_view
from gateway.services import Services
from infra.postgres.queries import reading
from schemas.errors import NotFound


async def job_of(services: Services, job_id: UUID, tenant: str) -> dict[str, Any]:
    """A job of the tenant, with the counts of its children. Raises `NotFound`."""
    row = await row_of(services, job_id, tenant)
    async with services.database.connection() as connection:
        children = await reading.children(connection, [job_id])
    return job_view(row, children.get(job_id))


async def row_of(services: Services, job_id: UUID, tenant: str) -> asyncpg.Record:
    """The row of a job of the tenant. Raises `NotFound`."""
    async with services.database.connection() as connection:
        row = await reading.job(connection, job_id, tenant)
    if row is None:
        raise NotFound(f"there is no job job_{job_id.hex}", code="job_not_found", field="id")
    return row
