"""Lists jobs a page at a time, newest first: ids are UUIDv7, so their order is by time.

Each set of filters has its own statement. It reads as many entries of an index as the page has jobs, or as many for
each state or kind when none was asked for. What a filter excludes is never read, however much there is.
"""

from collections.abc import Iterable
from functools import cache
from typing import TYPE_CHECKING, Final
from uuid import UUID

import asyncpg

from infra.postgres.queries.reading import COLUMNS
from schemas.kinds.registry import KINDS
from schemas.lifecycle import JobState

if TYPE_CHECKING:
    from infra.postgres.database import Connection

LAST_ID: Final = UUID(int=2**128 - 1)


async def jobs(
    connection: "Connection",
    tenant: str,
    *,
    kind: str | None,
    state: str | None,
    parent: UUID | None,
    after: UUID | None,
    limit: int,
) -> list[asyncpg.Record]:
    """A page of a tenant's submitted jobs, or of the children of one `parent`."""
    statement = page(children=parent is not None, kind=kind is not None, state=state is not None)
    filters = [value for value in (parent, kind, state) if value is not None]
    return await connection.fetch(statement, tenant, after or LAST_ID, limit, *filters)


@cache
def page(*, children: bool, kind: bool, state: bool) -> str:
    """The statement for these filters. $1: tenant, $2: last id of the previous page, $3: limit; then the filters."""
    given = iter(("$4", "$5", "$6"))
    # A child has its parent's tenant. Its kind is in the index of its siblings, so only their entries are read.
    of_parent = f"parent = (SELECT id FROM job WHERE id = {next(given)} AND tenant = $1)" if children else ""
    base = of_parent or "tenant = $1 AND parent IS NULL"
    of_kind = f" AND kind = {next(given)}" if kind else ""
    in_state = f" AND state = {next(given)}" if state else ""
    if not children and not kind and not state:
        branches = [base]  # index job_newest
    elif not children and not kind:
        branches = [f"{base} AND kind = '{name}'{in_state}" for name in KINDS]  # index job_listed
    elif not state:
        branches = [f"{base}{of_kind} AND state = '{name}'" for name in JobState]  # job_listed, job_children
    else:
        branches = [f"{base}{of_kind}{in_state}"]
    return f"""
SELECT {COLUMNS} FROM job WHERE id = ANY(array(
    SELECT id FROM ({_newest(branches)}) AS listed ORDER BY id DESC LIMIT $3
)) ORDER BY id DESC
"""


def _newest(branches: Iterable[str]) -> str:
    return " UNION ALL ".join(
        f"(SELECT id FROM job WHERE {branch} AND id < $2 ORDER BY id DESC LIMIT $3)" for branch in branches
    )
