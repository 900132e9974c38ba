"""garbage is found by when it is due and by the job that made it, and may be deleted twice

Revision ID: 0010
Revises: 0009
"""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("blob_garbage", sa.Column("again_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("blob_garbage", sa.Column("job_id", sa.Uuid(), nullable=True))
    op.create_index("blob_garbage_due", "blob_garbage", ["due_at"], unique=False)
    op.create_index(
        "blob_garbage_job",
        "blob_garbage",
        ["job_id"],
        unique=False,
        postgresql_where=sa.text("job_id IS NOT NULL"),
    )


def downgrade() -> None:
    op.drop_index("blob_garbage_job", table_name="blob_garbage", postgresql_where=sa.text("job_id IS NOT NULL"))
    op.drop_index("blob_garbage_due", table_name="blob_garbage")
    op.drop_column("blob_garbage", "job_id")
    op.drop_column("blob_garbage", "again_at")
