"""The outbox: what a transaction wants told, written with it: never told before the commit, never lost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from mistudio_jobs import events
from mistudio_jobs.tables import Job

_COLUMNS = "id, job_id, subject, msg_id, payload"

_INSERT = text(
    "INSERT INTO outbox (job_id, subject, msg_id, payload, held_until) "
    "VALUES (:job_id, :subject, :msg_id, :payload, clock_timestamp() + make_interval(secs => :held))"
)
_INSERT_TWO = text(
    "INSERT INTO outbox (job_id, subject, msg_id, payload) "
    "VALUES (:job_id, :subject, :msg_id, :payload), (:job_id, :subject_2, :msg_id_2, :payload_2)"
)
# The row's lock on its job makes this complete: no other transaction can add a row of the same job meanwhile.
_INSERT_AND_LIST = text(
    f"WITH fresh AS ({_INSERT.text} RETURNING {_COLUMNS}) "  # noqa: S608 - constants only
    f"SELECT {_COLUMNS} FROM outbox WHERE job_id = :job_id AND published_at IS NULL AND subject LIKE 'evt.%' "
    f"UNION ALL SELECT {_COLUMNS} FROM fresh ORDER BY id"
)
# A row waits while an earlier one of its job is still left to its writer.
_READY = text(
    f"SELECT {_COLUMNS} FROM outbox o WHERE published_at IS NULL AND NOT EXISTS ("  # noqa: S608 - constants only
    "SELECT 1 FROM outbox e WHERE e.job_id = o.job_id AND e.id <= o.id AND e.published_at IS NULL "
    "AND e.held_until > clock_timestamp()) ORDER BY id LIMIT :most"
)
_MARK = text("UPDATE outbox SET published_at = clock_timestamp() WHERE id = ANY(:ids) AND published_at IS NULL")
_PRUNE = text("DELETE FROM outbox WHERE published_at < clock_timestamp() - make_interval(secs => :age)")


@dataclass(frozen=True)
class Message:
    """One row of the outbox."""

    id: int
    job_id: UUID
    subject: str
    msg_id: str
    payload: bytes


async def add_state(session: AsyncSession, job: Job) -> None:
    """Tell of the job's present state. The transaction has updated the job's row before."""
    await session.execute(_INSERT, _state_row(job, held=0.0))


async def add_state_held(session: AsyncSession, job: Job, held: float) -> list[Message]:
    """Tell of the job's present state, and leave the telling to the caller for `held` seconds.

    Returns:
        all unpublished events of the job, in the order in which they must be published after the commit.
    """
    rows = await session.execute(_INSERT_AND_LIST, _state_row(job, held))
    return [Message(*row) for row in rows]


async def add_doorbell(session: AsyncSession, job: Job) -> None:
    """Wake a worker of the job's pool."""
    await session.execute(_INSERT, _doorbell_row(job))


async def add_submitted(session: AsyncSession, job: Job) -> None:
    """Tell that the job is queued, and wake a worker."""
    second = {f"{name}_2": value for name, value in _doorbell_row(job).items()}
    await session.execute(_INSERT_TWO, {**_state_row(job, held=0.0), **second})


async def ready(session: AsyncSession, most: int) -> list[Message]:
    """At most `most` unpublished rows that the relay may publish, in order."""
    return [Message(*row) for row in await session.execute(_READY, {"most": most})]


async def mark_published(session: AsyncSession, ids: Sequence[int]) -> None:
    """Note that the rows `ids` have been published."""
    await session.execute(_MARK, {"ids": sorted(ids)})


async def prune(session: AsyncSession, age: float) -> None:
    """Delete rows published more than `age` seconds ago."""
    await session.execute(_PRUNE, {"age": age})


def _state_row(job: Job, held: float) -> dict[str, object]:
    return {
        "job_id": job.id,
        "subject": events.state_subject(job.service, job.id),
        "msg_id": f"{job.id}.{job.version}",
        "payload": events.state_event(job).SerializeToString(),
        "held": held,
    }


def _doorbell_row(job: Job) -> dict[str, object]:
    return {
        "job_id": job.id,
        "subject": events.doorbell_subject(job.service, job.pool, job.id),
        "msg_id": f"{job.id}.dispatch.{job.dispatch_seq}",
        "payload": b"",
        "held": 0.0,
    }
