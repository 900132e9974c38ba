"""embeddings

Revision ID: 0005
Revises: 0004
"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "embedding",
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.Column("dense", sa.LargeBinary(), nullable=False),
        sa.Column("learned", sa.LargeBinary(), nullable=True),
        sa.Column("used_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("model", "hash"),
    )
    op.create_index("embedding_used", "embedding", ["used_at"], unique=False)
    # Vectors do not compress, and trying costs more than writing them.
    op.execute("ALTER TABLE embedding ALTER COLUMN dense SET STORAGE EXTERNAL")


def downgrade() -> None:
    op.drop_index("embedding_used", table_name="embedding")
    op.drop_table("embedding")
