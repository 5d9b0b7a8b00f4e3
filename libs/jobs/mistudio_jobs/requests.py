"""Clients' request ids: the same request, sent again, gets the job that it was answered with the first time."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from mistudio_jobs.handler import JobKind
from mistudio_jobs.tables import Job, JobRequest
from mistudio_servicekit.errors import RequestIdReused


async def find(session: AsyncSession, kind: JobKind, request_id: str, content: Mapping[str, Any]) -> Job | None:
    """The job that the request `request_id` was answered with before, if any.

    Raises:
        RequestIdReused: it had another content.
    """
    if not request_id:
        return None
    known = select(JobRequest).where(JobRequest.kind == kind.name, JobRequest.request_id == request_id)
    request = await session.scalar(known)
    if request is None:
        return None
    if request.request_hash != _hash(content):
        raise RequestIdReused(
            f"request_id {request_id!r} was used before with other content",
            next_step="Use a fresh request_id for a new request, or repeat the first request unchanged",
            field="request_id",
            metadata={"request_id": request_id, "job_id": str(request.job_id)},
        )
    return await session.get(Job, request.job_id)


async def lock(session: AsyncSession, kind: JobKind, request_id: str) -> None:
    """Wait for every other transaction that is about to answer the same request."""
    if request_id:
        key = func.hashtextextended(f"{kind.name} {request_id}", 0)
        await session.execute(select(func.pg_advisory_xact_lock(key)))


async def remember(session: AsyncSession, kind: JobKind, request_id: str, content: Mapping[str, Any], job: Job) -> None:
    """Note that the request is answered with `job`, which may have been there before.

    Raises:
        RequestIdReused: it was answered before, with another content.
    """
    await lock(session, kind, request_id)
    if request_id and await find(session, kind, request_id, content) is None:
        session.add(JobRequest(kind=kind.name, request_id=request_id, request_hash=_hash(content), job_id=job.id))
        await session.flush()


def _hash(content: Mapping[str, Any]) -> str:
    """A digest of JSON-ready `content` that does not depend on the order of its keys."""
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()
