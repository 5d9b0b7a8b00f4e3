"""Cancelling many jobs at once whose resources are deleted in the same transaction."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from psycopg.types.json import Jsonb
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from mistudio_jobs import events, outbox
from mistudio_jobs.states import ACTIVE, HELD, JobState
from mistudio_jobs.tables import Job
from mistudio_jobs.turns import execute
from mistudio_servicekit.records import among

_ABANDON = f"""
    WITH changed AS (
        UPDATE jobs SET
            version = version + 1,
            cancel_requested_at = now(),
            state = CASE WHEN state = ANY(%(with_worker)s) THEN 'CANCELLING' ELSE 'CANCELLED' END,
            finished_at = CASE WHEN state = ANY(%(with_worker)s) THEN NULL ELSE now() END,
            secrets = CASE WHEN state = ANY(%(with_worker)s) THEN secrets END,
            available_at = NULL
        WHERE id = ANY(%(ids)s) AND state = ANY(%(stoppable)s)
        RETURNING *
    ), told AS ({outbox.state_insert("changed", "%(subjects)s ->> id::text")})
    SELECT id FROM changed WHERE state = 'CANCELLING'
"""  # noqa: S608 - constants only
_STOPPABLE = sorted(ACTIVE - {JobState.CANCELLING})


async def lock(session: AsyncSession, job_ids: Sequence[UUID]) -> None:
    """Hold the jobs until the transaction ends; in the order of their ids, so that no two callers wait in a ring."""
    if job_ids:
        await session.execute(select(Job.id).where(among(Job.id, job_ids)).order_by(Job.id).with_for_update())


async def abandon(session: AsyncSession, service: str, job_ids: Sequence[UUID]) -> Sequence[Job]:
    """Cancel those of the locked jobs that have not ended, in one statement for all.

    Their kinds' effects are left out: the caller deletes the resources, and has a job remove all their files.

    Returns:
        the jobs that a worker holds: it must be told to stop.
    """
    if not job_ids:
        return []
    subjects = {str(job_id): events.state_subject(service, job_id) for job_id in job_ids}
    values = {
        "ids": list(job_ids),
        "with_worker": sorted(HELD),
        "stoppable": _STOPPABLE,
        "subjects": Jsonb(subjects),
        "held": 0.0,
    }
    stopping = [row["id"] for row in await execute(session, _ABANDON, values)]
    query = select(Job).where(among(Job.id, stopping)).execution_options(populate_existing=True)
    return (await session.scalars(query)).all()
