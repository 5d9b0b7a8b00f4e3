"""What the turns of a job do to its export; all in the transaction that turns the job."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mistudio_datasets.domain.exports import Export
from mistudio_datasets.domain.status import WorkStatus
from mistudio_datasets.jobs.effects import not_retryable
from mistudio_datasets.store import exports
from mistudio_jobs.tables import Job
from mistudio_servicekit.database import Session
from mistudio_servicekit.records import Lock


class ExportEffects:
    """Effects of writing an export."""

    async def started(self, session: Session, job: Job) -> None:
        """PROCESSING."""
        await exports.change(session, job.resource_id, {"status": WorkStatus.PROCESSING})

    async def succeeded(self, session: Session, job: Job, result: Mapping[str, Any]) -> None:
        """READY, with the figures that the job counted."""
        kept = {name: result[name] for name in ("sequences", "short_sequences", "tokens", "size_bytes")}
        await exports.change(session, job.resource_id, {"status": WorkStatus.READY, "epoch": job.epoch, **kept})

    async def failed(self, session: Session, job: Job) -> None:
        """ERROR, with the job's error."""
        await exports.change(session, job.resource_id, {"status": WorkStatus.ERROR, "error": job.error})

    async def cancelled(self, session: Session, job: Job) -> None:
        """CANCELLED."""
        await exports.change(session, job.resource_id, {"status": WorkStatus.CANCELLED})

    async def requeued(self, session: Session, job: Job) -> None:
        """QUEUED again.

        Raises:
            JobNotRetryable: the export is gone, or another one took its place.
        """
        export = await exports.find(session, job.resource_id, lock=Lock.EXCLUSIVE)
        if export is None:
            raise not_retryable(job, "its export is deleted", "Create the export again")
        if export.status.ended_badly:
            await _require_no_twin(session, job, export)
        await exports.change(session, export.id, {"status": WorkStatus.QUEUED, "error": None})


async def _require_no_twin(session: Session, job: Job, export: Export) -> None:
    same = export.tokenization_id, export.settings
    await exports.lock_identity(session, *same)
    twin = await exports.find_alive(session, *same)
    if twin is not None:
        raise not_retryable(job, f"the same is export {twin.id} by now", "Use that one")
