"""Retention reads stretches by index, however full the tables and whatever their statistics say."""

from datetime import timedelta
from typing import Any
from uuid import UUID

from infra.postgres.database import Database
from infra.postgres.queries import retention as statements
from tests.integration.aged import id_of

MANY_ROWS = """
INSERT INTO job (id, tenant, kind, stage, lane, state, max_attempts, input, finished_at)
SELECT uuidv7(interval '-0 days'), 'default', 'noop', 'run', 'interactive', 'succeeded', 5, '{}', now()
FROM generate_series(1, 20000);
INSERT INTO job_event (job_id, type, data) SELECT id, 'state', '{}' FROM job;
INSERT INTO file (id, tenant, filename, purpose, content_type, bytes, sha256, blob)
SELECT id, 'default', 'f', 'p', 't', 1, 's', 'default/files/' || replace(id::text, '-', '') FROM job
ON CONFLICT DO NOTHING;
INSERT INTO dead_letter (source, tenant, job_id, reason, error) SELECT 'job', 'default', id, 'x', '{}' FROM job
ON CONFLICT DO NOTHING;
INSERT INTO webhook_delivery (tenant, url, destination, job_id, type, data)
SELECT 'default', 'u', 'd', id, 'job.succeeded', '{}' FROM job
"""


async def test_no_statement_reads_a_whole_table(database: Database) -> None:
    ids = [id_of(40) for _ in range(200)]
    first, day = UUID(int=0), timedelta(days=1)
    stretch = [first, id_of(0), 500, day]
    arguments: dict[str, list[Any]] = {
        statements.JOBS: stretch,
        statements.HELD: [ids],
        statements.FILES_OF: [ids],
        statements.NAMED: ["default", first, 200, ["file_" + "0" * 32], ids],
        statements.LOCK: [ids],
        statements.REMOVE_EVENTS: [ids],
        statements.REMOVE_FILES_OF: [[f"default/jobs/{id.hex}" for id in ids]],
        statements.REMOVE_JOBS: [ids],
        statements.CHILDREN: [ids[0], 500],
        statements.REMOVE_DELIVERIES: stretch,
        statements.REMOVE_LETTERS: stretch,
        statements.UPLOADS: stretch,
        statements.REMOVE_UPLOADS: [ids],
    }
    async with database.connection() as connection:
        await connection.execute("SET enable_seqscan = on")
        for table in ("job", "job_event", "file", "dead_letter", "webhook_delivery"):
            # Otherwise autovacuum would change the statistics at some moment.
            await connection.execute(f"ALTER TABLE {table} SET (autovacuum_enabled = false)")
        await connection.execute(MANY_ROWS)
        await connection.execute("ANALYZE")
        await connection.execute(MANY_ROWS.replace("0 days", "40 days"))
        for statement, values in arguments.items():
            plan = "\n".join(row["QUERY PLAN"] for row in await connection.fetch(f"EXPLAIN {statement}", *values))
            assert "Index" in plan
            assert "Seq Scan" not in plan, plan
