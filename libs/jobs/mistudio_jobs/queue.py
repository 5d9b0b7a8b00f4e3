"""The queue of record: submitting, finding, cancelling and retrying jobs, each within the caller's transaction."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from psycopg.types.json import Jsonb
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from mistudio_jobs import outbox, requests
from mistudio_jobs.handler import JobKind
from mistudio_jobs.secrets import SecretKeys
from mistudio_jobs.states import ACTIVE, HELD, JobState, Outcome
from mistudio_jobs.tables import Job, JobAttempt
from mistudio_jobs.turns import execute
from mistudio_servicekit.database import new_id
from mistudio_servicekit.errors import (
    InvalidArgument,
    JobNotCancellable,
    JobNotFound,
    JobNotRetryable,
)
from mistudio_servicekit.records import among

SETTINGS = "settings"
"""The part of a payload that `RetryJob` may change: an object of plain values by name."""


_SUBMIT = f"""
    WITH queued AS (
        INSERT INTO jobs (id, kind, pool, resource_type, resource_id, state, version, dedupe_key, payload, secrets,
            had_secrets, attempt, max_attempts, epoch, dispatch_seq, dispatched_at, created_at)
        VALUES (%(id)s, %(kind)s, %(pool)s, %(resource_type)s, %(resource_id)s, 'QUEUED', 1, %(dedupe_key)s,
            %(payload)s, %(secrets)s, %(had_secrets)s, 0, %(max_attempts)s, 0, 1, now(), now())
        ON CONFLICT DO NOTHING
        RETURNING *
    ), told AS ({outbox.state_insert("queued")}), rung AS ({outbox.doorbell_insert("queued")})
    SELECT * FROM queued
"""  # noqa: S608 - constants only


@dataclass(frozen=True)
class NewJob:
    """A job to submit.

    Attributes:
        kind: its kind.
        resource_id: the resource it works for.
        payload: what its handler gets (JSON-ready); `payload["settings"]` is what a retry may change.
        secrets: sealed in the row, opened in the worker only; no part of any key or hash.
        request_id: the client's name for the request, or empty.
        request_content: what the request says (JSON-ready, no secrets); one `request_id` must always say the same.
        dedupe_key: while a job of the kind with this key has not ended, it is joined instead; empty never joins.
        pool: the worker pool that runs it; empty for its kind's.
    """

    kind: JobKind
    resource_id: UUID
    payload: Mapping[str, Any]
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)
    request_id: str = ""
    request_content: Mapping[str, Any] = field(default_factory=dict)
    dedupe_key: str = ""
    pool: str = ""


@dataclass(frozen=True)
class Submission:
    """The job that a submission led to; `joined` when it was there before."""

    job: Job
    joined: bool


async def submit(session: AsyncSession, new: NewJob, keys: SecretKeys) -> Submission:
    """Queue a job, or join the one that its request_id or dedupe_key names.

    The caller adds its resource's row in the same transaction, unless `joined`.

    Raises:
        RequestIdReused: the request_id was used for another content.
    """
    await requests.lock(session, new.kind, new.request_id)
    repeated = await requests.find(session, new.kind, new.request_id, new.request_content)
    submission = Submission(repeated, joined=True) if repeated else await _insert_or_join(session, new, keys)
    await requests.remember(session, new.kind, new.request_id, new.request_content, submission.job)
    return submission


async def _insert_or_join(session: AsyncSession, new: NewJob, keys: SecretKeys) -> Submission:
    while True:
        job = await _insert(session, new, keys)
        if job is not None:
            return Submission(job, joined=False)
        twin = await _active_twin(session, new)
        if twin is not None:
            return Submission(twin, joined=True)
        # The twin ended between the two statements: the key is free again.


async def get(session: AsyncSession, kinds: Sequence[JobKind], job_id: UUID, *, lock: bool = False) -> Job:
    """The job `job_id` of one of `kinds`, its row locked if wished.

    Raises:
        JobNotFound: there is none.
    """
    query = select(Job).where(Job.id == job_id, Job.kind.in_([kind.name for kind in kinds]))
    # A locked job is about to change: what the session saw of it before may be stale.
    query = query.with_for_update().execution_options(populate_existing=True) if lock else query
    job = await session.scalar(query)
    if job is None:
        raise JobNotFound.of(str(job_id))
    return job


async def attempts(session: AsyncSession, job_id: UUID) -> Sequence[JobAttempt]:
    """All attempts of a job, oldest first."""
    query = select(JobAttempt).where(JobAttempt.job_id == job_id).order_by(JobAttempt.epoch)
    return (await session.scalars(query)).all()


async def get_all(session: AsyncSession, job_ids: Iterable[UUID]) -> Sequence[Job]:
    """Those of the jobs that are there."""
    return (await session.scalars(select(Job).where(among(Job.id, job_ids)))).all()


async def active_jobs(session: AsyncSession, resource_ids: Iterable[UUID]) -> Sequence[Job]:
    """Jobs of these resources that have not ended, oldest first."""
    query = select(Job).where(among(Job.resource_id, resource_ids), Job.state.in_(ACTIVE)).order_by(Job.id)
    return (await session.scalars(query)).all()


async def cancel(session: AsyncSession, kinds: Sequence[JobKind], job_id: UUID) -> Job:
    """Cancel a waiting job at once; ask the worker of a running one to stop it. Asking twice is no error.

    `JobEngine.transaction` tells the worker after the commit.

    Raises:
        JobNotFound: there is no such job.
        JobNotCancellable: it has ended.
    """
    job = await get(session, kinds, job_id, lock=True)
    if job.state == JobState.CANCELLING:
        return job
    if job.job_state.terminal:
        raise JobNotCancellable(
            f"Job {job.id} has ended already: it is {job.state}",
            next_step="Delete what it made if it is not wanted",
            metadata={"subject": f"job/{job.id}", "state": job.state},
        )
    job.cancel_requested_at = await session.scalar(select(func.now()))
    if job.job_state in HELD:
        await change_state(session, job, JobState.CANCELLING)
    else:
        await end_cancelled(session, kind_of(kinds, job), job)
    return job


async def end_cancelled(session: AsyncSession, kind: JobKind, job: Job) -> None:
    """Bring a locked job to CANCELLED, with what that does to its resource."""
    job.finished_at = await session.scalar(select(func.now()))
    job.lease_owner = job.lease_until = job.available_at = job.secrets = None
    await change_state(session, job, JobState.CANCELLED)
    await kind.effects.cancelled(session, job)


async def end_failed(session: AsyncSession, kind: JobKind, job: Job) -> None:
    """Bring a locked job with its `error` to FAILED, with what that does to its resource."""
    job.finished_at = await session.scalar(select(func.now()))
    job.lease_owner = job.lease_until = job.available_at = job.secrets = None
    await change_state(session, job, JobState.FAILED)
    await kind.effects.failed(session, job)


async def retry(
    session: AsyncSession, kinds: Sequence[JobKind], job_id: UUID, settings: Mapping[str, Any] | None = None
) -> Job:
    """Start a FAILED or CANCELLED job afresh: QUEUED, with its kind's number of attempts to go, and changed `settings`.

    Raises:
        JobNotFound: there is no such job.
        JobNotRetryable: it has not ended, has succeeded, needs secrets that are wiped, or its work runs as another job.
        InvalidArgument: `settings` names a setting that the job does not have, or gives it another type.
    """
    job = await get(session, kinds, job_id, lock=True)
    await _require_retryable(session, job)
    kind = kind_of(kinds, job)
    job.payload = _with_settings(job.payload, settings or {})
    job.max_attempts = job.attempt + kind.max_attempts
    job.cancel_requested_at = job.finished_at = job.error = job.progress = None
    await requeue(session, job)
    await kind.effects.requeued(session, job)
    return job


async def requeue(session: AsyncSession, job: Job) -> None:
    """Bring a locked job to QUEUED and wake a worker."""
    job.lease_owner = job.lease_until = job.available_at = None
    await change_state(session, job, JobState.QUEUED, doorbell=True)


async def close_attempt(
    session: AsyncSession, job: Job, outcome: Outcome, error: Mapping[str, Any] | None = None
) -> None:
    """Note how the present attempt of a locked job ended, for a worker that could not."""
    attempt = await session.get(JobAttempt, (job.id, job.epoch))
    if attempt is not None and attempt.finished_at is None:
        attempt.outcome, attempt.error = outcome, dict(error) if error else None
        attempt.finished_at = await session.scalar(select(func.now()))


async def dispatch_again(session: AsyncSession, job: Job) -> None:
    """Wake a worker again for a locked job that is QUEUED."""
    await _number_dispatch(session, job)
    await session.flush()
    await outbox.add_doorbell(session, job)


async def change_state(session: AsyncSession, job: Job, state: JobState, *, doorbell: bool = False) -> None:
    """Write a locked job's new state and changed fields, then the rows of the outbox that tell of it."""
    job.state, job.version = state, job.version + 1
    if doorbell:
        await _number_dispatch(session, job)
    await session.flush()
    await outbox.add_state(session, job)
    if doorbell:
        await outbox.add_doorbell(session, job)


async def _number_dispatch(session: AsyncSession, job: Job) -> None:
    job.dispatch_seq += 1
    job.dispatched_at = (await session.execute(select(func.now()))).scalar_one()


def kind_of(kinds: Sequence[JobKind], job: Job) -> JobKind:
    """The kind of `job` among `kinds`."""
    return next(kind for kind in kinds if kind.name == job.kind)


async def _insert(session: AsyncSession, new: NewJob, keys: SecretKeys) -> Job | None:
    """Write the job and what tells of it; None where its dedupe key is taken."""
    job_id, kind = new_id(), new.kind
    pool = new.pool or kind.pool
    row = {
        "id": job_id,
        "kind": kind.name,
        "pool": pool,
        "resource_type": kind.resource_type,
        "resource_id": new.resource_id,
        "dedupe_key": new.dedupe_key or None,
        "payload": Jsonb(dict(new.payload)),
        "secrets": keys.seal(job_id, new.secrets),
        "had_secrets": bool(new.secrets),
        "max_attempts": kind.max_attempts,
    }
    told = outbox.state_values(kind.service, job_id), outbox.doorbell_values(kind.service, pool, job_id)
    rows = await execute(session, _SUBMIT, {**row, **told[0], **told[1]})
    return Job.of(rows[0]) if rows else None


async def _active_twin(session: AsyncSession, new: NewJob) -> Job | None:
    query = select(Job).where(Job.kind == new.kind.name, Job.dedupe_key == new.dedupe_key, Job.state.in_(ACTIVE))
    job: Job | None = await session.scalar(query) if new.dedupe_key else None
    return job


async def _require_retryable(session: AsyncSession, job: Job) -> None:
    if job.state not in (JobState.FAILED, JobState.CANCELLED):
        raise _not_retryable(job, f"is {job.state}", "Retry a job only after it has failed or was cancelled")
    if job.had_secrets:
        raise _not_retryable(
            job, "needs secrets that were wiped when it ended", "Send its first request again, with its token"
        )
    twin = select(Job).where(Job.kind == job.kind, Job.dedupe_key == job.dedupe_key, Job.state.in_(ACTIVE))
    running = await session.scalar(twin) if job.dedupe_key else None
    if running is not None:
        raise _not_retryable(job, f"has a successor that runs, job {running.id}", "Wait for that job")


def _not_retryable(job: Job, problem: str, next_step: str) -> JobNotRetryable:
    return JobNotRetryable(
        f"Job {job.id} {problem}",
        next_step=next_step,
        metadata={"subject": f"job/{job.id}", "state": job.state},
    )


def _with_settings(payload: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    settings = dict(payload.get(SETTINGS, {}))
    for name, value in changes.items():
        settings[name] = _setting(name, value, settings)
    return {**payload, SETTINGS: settings} if changes else dict(payload)


def _setting(name: str, value: Any, settings: Mapping[str, Any]) -> Any:
    if name not in settings:
        raise InvalidArgument(
            f"The job has no setting {name!r}",
            next_step=f"Change one of {', '.join(sorted(settings)) or 'none: it has no settings'}",
            field=f"settings.{name}",
        )
    # A protobuf Struct knows doubles only.
    present = settings[name]
    whole = isinstance(present, int) and not isinstance(present, bool)
    value = int(value) if whole and isinstance(value, float) and value.is_integer() else value
    if present is not None and type(value) is not type(present):
        raise InvalidArgument(
            f"The setting {name!r} is {value!r}, but the job has {present!r} there",
            next_step="Give a value of the same type",
            field=f"settings.{name}",
        )
    return value
