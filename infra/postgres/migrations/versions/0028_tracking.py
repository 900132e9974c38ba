"""what goes to the experiment tracker

Revision ID: 0028
Revises: 0023
"""

import sqlalchemy as sa
from alembic import op

revision = "0028"
down_revision = "0023"
branch_labels = None
depends_on = None


def upgrade() -> None:
    time = sa.DateTime(timezone=True)
    op.create_table(
        "tracked_run",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("job_id", sa.Uuid(), nullable=False),
        sa.Column("parent", sa.Uuid(), nullable=True),
        sa.Column("experiment", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("tags", sa.JSON(), nullable=False),
        sa.Column("params", sa.JSON(), nullable=False),
        sa.Column("mlflow_id", sa.Text(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("created_at", time, server_default=sa.text("now()"), nullable=False),
        sa.Column("closed_at", time, nullable=True),
        sa.ForeignKeyConstraint(["job_id"], ["job.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("tracked_run_job", "tracked_run", ["job_id"], unique=False)
    op.create_index(
        "tracked_run_open", "tracked_run", ["created_at"], unique=False, postgresql_where=sa.text("closed_at IS NULL")
    )
    op.create_table(
        "tracked_entry",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("run_id", sa.Uuid(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("data", sa.JSON(), nullable=False),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("created_at", time, server_default=sa.text("now()"), nullable=False),
        sa.Column("sent_at", time, nullable=True),
        sa.ForeignKeyConstraint(["run_id"], ["tracked_run.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("run_id", "key", name="tracked_entry_once"),
    )
    waiting, refused = "sent_at IS NULL AND error IS NULL", "error IS NOT NULL"
    op.create_index(
        "tracked_entry_waiting", "tracked_entry", ["run_id", "id"], unique=False, postgresql_where=sa.text(waiting)
    )
    op.create_index(
        "tracked_entry_refused", "tracked_entry", ["run_id"], unique=False, postgresql_where=sa.text(refused)
    )


def downgrade() -> None:
    op.drop_table("tracked_entry")
    op.drop_table("tracked_run")
