"""what jobs store in object storage is counted

Revision ID: 0011
Revises: 0010
"""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "stored_blob",
        sa.Column("blob", sa.Text(), nullable=False),
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("blob"),
    )
    op.create_index("stored_blob_tenant", "stored_blob", ["tenant"], unique=False, postgresql_include=["bytes"])
    op.create_index(
        "stored_blob_folder",
        "stored_blob",
        ["blob"],
        unique=False,
        postgresql_ops={"blob": "text_pattern_ops"},
    )


def downgrade() -> None:
    op.drop_index("stored_blob_folder", table_name="stored_blob", postgresql_ops={"blob": "text_pattern_ops"})
    op.drop_index("stored_blob_tenant", table_name="stored_blob", postgresql_include=["bytes"])
    op.drop_table("stored_blob")
