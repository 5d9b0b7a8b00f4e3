"""A worker's hold on a job: taking, renewing and ending it. Each is fenced by the job's id, epoch and lease owner.

All times are the database's: workers' clocks do not matter.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from psycopg.types.json import Jsonb
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from mistudio_jobs import outbox, queue
from mistudio_jobs.handler import JobKind
from mistudio_jobs.outbox import Message
from mistudio_jobs.states import JobState, Outcome
from mistudio_jobs.tables import EPOCHS, Job
from mistudio_jobs.turns import Turn, execute
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


@dataclass(frozen=True)
class Closing:
    """What goes with the end of an attempt, however it ends.

    Attributes:
        snapshot: its last progress.
        published: ids of the claim's messages that have been published.
        hold: seconds for which the relay leaves the event to the caller.
    """

    snapshot: Snapshot | None
    published: Sequence[int]
    hold: float


# Within CASE a condition finds no index. Through those of kind and state, which a planner takes while it believes that
# few jobs are active, every claim would walk past all jobs that wait.
_CLAIM = outbox.changing(
    f"""
        UPDATE jobs SET state = 'RUNNING', version = version + 1, attempt = attempt + 1,
            epoch = nextval('{EPOCHS}'), lease_owner = %(worker)s,
            lease_until = clock_timestamp() + make_interval(secs => %(lease)s),
            started_at = clock_timestamp(), progress = NULL, available_at = NULL
        WHERE id = %(id)s AND CASE WHEN kind = %(kind)s AND attempt < max_attempts
            THEN state = 'QUEUED' OR (state = 'RUNNING' AND lease_until < clock_timestamp()) END
        RETURNING *
    """,  # noqa: S608 - constants only
    f"""
        lost AS (
            UPDATE job_attempts a SET outcome = '{Outcome.LOST}', finished_at = clock_timestamp()
            FROM changed c WHERE a.job_id = c.id AND a.finished_at IS NULL
        ), opened AS (
            INSERT INTO job_attempts (job_id, epoch, attempt, worker, started_at)
            SELECT id, epoch, attempt, lease_owner, started_at FROM changed
        )
    """,  # noqa: S608 - constants only
)

_EARLIER = "SELECT epoch FROM job_attempts WHERE job_id = %(id)s AND epoch <> %(epoch)s ORDER BY epoch DESC"

_HELD = "id = %(id)s AND CASE WHEN epoch = %(epoch)s AND lease_owner = %(worker)s THEN {states} END"

_KEEP = """
    INSERT INTO job_progress (job_id, epoch, at, attempt, fraction, done, total, unit, stage, metrics, position)
    SELECT id, epoch, clock_timestamp(), attempt, p.*
    FROM changed, jsonb_to_record(progress) p (fraction float8, done int8, total int8, unit text, stage text,
        metrics jsonb, position int8)
    WHERE %(keep)s
"""

_RENEW = f"""
    WITH changed AS (
        UPDATE jobs SET lease_until = clock_timestamp() + make_interval(secs => %(lease)s),
            progress = COALESCE(%(progress)s, progress)
        WHERE {_HELD.format(states="state IN ('RUNNING', 'CANCELLING')")}
        RETURNING *
    ), kept AS ({_KEEP})
    SELECT state FROM changed
"""  # noqa: S608 - constants only

_END = outbox.changing(
    f"""
        UPDATE jobs SET state = %(state)s, version = version + 1, result = %(result)s, error = %(error)s,
            progress = COALESCE(%(progress)s, progress), lease_owner = NULL, lease_until = NULL,
            available_at = clock_timestamp() + make_interval(secs => %(delay)s),
            finished_at = CASE WHEN %(terminal)s THEN clock_timestamp() END,
            secrets = CASE WHEN %(terminal)s THEN NULL ELSE secrets END
        WHERE {_HELD.format(states="state = %(from_state)s")}
        RETURNING *
    """,  # noqa: S608 - constants only
    f"""
        closed AS (
            UPDATE job_attempts a SET outcome = %(outcome)s, error = %(error)s, finished_at = clock_timestamp()
            FROM changed c WHERE a.job_id = c.id AND a.epoch = c.epoch
        ), kept AS ({_KEEP})
    """,  # noqa: S608 - constants only
)


async def claim(turn: Turn, kind: JobKind, job_id: UUID, worker: str, *, lease: float, held: float) -> Claim | None:
    """Take the job if it is queued, or if its worker's lease has run out; None where it is not to be had.

    Args:
        turn: for `kind`; the caller ends it before anything else.
        kind: its kind, as the doorbell says.
        job_id: the job that the doorbell names.
        worker: this worker's unique name.
        lease: seconds until another may take the job.
        held: seconds for which the relay leaves the event to the caller.
    """
    values = {"kind": kind.name, "worker": worker, "lease": lease}
    claimed = await outbox.changed(turn, _CLAIM, {**values, **outbox.changing_values(kind.service, job_id, held)})
    if claimed is None:
        return None
    row, messages = claimed
    job = Job.of(row)
    if turn.session is not None:
        await kind.effects.started(turn.session, job)
    return Claim(job, kind, await _earlier(turn, job) if job.attempt > 1 else [], messages)


async def _earlier(turn: Turn, job: Job) -> Sequence[int]:
    return [row["epoch"] for row in await turn.execute(_EARLIER, {"id": job.id, "epoch": job.epoch})]


async def renew(session: AsyncSession, held: Claim, lease: float, snapshot: Snapshot | None) -> JobState | None:
    """Hold the job for another `lease` seconds, and keep its progress.

    Returns:
        the job's state (CANCELLING tells of a cancellation); None where the job is no longer this worker's.
    """
    rows = await execute(session, _RENEW, {**_fence(held), **_progress(snapshot), "lease": lease})
    return JobState(rows[0]["state"]) if rows else None


async def succeed(turn: Turn, held: Claim, closing: Closing, result: Mapping[str, Any]) -> list[Message] | None:
    """End the job with its `result`; see `_end`."""

    async def effect(session: AsyncSession, job: Job) -> None:
        await held.kind.effects.succeeded(session, job, result)

    return await _end(turn, held, closing, JobState.SUCCEEDED, Outcome.SUCCEEDED, effect, result=Jsonb(dict(result)))


async def fail(
    turn: Turn, held: Claim, closing: Closing, error: MistudioError, *, retry_after: float | None
) -> list[Message] | None:
    """End the job with `error`, or let it wait `retry_after` seconds for another attempt; see `_end`."""
    effects, record = held.kind.effects, Jsonb(error.to_record())
    if retry_after is None:
        return await _end(turn, held, closing, JobState.FAILED, Outcome.FAILED, effects.failed, error=record)
    return await _end(
        turn, held, closing, JobState.RETRY_WAIT, Outcome.FAILED, effects.requeued, error=record, delay=retry_after
    )


async def end_cancelled(turn: Turn, held: Claim, closing: Closing) -> list[Message] | None:
    """End the job as its user wished; see `_end`."""
    effect, from_state = held.kind.effects.cancelled, JobState.CANCELLING
    return await _end(turn, held, closing, JobState.CANCELLED, Outcome.CANCELLED, effect, from_state=from_state)


async def _end(
    turn: Turn,
    held: Claim,
    closing: Closing,
    state: JobState,
    outcome: Outcome,
    effect: Callable[[AsyncSession, Job], Awaitable[None]],
    *,
    from_state: JobState = JobState.RUNNING,
    result: Jsonb | None = None,
    error: Jsonb | None = None,
    delay: float | None = None,
) -> list[Message] | None:
    """Write the end of an attempt.

    Returns:
        events to publish, in order, after the commit; None where the fence refuses, because the job is another's or is
        being cancelled.
    """
    values = {"state": state, "outcome": outcome, "terminal": state.terminal, "from_state": from_state}
    values |= {"result": result, "error": error, "delay": delay}
    told = outbox.changing_values(held.kind.service, held.job.id, closing.hold, closing.published)
    ended = await outbox.changed(turn, _END, {**_fence(held), **_progress(closing.snapshot), **told, **values})
    if ended is None:
        return None
    row, messages = ended
    if turn.session is not None:
        await effect(turn.session, Job.of(row))
    return messages


def _progress(snapshot: Snapshot | None) -> dict[str, Any]:
    return {"progress": Jsonb(snapshot.progress) if snapshot else None, "keep": snapshot is not None and snapshot.keep}


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


def _fence(held: Claim) -> dict[str, Any]:
    return {"id": held.job.id, "epoch": held.job.epoch, "worker": held.job.lease_owner}
