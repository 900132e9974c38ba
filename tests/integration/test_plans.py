"""The statements on the hot path find their rows by id, however full the table and whatever its statistics say."""

from typing import Any
from uuid import uuid4

from infra.postgres.database import Database
from infra.postgres.queries.claim import CLAIM, HEARTBEAT
from infra.postgres.queries.moves import FINISH, RESUME_PARENTS
from infra.postgres.queries.rescue import WAITING_PARENTS

FINISHED = """
INSERT INTO job (id, tenant, kind, stage, lane, state, max_attempts, input)
SELECT uuidv7(), 'default', 'noop', 'run', 'interactive', 'succeeded', 5, '{}' FROM generate_series(1, 20000)
"""
QUEUED = FINISHED.replace("succeeded", "queued")
RUNNING = FINISHED.replace("'succeeded'", "'running'")


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
            reads = [line.strip() for line in plan.splitlines() if " on job" in line and "Scan" in line]
            assert reads
            assert all("job_pkey" in line for line in reads), plan


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
            assert "using job_children on job c" in plan, plan
            assert "Index Cond: ((parent = p.id) AND (state = ANY" in plan, plan
