"""What the turns of a job do to what it makes of a dataset; all in the transaction that turns the job."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Generic, Protocol, TypeVar
from uuid import UUID

from mistudio_datasets.domain.status import WorkStatus
from mistudio_jobs.tables import Job
from mistudio_servicekit.database import Session
from mistudio_servicekit.errors import JobNotRetryable
from mistudio_servicekit.records import Lock


class Work(Protocol):
    """What a job makes of a dataset: a tokenization, an export, derived data."""

    @property
    def id(self) -> UUID:
        """Its name, for good."""

    @property
    def status(self) -> WorkStatus:
        """Where it is in its life."""


Made = TypeVar("Made", bound=Work)
_Found = TypeVar("_Found", bound=Work, covariant=True)


class Rows(Protocol[_Found]):
    """The module of the store that holds what is made."""

    async def find(self, session: Session, made_id: UUID, /, *, lock: Lock = Lock.NONE) -> _Found | None:
        """What is made, or None if it is gone."""

    async def change(self, session: Session, made_id: UUID, values: Mapping[str, object], /) -> _Found | None:
        """Set columns by name; None if it is gone."""


class WorkEffects(ABC, Generic[Made]):
    """Effects of a job that makes something of a dataset: its turns are the status of what it makes.

    Attributes:
        waiting: the status until a worker takes the job.
        gone: what a job is told whose work is deleted: the problem and the next step.

    Args:
        rows: where what is made is kept.
    """

    waiting: ClassVar[WorkStatus] = WorkStatus.QUEUED
    gone: ClassVar[tuple[str, str]]

    def __init__(self, rows: Rows[Made]) -> None:
        self._rows = rows

    async def started(self, session: Session, job: Job) -> None:
        """PROCESSING."""
        await self._rows.change(session, job.resource_id, {"status": WorkStatus.PROCESSING})

    async def succeeded(self, session: Session, job: Job, result: Mapping[str, Any]) -> None:
        """READY, with what `figures` says."""
        values = {"status": WorkStatus.READY, "epoch": job.epoch, **await self.figures(job, result)}
        await self._rows.change(session, job.resource_id, values)

    async def failed(self, session: Session, job: Job) -> None:
        """ERROR, with the job's error."""
        await self._rows.change(session, job.resource_id, {"status": WorkStatus.ERROR, "error": job.error})

    async def cancelled(self, session: Session, job: Job) -> None:
        """CANCELLED."""
        await self._rows.change(session, job.resource_id, {"status": WorkStatus.CANCELLED})

    async def requeued(self, session: Session, job: Job) -> None:
        """Back to `waiting`.

        Raises:
            JobNotRetryable: what it makes is gone, or another one took its place.
        """
        made = await self._rows.find(session, job.resource_id, lock=Lock.EXCLUSIVE)
        if made is None:
            raise not_retryable(job, *self.gone)
        twin = await self.twin(session, made) if made.status.ended_badly else None
        if twin is not None:
            raise not_retryable(job, f"the same is {twin} by now", "Use that one")
        await self._rows.change(session, made.id, {"status": self.waiting, "error": None})

    @abstractmethod
    async def figures(self, job: Job, result: Mapping[str, Any]) -> Mapping[str, object]:
        """Columns that the job's result fills."""

    @abstractmethod
    async def twin(self, session: Session, made: Made) -> str | None:
        """What took the place of `made` after it ended badly, in words; its identity stays locked."""


def not_retryable(job: Job, problem: str, next_step: str) -> JobNotRetryable:
    """The error for a job whose resource forbids another try."""
    return JobNotRetryable(
        f"Job {job.id} cannot be retried: {problem}",
        next_step=next_step,
        metadata={"subject": f"job/{job.id}", "state": job.state},
    )
