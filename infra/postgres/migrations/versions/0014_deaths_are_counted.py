"""deaths of workers are counted by job, so that a killer is found and its neighbours are not charged

Revision ID: 0014
Revises: 0013
"""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("job", sa.Column("deaths", sa.Integer(), server_default=sa.text("0"), nullable=False))
    op.add_column("job", sa.Column("suspicion", sa.Integer(), server_default=sa.text("0"), nullable=False))
    op.add_column("job", sa.Column("died_after", sa.Interval(), nullable=True))
    op.add_column("job", sa.Column("claimed_at", sa.DateTime(timezone=True), nullable=True))
    op.create_index(
        "job_suspect",
        "job",
        ["died_after"],
        unique=False,
        postgresql_where=sa.text("deaths > 1 AND state IN ('queued', 'running', 'retry_wait')"),
    )


def downgrade() -> None:
    op.drop_index(
        "job_suspect",
        table_name="job",
        postgresql_where=sa.text("deaths > 1 AND state IN ('queued', 'running', 'retry_wait')"),
    )
    op.drop_column("job", "claimed_at")
    op.drop_column("job", "died_after")
    op.drop_column("job", "suspicion")
    op.drop_column("job", "deaths")
