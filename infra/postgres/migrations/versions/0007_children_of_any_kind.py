"""children of any kind

Revision ID: 0007
Revises: 0006
"""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("job", sa.Column("key", sa.Text(), nullable=True))
    # Existing children, and those that processes of the previous version still make, belong to round 1.
    op.add_column("job", sa.Column("round", sa.Integer(), server_default=sa.text("1"), nullable=False))
    op.add_column("job", sa.Column("rounds", sa.Integer(), server_default=sa.text("0"), nullable=False))
    op.execute(
        "UPDATE job p SET rounds = 1 WHERE p.state IN ('queued', 'running', 'retry_wait')"
        " AND EXISTS (SELECT FROM job c WHERE c.parent = p.id)"
    )
    op.create_index(
        "job_child_key",
        "job",
        ["parent", "round", "key"],
        unique=True,
        postgresql_where=sa.text("key IS NOT NULL"),
    )


def downgrade() -> None:
    op.drop_index("job_child_key", table_name="job", postgresql_where=sa.text("key IS NOT NULL"))
    op.drop_column("job", "rounds")
    op.drop_column("job", "round")
    op.drop_column("job", "key")
