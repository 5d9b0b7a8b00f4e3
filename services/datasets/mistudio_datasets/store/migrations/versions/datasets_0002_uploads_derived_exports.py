"""Uploads that can go on after a cut, data derived from datasets, exports of tokenizations."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "datasets_0002"
down_revision = "datasets_0001"
branch_labels = None
depends_on = None

_ALIVE = sa.text("status NOT IN ('ERROR', 'CANCELLED')")


def upgrade() -> None:
    op.create_table(
        "uploads",
        sa.Column("request_id", sa.Text, primary_key=True),
        sa.Column("dataset_id", sa.Uuid, nullable=False),
        sa.Column("file_name", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("format", sa.Text, nullable=False),
        sa.Column("size_bytes", sa.BigInteger, nullable=False),
        sa.Column("received_bytes", sa.BigInteger, nullable=False),
        sa.Column("segments", JSONB, nullable=False),
        sa.Column("digest", sa.Text, nullable=False),
        sa.Column("writer", sa.Uuid, nullable=False),
        sa.Column("complete", sa.Boolean, nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
    )
    op.create_table(
        "derived",
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("dataset_id", sa.Uuid, sa.ForeignKey("datasets.id"), nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        *_common(),
    )
    op.create_table(
        "exports",
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("tokenization_id", sa.Uuid, sa.ForeignKey("tokenizations.id"), nullable=False),
        sa.Column("view", JSONB, nullable=False),
        sa.Column("view_digest", sa.Text, nullable=False),
        sa.Column("shuffle_seed", sa.BigInteger),
        sa.Column("sequences", sa.BigInteger, nullable=False),
        sa.Column("short_sequences", sa.BigInteger, nullable=False),
        sa.Column("tokens", sa.BigInteger, nullable=False),
        *_common(),
    )
    op.create_index("derived_identity", "derived", ["dataset_id", "kind"], unique=True, postgresql_where=_ALIVE)
    key = ["tokenization_id", "view_digest"]
    op.create_index("exports_identity", "exports", key, unique=True, postgresql_where=_ALIVE)
    for column in ("created_at", "tokens", "size_bytes"):
        op.create_index(f"exports_by_{column}", "exports", [column, "id"])
    for column in ("documents", "size_bytes"):
        op.create_index(f"tokenizations_by_{column}", "tokenizations", [column, "id"])
    op.create_index("datasets_with_labels", "datasets", ["labels"], postgresql_using="gin")
    op.create_index("derived_with_dataset_id", "derived", ["dataset_id"])
    op.create_index("exports_with_tokenization_id", "exports", ["tokenization_id"])
    op.create_index("tokenizations_with_dataset_id", "tokenizations", ["dataset_id"])
    op.create_index("uploads_by_expires_at", "uploads", ["expires_at"])


def _common() -> list[sa.Column[object]]:
    now = sa.text("clock_timestamp()")
    return [
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("epoch", sa.BigInteger, nullable=False),
        sa.Column("size_bytes", sa.BigInteger, nullable=False),
        sa.Column("error", JSONB),
        sa.Column("job_id", sa.Uuid, nullable=False),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False, server_default=now),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False, server_default=now),
    ]


def downgrade() -> None:
    op.drop_index("tokenizations_with_dataset_id")
    op.drop_index("datasets_with_labels")
    for column in ("documents", "size_bytes"):
        op.drop_index(f"tokenizations_by_{column}")
    for table in ("exports", "derived", "uploads"):
        op.drop_table(table)
