"""What the turns of a job do to the dataset that it brings in; all in the transaction that turns the job."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from mistudio_datasets.data.incoming.layout_file import read_layout
from mistudio_datasets.domain.datasets import Dataset, DatasetStatus
from mistudio_datasets.jobs.effects import not_retryable
from mistudio_datasets.service.cleanup import cleanup_payload, upload_cleanup_payload
from mistudio_datasets.store import datasets
from mistudio_jobs import queue
from mistudio_jobs.handler import JobKind
from mistudio_jobs.queue import NewJob
from mistudio_jobs.secrets import SecretKeys
from mistudio_jobs.tables import Job
from mistudio_servicekit.database import Session
from mistudio_servicekit.records import Lock
from mistudio_servicekit.storage import Area, Store


class DatasetEffects:
    """Effects of the jobs that bring a dataset in.

    Args:
        store: where the job leaves the layout.
        running: the dataset's status while the job runs or waits.
    """

    def __init__(self, store: Store, running: DatasetStatus) -> None:
        self._store = store
        self._running = running

    async def started(self, session: Session, job: Job) -> None:
        """Nothing: the dataset says `running` since it was asked for."""

    async def succeeded(self, session: Session, job: Job, result: Mapping[str, Any]) -> None:
        """READY, with the layout that the job left."""
        folder = self._store.epoch(Area.DATASETS, job.resource_id, job.epoch)
        layout = await asyncio.to_thread(read_layout, folder)
        values = {
            "status": DatasetStatus.READY,
            "epoch": job.epoch,
            "layout": layout.summary().to_json(),
            "rows": layout.rows,
            "size_bytes": result["size_bytes"],
        }
        await datasets.change(session, job.resource_id, values)

    async def failed(self, session: Session, job: Job) -> None:
        """ERROR, with the job's error."""
        await datasets.change(session, job.resource_id, {"status": DatasetStatus.ERROR, "error": job.error})

    async def cancelled(self, session: Session, job: Job) -> None:
        """CANCELLED."""
        await datasets.change(session, job.resource_id, {"status": DatasetStatus.CANCELLED})

    async def requeued(self, session: Session, job: Job) -> None:
        """Back to `running`, where the job was started afresh.

        Raises:
            JobNotRetryable: the dataset is gone, or another one took its place.
        """
        dataset = await datasets.find(session, job.resource_id, lock=Lock.EXCLUSIVE)
        if dataset is None:
            raise not_retryable(job, "its dataset is deleted", "Bring the dataset in again")
        if dataset.status.ended_badly:
            await self._revive(session, job, dataset)

    async def _revive(self, session: Session, job: Job, dataset: Dataset) -> None:
        identity = await datasets.identity_of(session, dataset.id)
        if identity is not None:
            await datasets.lock_identity(session, identity)
            twin = await datasets.find_alive(session, identity)
            if twin is not None:
                raise not_retryable(job, f"the same is dataset {twin.id} by now", "Use that one")
        await datasets.change(session, dataset.id, {"status": self._running, "error": None})


class UploadEffects(DatasetEffects):
    """Effects of reading an upload: however it ends, the file as it came is removed.

    Args:
        store: where the job leaves the layout.
        cleanup: kind of the job that removes it.
        keys: as every submission needs them.
    """

    def __init__(self, store: Store, cleanup: JobKind, keys: SecretKeys) -> None:
        super().__init__(store, DatasetStatus.PROCESSING)
        self._cleanup = cleanup
        self._keys = keys

    async def succeeded(self, session: Session, job: Job, result: Mapping[str, Any]) -> None:
        """READY; only what was made of the upload stays."""
        await super().succeeded(session, job, result)
        await self._clean_up(session, job, upload_cleanup_payload(job.resource_id))

    async def failed(self, session: Session, job: Job) -> None:
        """ERROR, with the job's error; no file stays."""
        await super().failed(session, job)
        await self._clean_up(session, job, cleanup_payload([(Area.DATASETS, job.resource_id)]))

    async def cancelled(self, session: Session, job: Job) -> None:
        """CANCELLED; no file stays."""
        await super().cancelled(session, job)
        await self._clean_up(session, job, cleanup_payload([(Area.DATASETS, job.resource_id)]))

    async def _clean_up(self, session: Session, job: Job, payload: Mapping[str, Any]) -> None:
        await queue.submit(session, NewJob(self._cleanup, job.resource_id, payload), self._keys)

    async def _revive(self, session: Session, job: Job, dataset: Dataset) -> None:
        raise not_retryable(job, "the uploaded file was removed when it ended", "Upload the file again")
