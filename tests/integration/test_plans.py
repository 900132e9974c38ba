"""The statements on the hot path find their rows by id, however full the table and whatever its statistics say."""

import re
from typing import Any
from uuid import uuid4

import pytest

from infra.postgres.database import Database
from infra.postgres.queries.batches import ENDS, UNDONE
from infra.postgres.queries.claim import CLAIM, HEARTBEAT
from infra.postgres.queries.dispatch import RELEASE, SHARES
from infra.postgres.queries.limits import INTERACTIVE
from infra.postgres.queries.moves import FINISH, RESUME_PARENTS
from infra.postgres.queries.outbox import TAKE
from infra.postgres.queries.rescue import WAITING_PARENTS
from infra.postgres.queries.transcripts import TELL

FINISHED = """
INSERT INTO job (id, tenant, kind, stage, lane, state, max_attempts, input)
SELECT uuidv7(), 'default', 'noop', 'run', 'interactive', 'succeeded', 5, '{}' FROM generate_series(1, 20000)
"""
QUEUED = FINISHED.replace("succeeded", "queued")
RUNNING = FINISHED.replace("'succeeded'", "'running'")


SCAN = r"(Seq|Index|Only) Scan.* on (job|outbox)\b|Bitmap Index Scan on (job|outbox)_"
"""A line of a plan; the heap scan above a bitmap reads what that names."""

IDS = [uuid4() for _ in range(50)]
ONES = [1] * 50
NONES = [None] * 50


async def test_a_full_table_and_old_statistics_do_not_lead_to_a_scan(database: Database) -> None:
    statements: dict[str, list[Any]] = {
        CLAIM: [IDS, ONES, ["run"] * 50, "worker", 15.0],
        HEARTBEAT: [IDS, ONES, 15.0, "worker"],
        FINISH: [IDS, ONES, ["succeeded"] * 50, NONES, NONES, NONES, NONES, [0.0] * 50, NONES, NONES, NONES, "worker"],
    }
    async with database.connection() as connection:
        await connection.execute(FINISHED)
        await connection.execute("ANALYZE job")  # it sees neither queued nor running jobs
        await connection.execute(QUEUED)
        await connection.execute(RUNNING)
        for statement, arguments in statements.items():
            plan = "\n".join(row["QUERY PLAN"] for row in await connection.fetch(f"EXPLAIN {statement}", *arguments))
            reads = [line for line in plan.splitlines() if re.search(SCAN, line)]
            assert reads
            assert all("job_pkey" in line for line in reads), plan


async def test_the_interactive_jobs_that_wait_are_counted_in_the_index_of_summoned_ones(database: Database) -> None:
    held = (
        FINISHED.replace("input)", "input, summoned_at)").replace("'{}'", "'{}', NULL").replace("succeeded", "queued")
    )
    async with database.connection() as connection:
        await connection.execute(FINISHED)
        await connection.execute("ANALYZE job")
        await connection.execute(held)
        rows = await connection.fetch(f"EXPLAIN {INTERACTIVE}", "default", 64)
        plan = "\n".join(row["QUERY PLAN"] for row in rows)
        assert "using job_queued on job" in plan, plan
        assert "Index Cond: (summoned_at IS NOT NULL)" in plan, plan


FAMILIES = """
WITH parents AS (
    INSERT INTO job (id, tenant, kind, stage, lane, state, waiting, max_attempts, input)
    SELECT uuidv7(), 'default', 'noop', 'run', 'bulk', 'running', true, 5, '{}' FROM generate_series(1, 20) RETURNING id
)
INSERT INTO job (id, tenant, kind, stage, lane, state, max_attempts, input, parent)
SELECT uuidv7(), 'default', 'noop', 'run', 'bulk', CASE WHEN n % 3 = 0 THEN 'succeeded' ELSE 'queued' END, 5, '{}', id
FROM parents, generate_series(1, 1000) AS n
"""


async def test_whether_a_child_lives_is_looked_up_by_its_parent(database: Database) -> None:
    async with database.connection() as connection:
        await connection.execute(FAMILIES)
        await connection.execute("ANALYZE job")
        for statement, argument in ((RESUME_PARENTS, IDS), (WAITING_PARENTS, 100)):
            plan = "\n".join(row["QUERY PLAN"] for row in await connection.fetch(f"EXPLAIN {statement}", argument))
            reads = [line for line in plan.splitlines() if re.search(r" on job c\b", line)]
            assert reads
            assert all("using job_children" in line for line in reads), plan
            assert "Index Cond: ((parent = p.id) AND (state = ANY" in plan, plan


PARENT_EXISTS = "SELECT 1 FROM ONLY job x WHERE id = $1 FOR KEY SHARE OF x"
"""What the foreign key asks for each child."""


HOT = {
    "CLAIM": CLAIM,
    "HEARTBEAT": HEARTBEAT,
    "FINISH": FINISH,
    "RESUME_PARENTS": RESUME_PARENTS,
    "TELL": TELL,
    "SHARES": SHARES,
    "RELEASE": RELEASE,
    "TAKE": TAKE,
    "ENDS": ENDS,
    "UNDONE": UNDONE,
    "PARENT_EXISTS": PARENT_EXISTS,
}


@pytest.mark.parametrize("name", HOT)
async def test_a_plan_from_when_the_table_was_nearly_empty_reads_no_more_than_it_needs_of_a_full_one(
    database: Database, name: str
) -> None:
    """A session keeps its plan until the table is analyzed; a flood may come before that."""
    statement = HOT[name]
    count = max(map(int, re.findall(r"\$(\d+)", statement)), default=0)
    given = f"({', '.join(['NULL'] * count)})" if count else ""
    async with database.connection() as connection:
        await connection.execute("VACUUM (ANALYZE) job")
        await connection.execute(FINISHED.replace("20000", "100"))
    async with database.unit_of_work() as connection:
        await connection.execute("SET LOCAL plan_cache_mode = force_generic_plan")
        await connection.execute(f"PREPARE early AS {statement}")
        lines = [row["QUERY PLAN"] for row in await connection.fetch(f"EXPLAIN EXECUTE early{given}")]
        await connection.execute("DEALLOCATE early")
    plan = "\n".join(lines)
    reads = [n for n, line in enumerate(lines) if re.search(SCAN, line)]
    assert reads
    for n in reads:
        limited = any("Limit" in line for line in lines[max(0, n - 3) : n])
        assert limited or "Index Cond" in lines[n + 1], plan


async def test_what_a_worker_asks_all_the_time_is_not_planned_each_time(database: Database) -> None:
    few = 4
    ids, ones, nones = IDS[:few], ONES[:few], NONES[:few]
    moves = [nones, nones, nones, nones, [0.0] * few, nones, nones, nones]
    async with database.connection() as connection:
        await connection.execute(FINISHED)
        await connection.execute("ANALYZE job")
        for _ in range(10):
            await connection.fetch(CLAIM, ids, ones, ["run"] * few, "worker", 15.0)
            await connection.fetch(HEARTBEAT, ids, ones, 15.0, "worker")
            await connection.fetch(FINISH, ids, ones, ["succeeded"] * few, *moves, "worker")
            await connection.fetch(RESUME_PARENTS, ids[:1])
        planned = await connection.fetch("SELECT statement, custom_plans FROM pg_prepared_statements")
    custom = {row["statement"]: row["custom_plans"] for row in planned}
    assert [custom[statement] for statement in (CLAIM, HEARTBEAT, FINISH, RESUME_PARENTS)] == [5] * 4
