"""files expire, and are listed by what they are for

Revision ID: 0006
Revises: 0005
"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("file", sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True))
    op.create_index("file_purpose", "file", ["tenant", "purpose", "id"], unique=False)
    op.create_index(
        "file_expiring",
        "file",
        ["expires_at"],
        unique=False,
        postgresql_where=sa.text("expires_at IS NOT NULL"),
    )


def downgrade() -> None:
    op.drop_index("file_expiring", table_name="file", postgresql_where=sa.text("expires_at IS NOT NULL"))
    op.drop_index("file_purpose", table_name="file")
    op.drop_column("file", "expires_at")
