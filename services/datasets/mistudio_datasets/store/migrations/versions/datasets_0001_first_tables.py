"""Datasets and tokenizations."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "datasets_0001"
down_revision = None
branch_labels = ("datasets",)
depends_on = None


def upgrade() -> None:
    op.create_table(
        "datasets",
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("identity", sa.Text),
        sa.Column("repo_id", sa.Text, nullable=False),
        sa.Column("revision", sa.Text, nullable=False),
        sa.Column("commit", sa.Text, nullable=False),
        sa.Column("config", sa.Text, nullable=False),
        sa.Column("splits", JSONB, nullable=False),
        sa.Column("labels", JSONB, nullable=False),
        sa.Column("layout", JSONB),
        sa.Column("rows", sa.BigInteger, nullable=False),
        sa.Column("search_text", sa.Text, sa.Computed(r"lower(name || E'\n' || repo_id)", persisted=True)),
        *_common(),
    )
    op.create_table(
        "tokenizations",
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("dataset_id", sa.Uuid, sa.ForeignKey("datasets.id"), nullable=False),
        sa.Column("model_id", sa.Uuid, nullable=False),
        sa.Column("settings", JSONB, nullable=False),
        sa.Column("settings_digest", sa.Text, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("documents", sa.BigInteger, nullable=False),
        sa.Column("tokens", sa.BigInteger, nullable=False),
        sa.Column("engine", sa.Text, nullable=False),
        sa.Column("tokenizer_sha256", sa.Text, nullable=False),
        sa.Column("statistics", JSONB),
        *_common(),
    )
    alive = sa.text("status NOT IN ('ERROR', 'CANCELLED')")
    op.create_index("datasets_identity", "datasets", ["identity"], unique=True, postgresql_where=alive)
    key = ["dataset_id", "model_id", "settings_digest"]
    op.create_index("tokenizations_identity", "tokenizations", key, unique=True, postgresql_where=alive)
    for column in ("created_at", "name", "rows", "size_bytes"):
        op.create_index(f"datasets_by_{column}", "datasets", [column, "id"])
    for column in ("created_at", "tokens"):
        op.create_index(f"tokenizations_by_{column}", "tokenizations", [column, "id"])
    op.create_index("tokenizations_with_model_id", "tokenizations", ["model_id"])


def _common() -> list[sa.Column[object]]:
    now = sa.text("clock_timestamp()")
    return [
        sa.Column("epoch", sa.BigInteger, nullable=False),
        sa.Column("size_bytes", sa.BigInteger, nullable=False),
        sa.Column("error", JSONB),
        sa.Column("job_id", sa.Uuid, nullable=False),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False, server_default=now),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False, server_default=now),
    ]


def downgrade() -> None:
    op.drop_table("tokenizations")
    op.drop_table("datasets")
