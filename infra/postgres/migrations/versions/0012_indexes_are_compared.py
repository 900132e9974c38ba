"""an index that does not hold what the catalogue says is found out

Revision ID: 0012
Revises: 0011
"""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    incarnation = sa.Column("incarnation", sa.Uuid(), server_default=sa.text("gen_random_uuid()"), nullable=False)
    op.add_column("generation", incarnation)
    for name in ("change", "reached"):
        op.add_column("generation", sa.Column(name, sa.BigInteger(), server_default=sa.text("0"), nullable=False))
    op.add_column("generation", sa.Column("doubt", sa.Text(), nullable=True))


def downgrade() -> None:
    for name in ("doubt", "reached", "change", "incarnation"):
        op.drop_column("generation", name)
