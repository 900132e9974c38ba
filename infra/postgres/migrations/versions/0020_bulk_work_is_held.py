"""bulk work is held until its turn

Revision ID: 0020
Revises: 0028
"""

import sqlalchemy as sa
from alembic import op

revision = "0020"
down_revision = "0028"
branch_labels = None
depends_on = None


def upgrade() -> None:
    time = sa.DateTime(timezone=True)
    op.add_column("job", sa.Column("paused_at", time, nullable=True))
    op.add_column("job", sa.Column("weight", sa.Integer(), server_default=sa.text("1"), nullable=False))
    op.add_column("job", sa.Column("at_once", sa.Integer(), nullable=True))
    op.add_column("job", sa.Column("deadline", time, nullable=True))
    op.add_column("job", sa.Column("concurrency_key", sa.Text(), nullable=True))
    op.alter_column("job", "summoned_at", existing_type=time, existing_server_default=sa.text("now()"), nullable=True)
    op.create_index(
        "job_bulk",
        "job",
        [
            "kind",
            "stage",
            sa.text("coalesce(model, '')"),
            "tenant",
            sa.text("coalesce(parent, '00000000-0000-0000-0000-000000000000')"),
            sa.text("coalesce(concurrency_key, '')"),
            "summoned_at",
            "id",
        ],
        unique=False,
        postgresql_where=sa.text("coalesce(state, '') = 'queued' AND lane = 'bulk'"),
    )


def downgrade() -> None:
    op.drop_index(
        "job_bulk", table_name="job", postgresql_where=sa.text("coalesce(state, '') = 'queued' AND lane = 'bulk'")
    )
    # The rescuer of the version before summons these again.
    op.execute("UPDATE job SET summoned_at = now() WHERE summoned_at IS NULL")
    time = sa.DateTime(timezone=True)
    op.alter_column("job", "summoned_at", existing_type=time, existing_server_default=sa.text("now()"), nullable=False)
    for column in ("concurrency_key", "deadline", "at_once", "weight", "paused_at"):
        op.drop_column("job", column)
