"""lists of jobs are read by index, whatever the filter

Revision ID: 0008
Revises: 0007
"""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.drop_index("job_newest", table_name="job")
    op.create_index("job_newest", "job", ["tenant", "id"], unique=False, postgresql_include=["parent"])
    op.drop_index("job_children", table_name="job", postgresql_where=sa.text("parent IS NOT NULL"))
    op.create_index(
        "job_children",
        "job",
        ["parent", "state", "id"],
        unique=False,
        postgresql_include=["kind"],
        postgresql_where=sa.text("parent IS NOT NULL"),
    )
    op.create_index(
        "job_listed",
        "job",
        ["tenant", "kind", "state", "id"],
        unique=False,
        postgresql_where=sa.text("parent IS NULL"),
    )


def downgrade() -> None:
    op.drop_index("job_listed", table_name="job", postgresql_where=sa.text("parent IS NULL"))
    op.drop_index(
        "job_children",
        table_name="job",
        postgresql_include=["kind"],
        postgresql_where=sa.text("parent IS NOT NULL"),
    )
    op.create_index(
        "job_children", "job", ["parent", "state"], unique=False, postgresql_where=sa.text("parent IS NOT NULL")
    )
    op.drop_index("job_newest", table_name="job", postgresql_include=["parent"])
    op.create_index("job_newest", "job", ["tenant", "id"], unique=False)
