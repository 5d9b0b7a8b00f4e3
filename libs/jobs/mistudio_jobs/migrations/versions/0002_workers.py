"""The workers that are there, and what they hold."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "jobs_0002"
down_revision = "jobs_0001"
branch_labels = None
depends_on = None

TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "workers",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("pool", sa.Text, nullable=False),
        sa.Column("host", sa.Text, nullable=False),
        sa.Column("job_id", sa.Uuid),
        sa.Column("state", JSONB, nullable=False, server_default=sa.text("'{}'")),
        sa.Column("started_at", TIME, nullable=False),
        sa.Column("seen_at", TIME, nullable=False),
    )
    op.create_index("jobs_waiting", "jobs", ["pool", "created_at"], postgresql_where=sa.text("state = 'QUEUED'"))


def downgrade() -> None:
    op.drop_index("jobs_waiting", "jobs")
    op.drop_table("workers")
