"""retention

Revision ID: 0003
Revises: 0002
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "blob_garbage",
        sa.Column("blob", sa.Text(), nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("blob"),
    )
    op.create_index("file_blob", "file", ["blob"], unique=False, postgresql_ops={"blob": "text_pattern_ops"})
    op.drop_index("file_newest", table_name="file")
    op.create_index("file_newest", "file", ["tenant", "id"], unique=False, postgresql_include=["bytes"])


def downgrade() -> None:
    op.drop_index("file_newest", table_name="file", postgresql_include=["bytes"])
    op.create_index("file_newest", "file", ["tenant", "id"], unique=False)
    op.drop_index("file_blob", table_name="file", postgresql_ops={"blob": "text_pattern_ops"})
    op.drop_table("blob_garbage")
