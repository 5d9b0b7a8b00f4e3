"""Jobs, their attempts and progress, and the outbox."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "jobs_0001"
down_revision = None
branch_labels = ("jobs",)
depends_on = None

ACTIVE = sa.text("state IN ('QUEUED', 'RUNNING', 'RETRY_WAIT', 'CANCELLING')")
TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.execute(sa.schema.CreateSequence(sa.Sequence("job_epochs")))
    _create_jobs()
    _create_requests()
    _create_attempts()
    _create_progress()
    _create_outbox()


def downgrade() -> None:
    for table in ("outbox", "job_progress", "job_attempts", "job_requests", "jobs"):
        op.drop_table(table)
    op.execute(sa.schema.DropSequence(sa.Sequence("job_epochs")))


def _create_jobs() -> None:
    op.create_table(
        "jobs",
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("pool", sa.Text, nullable=False),
        sa.Column("resource_type", sa.Text, nullable=False),
        sa.Column("resource_id", sa.Uuid, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.Column("dedupe_key", sa.Text),
        sa.Column("payload", JSONB, nullable=False),
        sa.Column("secrets", sa.LargeBinary),
        sa.Column("had_secrets", sa.Boolean, nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("max_attempts", sa.Integer, nullable=False),
        sa.Column("epoch", sa.BigInteger, nullable=False),
        sa.Column("lease_owner", sa.Text),
        sa.Column("lease_until", TIME),
        sa.Column("dispatch_seq", sa.Integer, nullable=False),
        sa.Column("dispatched_at", TIME, nullable=False),
        sa.Column("available_at", TIME),
        sa.Column("cancel_requested_at", TIME),
        sa.Column("progress", JSONB),
        sa.Column("error", JSONB),
        sa.Column("result", JSONB),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("started_at", TIME),
        sa.Column("finished_at", TIME),
    )
    op.create_index("jobs_dedupe_key", "jobs", ["kind", "dedupe_key"], unique=True, postgresql_where=ACTIVE)
    op.create_index("jobs_resource", "jobs", ["resource_id"])
    op.create_index("jobs_created", "jobs", ["created_at", "id"])
    op.create_index("jobs_active", "jobs", ["state"], postgresql_where=ACTIVE)


def _create_requests() -> None:
    op.create_table(
        "job_requests",
        sa.Column("kind", sa.Text, primary_key=True),
        sa.Column("request_id", sa.Text, primary_key=True),
        sa.Column("request_hash", sa.Text, nullable=False),
        sa.Column("job_id", sa.Uuid, sa.ForeignKey("jobs.id", ondelete="CASCADE"), nullable=False),
    )


def _create_attempts() -> None:
    op.create_table(
        "job_attempts",
        sa.Column("job_id", sa.Uuid, sa.ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("epoch", sa.BigInteger, primary_key=True),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("worker", sa.Text, nullable=False),
        sa.Column("started_at", TIME, nullable=False),
        sa.Column("finished_at", TIME),
        sa.Column("outcome", sa.Text),
        sa.Column("error", JSONB),
    )


def _create_progress() -> None:
    op.create_table(
        "job_progress",
        sa.Column("job_id", sa.Uuid, sa.ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("epoch", sa.BigInteger, primary_key=True),
        sa.Column("at", TIME, primary_key=True),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("fraction", sa.Float, nullable=False),
        sa.Column("done", sa.BigInteger, nullable=False),
        sa.Column("total", sa.BigInteger, nullable=False),
        sa.Column("unit", sa.Text, nullable=False),
        sa.Column("stage", sa.Text, nullable=False),
        sa.Column("metrics", JSONB, nullable=False),
        sa.Column("position", sa.BigInteger, nullable=False),
    )
    op.create_index("job_progress_at", "job_progress", ["at"])


def _create_outbox() -> None:
    op.create_table(
        "outbox",
        sa.Column("id", sa.BigInteger, sa.Identity(), primary_key=True),
        sa.Column("job_id", sa.Uuid, nullable=False),
        sa.Column("subject", sa.Text, nullable=False),
        sa.Column("msg_id", sa.Text, nullable=False, unique=True),
        sa.Column("payload", JSONB, nullable=False),
        sa.Column("held_until", TIME),
        sa.Column("published_at", TIME),
    )
    unpublished, published = sa.text("published_at IS NULL"), sa.text("published_at IS NOT NULL")
    op.create_index("outbox_unpublished", "outbox", ["id"], postgresql_where=unpublished)
    op.create_index("outbox_unpublished_job", "outbox", ["job_id", "id"], postgresql_where=unpublished)
    op.create_index("outbox_published", "outbox", ["published_at"], postgresql_where=published)
