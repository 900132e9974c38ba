"""Alembic's entry: runs migrations on the connection that `infra/postgres/migrate.py` hands over."""

from alembic import context

from infra.postgres import tables

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=tables.Job.metadata,
    compare_type=True,
    compare_server_default=False,
    transaction_per_migration=True,
)
with context.begin_transaction():
    context.run_migrations()
