"""What the turns of a job do to the data that it derives; all in the transaction that turns the job."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mistudio_datasets.domain.derived import Derived
from mistudio_datasets.domain.status import WorkStatus
from mistudio_datasets.jobs.effects import not_retryable
from mistudio_datasets.store import derived
from mistudio_jobs.tables import Job
from mistudio_servicekit.database import Session
from mistudio_servicekit.records import Lock


class DerivedEffects:
    """Effects of deriving data from a dataset."""

    async def started(self, session: Session, job: Job) -> None:
        """Nothing: it says PROCESSING since it was asked for."""

    async def succeeded(self, session: Session, job: Job, result: Mapping[str, Any]) -> None:
        """READY."""
        values = {"status": WorkStatus.READY, "epoch": job.epoch, "size_bytes": result["size_bytes"]}
        await derived.change(session, job.resource_id, values)

    async def failed(self, session: Session, job: Job) -> None:
        """ERROR, with the job's error."""
        await derived.change(session, job.resource_id, {"status": WorkStatus.ERROR, "error": job.error})

    async def cancelled(self, session: Session, job: Job) -> None:
        """CANCELLED."""
        await derived.change(session, job.resource_id, {"status": WorkStatus.CANCELLED})

    async def requeued(self, session: Session, job: Job) -> None:
        """PROCESSING again.

        Raises:
            JobNotRetryable: the dataset is gone, or the same is made by another job.
        """
        made = await derived.find(session, job.resource_id, lock=Lock.EXCLUSIVE)
        if made is None:
            raise not_retryable(job, "its dataset is deleted", "Bring the dataset in again")
        if made.status.ended_badly:
            await _require_no_twin(session, job, made)
        await derived.change(session, made.id, {"status": WorkStatus.PROCESSING, "error": None})


async def _require_no_twin(session: Session, job: Job, made: Derived) -> None:
    await derived.lock_identity(session, made.dataset_id, made.kind)
    twin = await derived.find_alive(session, made.dataset_id, made.kind)
    if twin is not None:
        raise not_retryable(job, f"the same is made by job {twin.job_id} by now", "Use that one")
