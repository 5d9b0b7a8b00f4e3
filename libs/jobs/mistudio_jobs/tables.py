"""The engine's tables. They live in each service's own schema: the search path decides which."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, DateTime, Float, ForeignKey, Index, Integer, LargeBinary, Sequence, Text, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from mistudio_jobs.states import JobState

EPOCHS = "job_epochs"
"""Sequence of epochs, shared by all jobs of a service: two jobs of one resource never write the same folder."""


class Base(DeclarativeBase):
    """Base of the engine's tables."""

    type_annotation_map = {  # noqa: RUF012 - read by SQLAlchemy, which wants a plain class attribute
        datetime: DateTime(timezone=True),
        dict[str, Any]: JSONB(none_as_null=True),
        str: Text,
    }


Sequence(EPOCHS, metadata=Base.metadata)


class Job(Base):
    """A long piece of work and where in its life it is.

    `version` grows with every change of state. `epoch` names the current claim and its folder; with `lease_owner` it
    fences every effect of a worker. `attempt` counts claims. `error` is an error record (`MistudioError.to_record`).
    """

    __tablename__ = "jobs"
    __table_args__ = (
        Index(
            "jobs_dedupe_key",
            "kind",
            "dedupe_key",
            unique=True,
            postgresql_where=text("state IN ('QUEUED', 'RUNNING', 'RETRY_WAIT', 'CANCELLING')"),
        ),
        Index("jobs_resource", "resource_id"),
        Index("jobs_created", "created_at", "id"),
        Index("jobs_waiting", "pool", "created_at", postgresql_where=text("state = 'QUEUED'")),
        Index(
            "jobs_active",
            "state",
            postgresql_where=text("state IN ('QUEUED', 'RUNNING', 'RETRY_WAIT', 'CANCELLING')"),
        ),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    kind: Mapped[str]
    pool: Mapped[str]
    resource_type: Mapped[str]
    resource_id: Mapped[UUID]
    state: Mapped[str]
    version: Mapped[int] = mapped_column(BigInteger)
    dedupe_key: Mapped[str | None]
    payload: Mapped[dict[str, Any]]
    secrets: Mapped[bytes | None] = mapped_column(LargeBinary)
    had_secrets: Mapped[bool]
    attempt: Mapped[int] = mapped_column(Integer)
    max_attempts: Mapped[int] = mapped_column(Integer)
    epoch: Mapped[int] = mapped_column(BigInteger)
    lease_owner: Mapped[str | None]
    lease_until: Mapped[datetime | None]
    dispatch_seq: Mapped[int] = mapped_column(Integer)
    dispatched_at: Mapped[datetime]
    available_at: Mapped[datetime | None]
    cancel_requested_at: Mapped[datetime | None]
    progress: Mapped[dict[str, Any] | None]
    error: Mapped[dict[str, Any] | None]
    result: Mapped[dict[str, Any] | None]
    created_at: Mapped[datetime]
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Job:
        """The job that has all columns of `row`, in no session.

        It is filled as a session fills what it loads: setting attributes, which watches for changes, takes ten times
        as long.
        """
        job = cls()
        vars(job).update(row)
        return job

    @property
    def service(self) -> str:
        """The service that owns the job: the first part of its kind."""
        return self.kind.partition(".")[0]

    @property
    def job_state(self) -> JobState:
        """`state`, typed."""
        return JobState(self.state)


class JobRequest(Base):
    """A client's request id, and the job that the request was answered with: its own, or one that it joined."""

    __tablename__ = "job_requests"

    kind: Mapped[str] = mapped_column(primary_key=True)
    request_id: Mapped[str] = mapped_column(primary_key=True)
    request_hash: Mapped[str]
    job_id: Mapped[UUID] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"))


class JobAttempt(Base):
    """One claim of a job by a worker; `outcome` is empty while it runs."""

    __tablename__ = "job_attempts"

    job_id: Mapped[UUID] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    epoch: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    attempt: Mapped[int] = mapped_column(Integer)
    worker: Mapped[str]
    started_at: Mapped[datetime]
    finished_at: Mapped[datetime | None]
    outcome: Mapped[str | None]
    error: Mapped[dict[str, Any] | None]


class JobProgress(Base):
    """One kept point of an attempt's progress."""

    __tablename__ = "job_progress"
    __table_args__ = (Index("job_progress_at", "at"),)

    job_id: Mapped[UUID] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    epoch: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    at: Mapped[datetime] = mapped_column(primary_key=True)
    attempt: Mapped[int] = mapped_column(Integer)
    fraction: Mapped[float] = mapped_column(Float)
    done: Mapped[int] = mapped_column(BigInteger)
    total: Mapped[int] = mapped_column(BigInteger)
    unit: Mapped[str]
    stage: Mapped[str]
    metrics: Mapped[dict[str, Any]]
    position: Mapped[int] = mapped_column(BigInteger)


class WorkerRow(Base):
    """A worker as it was last heard of. `state` is what its child tells of itself; see `mistudio_jobs.keeping`."""

    __tablename__ = "workers"

    name: Mapped[str] = mapped_column(primary_key=True)
    pool: Mapped[str]
    host: Mapped[str]
    job_id: Mapped[UUID | None]
    state: Mapped[dict[str, Any]]
    started_at: Mapped[datetime]
    seen_at: Mapped[datetime]


class Outbox(Base):
    """A message that must be published because its transaction committed.

    Rows of one job are published in the order of their ids, which is the order of the job's versions. Until
    `held_until` the relay leaves a row to the process that wrote it. `payload` is a job as `events.ToldJob` has it, or
    the name of the kind whose job a doorbell is for. Of the deletion of a resource, `job_id` is the resource, `payload`
    the time.
    """

    __tablename__ = "outbox"
    __table_args__ = (
        Index("outbox_unpublished", "id", postgresql_where=text("published_at IS NULL")),
        Index("outbox_unpublished_job", "job_id", "id", postgresql_where=text("published_at IS NULL")),
        Index("outbox_published", "published_at", postgresql_where=text("published_at IS NOT NULL")),
    )

    id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    job_id: Mapped[UUID]
    subject: Mapped[str]
    msg_id: Mapped[str] = mapped_column(unique=True)
    payload: Mapped[dict[str, Any] | str] = mapped_column(JSONB)
    held_until: Mapped[datetime | None]
    published_at: Mapped[datetime | None]
