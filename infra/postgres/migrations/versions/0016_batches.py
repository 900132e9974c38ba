"""batches: when their windows end, and why they are closed early

Revision ID: 0016
Revises: 0015
"""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    time = sa.DateTime(timezone=True)
    op.create_table(
        "batch",
        sa.Column("job_id", sa.Uuid(), nullable=False),
        sa.Column("lines", sa.Integer(), nullable=False),
        sa.Column("expires_at", time, nullable=False),
        sa.Column("due_at", time, nullable=False),
        sa.Column("in_progress_at", time, server_default=sa.text("now()"), nullable=False),
        sa.Column("closing", sa.Text(), nullable=True),
        sa.Column("closing_at", time, nullable=True),
        sa.Column("finalizing_at", time, nullable=True),
        sa.CheckConstraint("closing IN ('cancelled', 'expired')", name="batch_closing_reason"),
        sa.ForeignKeyConstraint(["job_id"], ["job.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("job_id"),
    )
    due, closing = "closing IS NULL AND finalizing_at IS NULL", "closing IS NOT NULL AND finalizing_at IS NULL"
    op.create_index("batch_due", "batch", ["due_at"], unique=False, postgresql_where=sa.text(due))
    op.create_index("batch_closing", "batch", ["closing_at"], unique=False, postgresql_where=sa.text(closing))


def downgrade() -> None:
    op.drop_table("batch")
