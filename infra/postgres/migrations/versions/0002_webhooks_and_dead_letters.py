"""webhooks and dead letters

Revision ID: 0002
Revises: 0001
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "webhook_endpoint",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), server_default="", nullable=False),
        sa.Column("events", sa.ARRAY(sa.Text()), nullable=False),
        sa.Column("secret", sa.Text(), nullable=False),
        sa.Column("previous_secret", sa.Text(), nullable=True),
        sa.Column("previous_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("failing_since", sa.DateTime(timezone=True), nullable=True),
        sa.Column("disabled_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("disabled_reason", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("webhook_endpoint_newest", "webhook_endpoint", ["tenant", "id"], unique=False)
    op.create_table(
        "dead_letter",
        sa.Column("id", sa.Uuid(), server_default=sa.text("uuidv7()"), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("tenant", sa.Text(), nullable=True),
        sa.Column("job_id", sa.Uuid(), nullable=True),
        sa.Column("kind", sa.Text(), nullable=True),
        sa.Column("stage", sa.Text(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("error", sa.JSON(), nullable=False),
        sa.Column("topic", sa.Text(), nullable=True),
        sa.Column("partition", sa.Integer(), nullable=True),
        sa.Column("offset", sa.BigInteger(), nullable=True),
        sa.Column("payload", sa.LargeBinary(), nullable=True),
        sa.Column("digest", sa.LargeBinary(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("requeued_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("requeued_as", sa.Uuid(), nullable=True),
        sa.CheckConstraint("source IN ('job', 'message')", name="dead_letter_source"),
        sa.ForeignKeyConstraint(["job_id"], ["job.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("dead_letter_job", "dead_letter", ["job_id"], unique=True)
    op.create_index(
        "dead_letter_message",
        "dead_letter",
        ["topic", "partition", "offset", "digest"],
        unique=True,
        postgresql_where=sa.text("source = 'message'"),
    )
    op.create_index("dead_letter_newest", "dead_letter", ["tenant", "id"], unique=False)
    op.create_table(
        "webhook_delivery",
        sa.Column("id", sa.Uuid(), server_default=sa.text("uuidv7()"), nullable=False),
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("endpoint", sa.Uuid(), nullable=True),
        sa.Column("url", sa.Text(), nullable=True),
        sa.Column("destination", sa.Text(), nullable=False),
        sa.Column("job_id", sa.Uuid(), nullable=True),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("data", sa.JSON(), nullable=False),
        sa.Column("state", sa.Text(), server_default="pending", nullable=False),
        sa.Column("attempts", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("state IN ('pending', 'delivered', 'failed')", name="webhook_delivery_state"),
        sa.ForeignKeyConstraint(["endpoint"], ["webhook_endpoint.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("webhook_delivery_endpoint", "webhook_delivery", ["endpoint", "id"], unique=False)
    op.create_index("webhook_delivery_job", "webhook_delivery", ["job_id"], unique=False)
    op.create_index("webhook_delivery_newest", "webhook_delivery", ["tenant", "id"], unique=False)
    op.create_index(
        "webhook_delivery_pending",
        "webhook_delivery",
        ["destination", "due_at"],
        unique=False,
        postgresql_where=sa.text("state = 'pending'"),
    )
    op.create_table(
        "webhook_attempt",
        sa.Column("delivery", sa.Uuid(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("status", sa.Integer(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("answer", sa.Text(), nullable=True),
        sa.Column("ms", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["delivery"], ["webhook_delivery.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("delivery", "attempt"),
    )
    op.add_column("api_key", sa.Column("operator", sa.Boolean(), server_default=sa.text("false"), nullable=False))
    op.add_column("job", sa.Column("webhook", postgresql.JSONB(astext_type=sa.Text()), nullable=True))
    op.add_column("tenant", sa.Column("webhook_secret", sa.Text(), nullable=True))
    op.add_column("tenant", sa.Column("webhook_previous_secret", sa.Text(), nullable=True))
    op.add_column("tenant", sa.Column("webhook_previous_until", sa.DateTime(timezone=True), nullable=True))


def downgrade() -> None:
    op.drop_column("tenant", "webhook_previous_until")
    op.drop_column("tenant", "webhook_previous_secret")
    op.drop_column("tenant", "webhook_secret")
    op.drop_column("job", "webhook")
    op.drop_column("api_key", "operator")
    op.drop_table("webhook_attempt")
    op.drop_index(
        "webhook_delivery_pending", table_name="webhook_delivery", postgresql_where=sa.text("state = 'pending'")
    )
    op.drop_index("webhook_delivery_newest", table_name="webhook_delivery")
    op.drop_index("webhook_delivery_job", table_name="webhook_delivery")
    op.drop_index("webhook_delivery_endpoint", table_name="webhook_delivery")
    op.drop_table("webhook_delivery")
    op.drop_index("dead_letter_newest", table_name="dead_letter")
    op.drop_index("dead_letter_message", table_name="dead_letter", postgresql_where=sa.text("source = 'message'"))
    op.drop_index("dead_letter_job", table_name="dead_letter")
    op.drop_table("dead_letter")
    op.drop_index("webhook_endpoint_newest", table_name="webhook_endpoint")
    op.drop_table("webhook_endpoint")
