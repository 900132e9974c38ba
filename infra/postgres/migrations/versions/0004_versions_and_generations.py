"""versions and generations

Existing collections are dropped: their indexes hold no versions and their texts were not kept, so their documents must
be indexed again in any case.

Revision ID: 0004
Revises: 0003
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def loses(connection: sa.Connection) -> str | None:
    if connection.scalar(sa.text("SELECT to_regclass('public.collection')")) is None:
        return None
    count = connection.scalar(sa.text("SELECT count(*) FROM collection"))
    return f"the documents of {count} collections, which must be indexed again" if count else None


def upgrade() -> None:
    op.execute("CREATE SEQUENCE indexing_number")
    op.execute("DELETE FROM document")
    op.execute("DELETE FROM collection")
    op.create_table(
        "generation",
        sa.Column("id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("collection", sa.Text(), nullable=False),
        sa.Column("settings", sa.JSON(), nullable=False),
        sa.Column("encoder", sa.Text(), nullable=False),
        sa.Column("embedder", sa.Text(), nullable=True),
        sa.Column("dimension", sa.Integer(), nullable=True),
        sa.Column("learned", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("generation_collection", "generation", ["tenant", "collection"])
    op.drop_column("collection", "encoder")
    op.drop_column("collection", "embedder")
    op.add_column("collection", sa.Column("born", sa.BigInteger(), nullable=False))
    op.add_column("collection", sa.Column("generation", sa.BigInteger(), nullable=False))
    op.add_column("collection", sa.Column("building", sa.BigInteger(), nullable=True))
    op.add_column("collection", sa.Column("building_job", sa.Uuid(), nullable=True))
    op.add_column("collection", sa.Column("sealed_until", sa.DateTime(timezone=True), nullable=True))
    op.add_column(
        "collection", sa.Column("fields", sa.ARRAY(sa.Text()), server_default=sa.text("'{}'"), nullable=False)
    )
    op.add_column("document", sa.Column("version", sa.BigInteger(), nullable=False))
    op.add_column("document", sa.Column("written", sa.BigInteger(), nullable=False))
    op.add_column("document", sa.Column("deleted", sa.Boolean(), server_default=sa.text("false"), nullable=False))
    op.add_column("document", sa.Column("source_blob", sa.Text(), nullable=True))
    op.add_column("document", sa.Column("source_offset", sa.BigInteger(), nullable=True))
    op.add_column("document", sa.Column("source_bytes", sa.BigInteger(), nullable=True))
    op.add_column("document", sa.Column("built_generation", sa.BigInteger(), nullable=True))
    op.add_column("document", sa.Column("built_version", sa.BigInteger(), nullable=True))
    op.add_column("document", sa.Column("built_chunks", sa.Integer(), nullable=True))
    op.create_index("document_source", "document", ["source_blob"], postgresql_where=sa.text("source_blob IS NOT NULL"))
    op.create_index("document_deleted", "document", ["updated_at"], postgresql_where=sa.text("deleted"))


def downgrade() -> None:
    op.execute(
        "INSERT INTO blob_garbage (blob) SELECT DISTINCT source_blob FROM document WHERE source_blob IS NOT NULL"
        " ON CONFLICT DO NOTHING"
    )
    op.execute("DELETE FROM document")
    op.execute("DELETE FROM collection")
    op.drop_index("document_deleted", table_name="document", postgresql_where=sa.text("deleted"))
    op.drop_index("document_source", table_name="document", postgresql_where=sa.text("source_blob IS NOT NULL"))
    for column in (
        "built_chunks",
        "built_version",
        "built_generation",
        "source_bytes",
        "source_offset",
        "source_blob",
        "deleted",
        "written",
        "version",
    ):
        op.drop_column("document", column)
    for column in ("fields", "sealed_until", "building_job", "building", "generation", "born"):
        op.drop_column("collection", column)
    op.add_column("collection", sa.Column("encoder", sa.Text(), nullable=False))
    op.add_column("collection", sa.Column("embedder", sa.Text(), nullable=True))
    op.drop_index("generation_collection", table_name="generation")
    op.drop_table("generation")
    op.execute("DROP SEQUENCE indexing_number")
