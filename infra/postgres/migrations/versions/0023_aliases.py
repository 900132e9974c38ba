"""aliases of models, the ledger of their promotions, and which jobs named an alias

Revision ID: 0023
Revises: 0025
"""

import sqlalchemy as sa
from alembic import op

revision = "0023"
down_revision = "0025"
branch_labels = None
depends_on = None


def upgrade() -> None:
    time = sa.DateTime(timezone=True)
    op.create_table(
        "model_alias",
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("canary_model", sa.Text(), nullable=True),
        sa.Column("canary_share", sa.Float(), nullable=True),
        sa.Column("canary_since", time, nullable=True),
        sa.Column("canary_looks", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("settled", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column("created_at", time, server_default=sa.text("now()"), nullable=False),
        sa.Column("changed_at", time, server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("tenant", "name"),
    )
    op.create_index(
        "model_alias_tended",
        "model_alias",
        ["tenant"],
        unique=False,
        postgresql_where=sa.text("NOT settled OR canary_model IS NOT NULL"),
    )
    op.create_table(
        "model_promotion",
        sa.Column("id", sa.Uuid(), server_default=sa.text("uuidv7()"), nullable=False),
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("alias", sa.Text(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=True),
        sa.Column("previous", sa.Text(), nullable=True),
        sa.Column("canary", sa.Text(), nullable=True),
        sa.Column("share", sa.Float(), nullable=True),
        sa.Column("by", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("forced", sa.Boolean(), nullable=False),
        sa.Column("evaluation", sa.Text(), nullable=True),
        sa.Column("evidence", sa.JSON(), nullable=True),
        sa.Column("job", sa.Uuid(), nullable=True),
        sa.Column("created_at", time, server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("model_promotion_newest", "model_promotion", ["tenant", "alias", "id"], unique=False)
    op.create_index(
        "model_promotion_job", "model_promotion", ["job"], unique=True, postgresql_where=sa.text("job IS NOT NULL")
    )
    op.execute(
        "CREATE FUNCTION model_promotion_stays() RETURNS trigger LANGUAGE plpgsql AS"
        " $$BEGIN RAISE EXCEPTION 'entries of the ledger of promotions are only added'; END$$"
    )
    op.execute(
        "CREATE TRIGGER model_promotion_stays BEFORE UPDATE OR DELETE OR TRUNCATE ON model_promotion"
        " EXECUTE FUNCTION model_promotion_stays()"
    )
    # Nullable columns without a default, and indexes of rows that do not exist yet: quick however full the table is.
    op.add_column("job", sa.Column("alias", sa.Text(), nullable=True))
    op.add_column("job", sa.Column("alias_model", sa.Text(), nullable=True))
    op.create_index(
        "job_aliased",
        "job",
        ["tenant", "alias", "created_at"],
        unique=False,
        postgresql_where=sa.text("alias IS NOT NULL"),
    )
    op.create_index(
        "job_aliased_queued",
        "job",
        ["tenant", "alias", "id"],
        unique=False,
        postgresql_where=sa.text("alias IS NOT NULL AND state = 'queued'"),
    )


def downgrade() -> None:
    op.drop_index("job_aliased_queued", table_name="job")
    op.drop_index("job_aliased", table_name="job")
    op.drop_column("job", "alias_model")
    op.drop_column("job", "alias")
    op.drop_table("model_promotion")
    op.execute("DROP FUNCTION model_promotion_stays()")
    op.drop_table("model_alias")
