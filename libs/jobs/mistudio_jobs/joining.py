"""Equal requests meet: what one of them has started, those after it join."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from mistudio_jobs.engine import JobEngine
from mistudio_jobs.handler import JobKind
from mistudio_jobs.started import Started
from mistudio_jobs.states import JobState
from mistudio_jobs.tables import Job
from mistudio_servicekit.errors import MistudioError


class Worked(Protocol):
    """A resource that a job makes."""

    @property
    def job_id(self) -> UUID:
        """The job that makes or made it."""


Resource = TypeVar("Resource", bound=Worked)


@dataclass(frozen=True)
class Asked(Generic[Resource]):
    """A request to start something, which it or an equal one may have started before.

    Attributes:
        engine: the service's jobs.
        kind: of the job that would be started.
        request_id: as the client gave it; empty for none.
        content: what the request says.
        get: reads the resource of a job.
    """

    engine: JobEngine
    kind: JobKind
    request_id: str
    content: Mapping[str, Any]
    get: Callable[[AsyncSession, UUID], Awaitable[Resource]]

    async def repeated(self, session: AsyncSession) -> Started[Resource] | None:
        """What this request has started before, known by its request_id.

        Raises:
            RequestIdReused: it had another content.
        """
        job = await self.engine.find_request(session, self.kind, self.request_id, self.content)
        return await self.of_job(session, job) if job else None

    async def of_job(self, session: AsyncSession, job: Job) -> Started[Resource]:
        """What a job that was there before works for."""
        return Started(await self.get(session, job.resource_id), job, joined=True)

    async def remember(self, session: AsyncSession, known: Started[Resource]) -> Started[Resource]:
        """Note that this request is answered with what was there before, and return that."""
        await self.engine.remember_request(session, self.kind, self.request_id, self.content, known.job)
        return known


async def join(
    engine: JobEngine, session: AsyncSession, alive: Resource | None, refusal: Callable[[Resource], MistudioError]
) -> Started[Resource] | None:
    """Join what is here or on its way; None where nothing is.

    Raises:
        MistudioError: it is just being cancelled; the error is what `refusal` says of it.
    """
    if alive is None:
        return None
    job = await engine.get(session, alive.job_id)
    if job.job_state is JobState.CANCELLING:
        raise refusal(alive)
    return Started(alive, job, joined=True)


def being_cancelled(error: type[MistudioError], what: str, subject: str, *, again: str) -> MistudioError:
    """The error for a request that comes while the same is being cancelled.

    Args:
        error: its class.
        what: is being cancelled, in words that begin a sentence.
        subject: the resource, as `type/id`.
        again: what repeating the call does, for example `make it afresh`.
    """
    return error(
        f"{what} is just being cancelled",
        next_step=f"Repeat the call in a second to {again}",
        retry_after_seconds=1.0,
        metadata={"subject": subject},
    )
