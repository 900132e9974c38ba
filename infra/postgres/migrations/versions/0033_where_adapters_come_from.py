"""where adapters come from, and what MLflow's registry has of adapters and aliases

Revision ID: 0033
Revises: 0020
"""

import sqlalchemy as sa
from alembic import op

revision = "0033"
down_revision = "0020"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("adapter", sa.Column("lineage", sa.JSON(), nullable=True))
    op.add_column("adapter", sa.Column("run", sa.Uuid(), nullable=True))
    op.create_table(
        "tracked_adapter",
        sa.Column("adapter", sa.Uuid(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("version", sa.Text(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["adapter"], ["adapter.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("adapter"),
    )
    op.create_table(
        "tracked_alias",
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("alias", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("version", sa.Text(), nullable=False),
        sa.Column("error", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("tenant", "alias"),
    )


def downgrade() -> None:
    op.drop_table("tracked_alias")
    op.drop_table("tracked_adapter")
    op.drop_column("adapter", "run")
    op.drop_column("adapter", "lineage")
