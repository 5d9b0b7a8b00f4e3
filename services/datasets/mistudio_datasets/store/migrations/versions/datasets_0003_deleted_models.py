"""Tokenizations know when their model was deleted."""

import sqlalchemy as sa
from alembic import op

revision = "datasets_0003"
down_revision = "datasets_0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("tokenizations", sa.Column("model_deleted_at", sa.DateTime(timezone=True)))


def downgrade() -> None:
    op.drop_column("tokenizations", "model_deleted_at")
