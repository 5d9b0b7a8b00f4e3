"""Models, under ids that are texts."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "models_0001"
down_revision = None
branch_labels = ("models",)
depends_on = None


def upgrade() -> None:
    now = sa.text("clock_timestamp()")
    op.create_table(
        "models",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("repo_id", sa.Text, nullable=False),
        sa.Column("revision", sa.Text, nullable=False),
        sa.Column("commit", sa.Text, nullable=False),
        sa.Column("facts", JSONB, nullable=False),
        sa.Column("architecture", sa.Text, nullable=False),
        sa.Column("parameters", sa.BigInteger, nullable=False),
        sa.Column("epoch", sa.BigInteger, nullable=False),
        sa.Column("size_bytes", sa.BigInteger, nullable=False),
        sa.Column("error", JSONB),
        sa.Column("labels", JSONB, nullable=False),
        sa.Column("job_id", sa.Uuid, nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False, server_default=now),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False, server_default=now),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.Column("search_text", sa.Text, sa.Computed(r"lower(name || E'\n' || repo_id)", persisted=True)),
    )
    alive = sa.text("status NOT IN ('ERROR', 'CANCELLED')")
    op.create_index("models_identity", "models", ["repo_id", "commit"], unique=True, postgresql_where=alive)
    for column in ("created_at", "name", "parameters", "size_bytes"):
        op.create_index(f"models_by_{column}", "models", [column, "id"])
    for column in ("status", "architecture"):
        op.create_index(f"models_with_{column}", "models", [column])


def downgrade() -> None:
    op.drop_table("models")
