"""A worker's hold on a job: taking, renewing and ending it. Each is fenced by the job's id, epoch and lease owner.

All times are the database's: workers' clocks do not matter.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import TextClause, bindparam, select, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncSession

from mistudio_jobs import outbox, queue
from mistudio_jobs.handler import JobKind
from mistudio_jobs.outbox import Message
from mistudio_jobs.states import JobState, Outcome
from mistudio_jobs.tables import EPOCHS, Job, JobAttempt
from mistudio_servicekit.errors import MistudioError


@dataclass(frozen=True)
class Claim:
    """A job that this worker holds.

    Attributes:
        job: as claimed; later changes by others do not show.
        kind: its kind.
        earlier: epochs of its former attempts, latest first: their folders may be left.
        messages: events to publish, in order, now that the claim is committed.
    """

    job: Job
    kind: JobKind
    earlier: Sequence[int]
    messages: Sequence[Message]


@dataclass(frozen=True)
class Snapshot:
    """Progress to be kept with a renewal or an ending.

    Attributes:
        progress: fields of `pb.Progress` by name.
        keep: whether it also becomes a point of the job's history.
    """

    progress: dict[str, Any]
    keep: bool


_CLAIM = text(
    f"""
        WITH claimed AS (
            UPDATE jobs SET state = 'RUNNING', version = version + 1, attempt = attempt + 1,
                epoch = nextval('{EPOCHS}'), lease_owner = :worker,
                lease_until = clock_timestamp() + make_interval(secs => :lease),
                started_at = clock_timestamp(), progress = NULL, available_at = NULL
            WHERE id = :id AND kind = ANY(:kinds) AND attempt < max_attempts
                AND (state = 'QUEUED' OR (state = 'RUNNING' AND lease_until < clock_timestamp()))
            RETURNING *
        ), lost AS (
            UPDATE job_attempts a SET outcome = '{Outcome.LOST}', finished_at = clock_timestamp()
            FROM claimed c WHERE a.job_id = c.id AND a.finished_at IS NULL
        ), opened AS (
            INSERT INTO job_attempts (job_id, epoch, attempt, worker, started_at)
            SELECT id, epoch, attempt, lease_owner, started_at FROM claimed
        )
        SELECT * FROM claimed
    """  # noqa: S608 - constants only
)

_HELD = "id = :id AND epoch = :epoch AND lease_owner = :worker"

_RENEW = text(
    f"UPDATE jobs SET lease_until = clock_timestamp() + make_interval(secs => :lease), "  # noqa: S608 - constants only
    f"progress = COALESCE(:progress, progress) WHERE {_HELD} AND state IN ('RUNNING', 'CANCELLING') RETURNING state"
).bindparams(bindparam("progress", type_=JSONB(none_as_null=True)))

_KEEP = text(
    "INSERT INTO job_progress (job_id, epoch, at, attempt, fraction, done, total, unit, stage, metrics, position) "
    "VALUES (:id, :epoch, clock_timestamp(), :attempt, :fraction, :done, :total, :unit, :stage, :metrics, :position)"
).bindparams(bindparam("metrics", type_=JSONB))

_END = text(
    f"""
        WITH ended AS (
            UPDATE jobs SET state = :state, version = version + 1, result = :result, error = :error,
                progress = COALESCE(:progress, progress), lease_owner = NULL, lease_until = NULL,
                available_at = clock_timestamp() + make_interval(secs => :delay),
                finished_at = CASE WHEN :terminal THEN clock_timestamp() END,
                secrets = CASE WHEN :terminal THEN NULL ELSE secrets END
            WHERE {_HELD} AND state = ANY(:from_states)
            RETURNING *
        ), attempt AS (
            UPDATE job_attempts a SET outcome = :outcome, error = :error, finished_at = clock_timestamp()
            FROM ended e WHERE a.job_id = e.id AND a.epoch = :epoch
        )
        SELECT * FROM ended
    """  # noqa: S608 - constants only
).bindparams(
    bindparam("result", type_=JSONB(none_as_null=True)),
    bindparam("error", type_=JSONB(none_as_null=True)),
    bindparam("progress", type_=JSONB(none_as_null=True)),
)


async def claim(
    session: AsyncSession, kinds: Sequence[JobKind], job_id: UUID, worker: str, *, lease: float, held: float
) -> Claim | None:
    """Take the job if it is queued, or if its worker's lease has run out; None where it is not to be had.

    Args:
        session: in a transaction that the caller commits before anything else.
        kinds: kinds that the worker runs.
        job_id: the job that a doorbell named.
        worker: this worker's unique name.
        lease: seconds until another may take the job.
        held: seconds for which the relay leaves the event to the caller.
    """
    names = [kind.name for kind in kinds]
    job = await _job(session, _CLAIM, {"id": job_id, "kinds": names, "worker": worker, "lease": lease})
    if job is None:
        return None
    kind = next(kind for kind in kinds if kind.name == job.kind)
    await kind.effects.started(session, job)
    earlier = await _earlier(session, job) if job.version > 2 else []
    return Claim(job, kind, earlier, await outbox.add_state_held(session, job, held))


async def _earlier(session: AsyncSession, job: Job) -> Sequence[int]:
    epochs = select(JobAttempt.epoch).where(JobAttempt.job_id == job.id, JobAttempt.epoch != job.epoch)
    return (await session.scalars(epochs.order_by(JobAttempt.epoch.desc()))).all()


async def renew(session: AsyncSession, held: Claim, lease: float, snapshot: Snapshot | None) -> JobState | None:
    """Hold the job for another `lease` seconds, and keep its progress.

    Returns:
        the job's state (CANCELLING tells of a cancellation); None where the job is no longer this worker's.
    """
    progress = snapshot.progress if snapshot else None
    state = await session.scalar(_RENEW, {**_fence(held), "lease": lease, "progress": progress})
    if state is not None and snapshot and snapshot.keep:
        await _keep(session, held, snapshot)
    return JobState(state) if state is not None else None


async def succeed(
    session: AsyncSession, held: Claim, result: Mapping[str, Any], snapshot: Snapshot | None, hold: float
) -> list[Message] | None:
    """End the job with its `result`; see `_end`."""
    job = await _end(session, held, JobState.SUCCEEDED, Outcome.SUCCEEDED, snapshot, result=dict(result))
    if job is None:
        return None
    await held.kind.effects.succeeded(session, job, result)
    return await outbox.add_state_held(session, job, hold)


async def fail(
    session: AsyncSession,
    held: Claim,
    error: MistudioError,
    snapshot: Snapshot | None,
    hold: float,
    *,
    retry_after: float | None,
) -> list[Message] | None:
    """End the job with `error`, or let it wait `retry_after` seconds for another attempt; see `_end`."""
    state = JobState.FAILED if retry_after is None else JobState.RETRY_WAIT
    record = error.to_record()
    job = await _end(session, held, state, Outcome.FAILED, snapshot, error=record, delay=retry_after)
    if job is None:
        return None
    effects = held.kind.effects
    await (effects.failed if state is JobState.FAILED else effects.requeued)(session, job)
    return await outbox.add_state_held(session, job, hold)


async def end_cancelled(
    session: AsyncSession, held: Claim, snapshot: Snapshot | None, hold: float
) -> list[Message] | None:
    """End the job as its user wished; see `_end`."""
    job = await _end(session, held, JobState.CANCELLED, Outcome.CANCELLED, snapshot, from_state=JobState.CANCELLING)
    if job is None:
        return None
    await held.kind.effects.cancelled(session, job)
    return await outbox.add_state_held(session, job, hold)


async def _end(
    session: AsyncSession,
    held: Claim,
    state: JobState,
    outcome: Outcome,
    snapshot: Snapshot | None,
    *,
    result: Mapping[str, Any] | None = None,
    error: Mapping[str, Any] | None = None,
    delay: float | None = None,
    from_state: JobState = JobState.RUNNING,
) -> Job | None:
    """Write the end of an attempt. None where the fence refuses: the job is another's, or is being cancelled."""
    values = {
        "state": state,
        "outcome": outcome,
        "result": result,
        "error": error,
        "delay": delay,
        "terminal": state.terminal,
        "progress": snapshot.progress if snapshot else None,
        "from_states": [from_state],
    }
    job = await _job(session, _END, {**values, **_fence(held)})
    if job is not None and snapshot and snapshot.keep:
        await _keep(session, held, snapshot)
    return job


async def _keep(session: AsyncSession, held: Claim, snapshot: Snapshot) -> None:
    point = {
        name: snapshot.progress[name] for name in ("fraction", "done", "total", "unit", "stage", "metrics", "position")
    }
    await session.execute(_KEEP, {**point, "id": held.job.id, "epoch": held.job.epoch, "attempt": held.job.attempt})


async def release(session: AsyncSession, held: Claim) -> bool:
    """Give a job back unfinished because its worker stops: queued again, at no cost to its attempts.

    Returns:
        whether it was still this worker's, and not being cancelled.
    """
    query = select(Job).where(Job.id == held.job.id, Job.epoch == held.job.epoch, Job.state == JobState.RUNNING)
    job = await session.scalar(query.where(Job.lease_owner == held.job.lease_owner).with_for_update())
    if job is None:
        return False
    job.max_attempts += 1
    await queue.close_attempt(session, job, Outcome.LOST)
    await queue.requeue(session, job)
    await held.kind.effects.requeued(session, job)
    return True


async def folder_needed(session: AsyncSession, held: Claim) -> bool:
    """Whether the folder of a claim that was lost is the job's result, or will be taken over by its next attempt."""
    row = (await session.execute(select(Job.state, Job.epoch).where(Job.id == held.job.id))).one_or_none()
    if row is None or row.epoch != held.job.epoch:
        return False
    # With this epoch it can only have succeeded through this worker, whose commit's answer was lost.
    waiting = held.kind.resumable and not JobState(row.state).terminal
    return row.state == JobState.SUCCEEDED or waiting


async def _job(session: AsyncSession, statement: TextClause, values: Mapping[str, Any]) -> Job | None:
    """The row that `statement` returns, as a job apart from the session: loading an entity costs twice as much."""
    row = (await session.execute(statement, values)).one_or_none()
    return Job(**row._mapping) if row is not None else None


def _fence(held: Claim) -> dict[str, Any]:
    return {"id": held.job.id, "epoch": held.job.epoch, "worker": held.job.lease_owner}
