"""How models are chosen and loaded, and what loading took."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "models_0003"
down_revision = "models_0002"
branch_labels = None
depends_on = None

_ALIVE = sa.text("status NOT IN ('ERROR', 'CANCELLED')")
# Models that differed in their files only, before a downgrade forgot that: requests find the oldest, none is lost.
_TELL_APART = """
    UPDATE models SET selection = id::text
    WHERE status NOT IN ('ERROR', 'CANCELLED') AND EXISTS (
        SELECT FROM models AS older
        WHERE older.repo_id = models.repo_id AND older.commit = models.commit
            AND older.status NOT IN ('ERROR', 'CANCELLED')
            AND (older.created_at, older.id) < (models.created_at, models.id)
    )
"""
_COLUMNS = (
    ("model_type", sa.Text, "''"),
    ("quantization", sa.Text, "''"),
    ("allow_patterns", JSONB, "'[]'"),
    ("deny_patterns", JSONB, "'[]'"),
    ("selection", sa.Text, "''"),
    ("default_settings", JSONB, "'{}'"),
    ("default_format", sa.Text, "''"),
)


# What most lists choose and count by. With more texts these could be longer together than an index takes.
_LISTED_BY = ("name", "status", "default_format", "parameters", "size_bytes", "search_text")


def upgrade() -> None:
    for name, kind, default in _COLUMNS:
        op.add_column("models", sa.Column(name, kind, nullable=False, server_default=sa.text(default)))
    op.execute("UPDATE models SET model_type = coalesce(facts ->> 'model_type', '')")
    op.drop_index("models_identity", "models")
    op.execute(_TELL_APART)
    op.create_index(
        "models_identity", "models", ["repo_id", "commit", "selection"], unique=True, postgresql_where=_ALIVE
    )
    for column in ("repo_id", "model_type", "quantization", "default_format"):
        op.create_index(f"models_with_{column}", "models", [column])
    # Lists look through this instead of the table, which is many times as wide.
    op.create_index("models_listed", "models", ["created_at", "id"], postgresql_include=_LISTED_BY)
    _create_measurements()


def downgrade() -> None:
    op.drop_table("measurements")
    op.drop_index("models_identity", "models")
    op.drop_index("models_with_repo_id", "models")
    # Not unique: models that differ in their files only stay, every one.
    op.create_index("models_identity", "models", ["repo_id", "commit"], postgresql_where=_ALIVE)
    for name, _, _ in _COLUMNS:  # their indexes go with them
        op.drop_column("models", name)


def _create_measurements() -> None:
    sizes = [
        sa.Column(f"{kind}_{what}_bytes", sa.BigInteger, nullable=False)
        for what in ("weights", "load_peak")
        for kind in ("predicted", "measured")
    ]
    op.create_table(
        "measurements",
        sa.Column("id", sa.BigInteger, sa.Identity(), primary_key=True),
        sa.Column("model_id", sa.Uuid, sa.ForeignKey("models.id", ondelete="CASCADE"), nullable=False),
        sa.Column("settings", JSONB, nullable=False),
        sa.Column("worker", sa.Text, nullable=False),
        sa.Column("device", sa.Text, nullable=False),
        *sizes,
        sa.Column(
            "measured_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.text("clock_timestamp()")
        ),
    )
    op.create_index("measurements_of_model", "measurements", ["model_id", "id"])
