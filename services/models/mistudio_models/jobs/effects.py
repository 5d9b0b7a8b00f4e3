"""What the turns of a job do to its model. Each runs inside the engine's transaction."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mistudio_jobs.tables import Job
from mistudio_models.domain.loading import Measurement
from mistudio_models.domain.models import ModelStatus
from mistudio_models.domain.weights import LoadSettings
from mistudio_models.store import measurements, models
from mistudio_models.store.measurements import PastLoad
from mistudio_servicekit.database import Session
from mistudio_servicekit.errors import JobNotRetryable
from mistudio_servicekit.records import Lock


class DownloadEffects:
    """A download's turns are its model's status; a model that was deleted meanwhile stays deleted."""

    async def started(self, session: Session, job: Job) -> None:
        """Nothing: the model is DOWNLOADING since it was asked for."""

    async def succeeded(self, session: Session, job: Job, result: Mapping[str, Any]) -> None:
        """The model is READY, in the folder of the job's epoch."""
        values = {"status": ModelStatus.READY, "epoch": job.epoch, "size_bytes": result["size_bytes"]}
        await models.change(session, job.resource_id, values)

    async def failed(self, session: Session, job: Job) -> None:
        """The model is ERROR, with the job's error."""
        await models.change(session, job.resource_id, {"status": ModelStatus.ERROR, "error": job.error})

    async def cancelled(self, session: Session, job: Job) -> None:
        """The model is CANCELLED."""
        await models.change(session, job.resource_id, {"status": ModelStatus.CANCELLED})

    async def requeued(self, session: Session, job: Job) -> None:
        """The model is DOWNLOADING again.

        Raises:
            JobNotRetryable: the model was deleted, or the same model is here or on its way as another one.
        """
        model = await models.find(session, job.resource_id)
        if model is None:
            raise _not_retryable(job, "is deleted", "Download it afresh")
        identity = model.repo_id, model.commit, model.selection
        await models.lock_identity(session, *identity)
        twin = await models.find_alive(session, *identity)
        if twin is not None and twin.id != model.id:
            raise _not_retryable(job, f"is here or on its way as model {twin.id}", "Use that model")
        await models.change(session, model.id, {"status": ModelStatus.DOWNLOADING, "error": None})


class LoadEffects:
    """A load leaves its model's row alone; what it took is kept beside what was predicted."""

    async def started(self, session: Session, job: Job) -> None:
        """Nothing."""

    async def succeeded(self, session: Session, job: Job, result: Mapping[str, Any]) -> None:
        """Its measurement is kept, unless another job had loaded the model before, or it was deleted meanwhile."""
        if result["job_id"] != str(job.id) or await models.find(session, job.resource_id, lock=Lock.SHARED) is None:
            return
        load = PastLoad(result["worker"], result["device"], Measurement(**result["memory"]))
        await measurements.add(session, job.resource_id, LoadSettings.from_json(result["settings"]), load)

    async def failed(self, session: Session, job: Job) -> None:
        """Nothing."""

    async def cancelled(self, session: Session, job: Job) -> None:
        """Nothing."""

    async def requeued(self, session: Session, job: Job) -> None:
        """Nothing else than that its model is still there, and stays until the load can be seen.

        Raises:
            JobNotRetryable: the model was deleted.
        """
        if await models.find(session, job.resource_id, lock=Lock.SHARED) is None:
            raise _not_retryable(job, "is deleted", "Download it afresh, and load it then")


def _not_retryable(job: Job, problem: str, next_step: str) -> JobNotRetryable:
    return JobNotRetryable(
        f"The model {job.resource_id} of job {job.id} {problem}",
        next_step=next_step,
        metadata={"subject": f"job/{job.id}"},
    )
