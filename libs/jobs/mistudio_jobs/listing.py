"""Pages of a service's jobs and of a job's progress history."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from mistudio_jobs.handler import JobKind
from mistudio_jobs.states import JobState
from mistudio_jobs.tables import Job, JobProgress
from mistudio_servicekit.errors import InvalidPageToken
from mistudio_servicekit.filters import choice_of, time_value, uuid_value, whole_number
from mistudio_servicekit.listing import Listing
from mistudio_servicekit.pagination import Order, Page, PageRequest, decode_token, encode_token

_JOBS = Listing(
    Job,
    filters={
        "kind": str,
        "pool": str,
        "state": choice_of(*JobState),
        "resource_type": str,
        "resource_id": uuid_value,
        "attempt": whole_number,
        "created_at": time_value,
    },
    orders={"created_at": Order(Job.created_at, datetime)},
)


async def list_jobs(session: AsyncSession, kinds: Sequence[JobKind], request: PageRequest) -> Page[Job]:
    """A page of the jobs of `kinds`, newest first unless ordered otherwise.

    Raises:
        InvalidFilter, InvalidOrderBy, InvalidPageToken, InvalidArgument: as the request deserves.
    """
    return await _JOBS.page(session, request, Job.kind.in_([kind.name for kind in kinds]))


async def progress_history(session: AsyncSession, job_id: UUID, request: PageRequest) -> Page[JobProgress]:
    """A page of a job's kept points of progress, oldest first.

    Raises:
        InvalidPageToken, InvalidArgument: as the request deserves.
    """
    size, query = request.size(), ("progress", str(job_id))
    points = select(JobProgress).where(JobProgress.job_id == job_id)
    total = await session.scalar(select(func.count()).select_from(points.subquery()))
    if request.page_token:
        points = points.where(JobProgress.at > _time(decode_token(request.page_token, query), request.page_token))
    rows = (await session.scalars(points.order_by(JobProgress.at).limit(size + 1))).all()
    more = len(rows) > size
    rows = rows[:size]
    return Page(rows, encode_token(query, [rows[-1].at]) if more else "", int(total or 0))


def _time(position: Sequence[Any], token: str) -> datetime:
    try:
        (value,) = position
        return time_value(value)
    except (ValueError, TypeError):
        raise InvalidPageToken(
            f"page_token {token[:40]!r} is damaged",
            next_step="Leave it empty for the first page",
            field="page_token",
        ) from None
