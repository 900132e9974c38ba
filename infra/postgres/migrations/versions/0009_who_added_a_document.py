"""a document's row says which job added it

Revision ID: 0009
Revises: 0008
"""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("document", sa.Column("added", sa.BigInteger(), nullable=True))


def downgrade() -> None:
    op.drop_column("document", "added")
