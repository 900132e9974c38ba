"""the sum of what a tenant's jobs store is kept

Revision ID: 0013
Revises: 0012
"""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "stored_total",
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("tenant"),
    )
    op.execute("INSERT INTO stored_total (tenant, bytes) SELECT tenant, sum(bytes) FROM stored_blob GROUP BY tenant")
    op.drop_index("stored_blob_tenant", table_name="stored_blob", postgresql_include=["bytes"])


def downgrade() -> None:
    op.create_index("stored_blob_tenant", "stored_blob", ["tenant"], unique=False, postgresql_include=["bytes"])
    op.drop_table("stored_total")
