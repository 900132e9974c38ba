"""a job knows the model that its stages run on, so that they travel on that model's topics

Revision ID: 0015
Revises: 0014
"""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

QUEUED = ["kind", "stage", "lane", "due_at"]


def upgrade() -> None:
    op.add_column("job", sa.Column("model", sa.Text(), nullable=True))
    op.add_column("outbox", sa.Column("model", sa.Text(), nullable=True))
    _index([*QUEUED[:3], "model", *QUEUED[3:]])


def downgrade() -> None:
    _index(QUEUED)
    op.drop_column("outbox", "model")
    op.drop_column("job", "model")


def _index(include: list[str]) -> None:
    """Queued jobs are few beside all others: the index is soon made again."""
    where = sa.text("state = 'queued'")
    op.drop_index("job_queued", table_name="job", postgresql_where=where)
    op.create_index(
        "job_queued", "job", ["summoned_at"], unique=False, postgresql_include=include, postgresql_where=where
    )
