"""What the turns of a job do to its dataset or tokenization; all in the transaction that turns the job."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from mistudio_datasets.data.incoming.layout_file import read_layout
from mistudio_datasets.data.tokens.tokenizing import read_statistics
from mistudio_datasets.domain.datasets import Dataset, DatasetStatus
from mistudio_datasets.domain.status import WorkStatus
from mistudio_datasets.domain.tokenizations import Tokenization
from mistudio_datasets.service.cleanup import cleanup_payload, upload_cleanup_payload
from mistudio_datasets.store import datasets, tokenizations
from mistudio_jobs import queue
from mistudio_jobs.handler import JobKind
from mistudio_jobs.queue import NewJob
from mistudio_jobs.secrets import SecretKeys
from mistudio_jobs.tables import Job
from mistudio_servicekit.database import Session
from mistudio_servicekit.errors import JobNotRetryable
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


class TokenizationEffects:
    """Effects of tokenizing.

    Args:
        store: where the job leaves the statistics.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    async def started(self, session: Session, job: Job) -> None:
        """PROCESSING."""
        await tokenizations.change(session, job.resource_id, {"status": WorkStatus.PROCESSING})

    async def succeeded(self, session: Session, job: Job, result: Mapping[str, Any]) -> None:
        """READY, with the figures that the job counted."""
        folder = self._store.epoch(Area.TOKENIZATIONS, job.resource_id, job.epoch)
        figures = await asyncio.to_thread(read_statistics, folder)
        kept = {name: result[name] for name in ("documents", "tokens", "size_bytes", "engine", "tokenizer_sha256")}
        values = {"status": WorkStatus.READY, "epoch": job.epoch, "statistics": figures.to_json(), **kept}
        await tokenizations.change(session, job.resource_id, values)

    async def failed(self, session: Session, job: Job) -> None:
        """ERROR, with the job's error."""
        values = {"status": WorkStatus.ERROR, "error": job.error}
        await tokenizations.change(session, job.resource_id, values)

    async def cancelled(self, session: Session, job: Job) -> None:
        """CANCELLED."""
        await tokenizations.change(session, job.resource_id, {"status": WorkStatus.CANCELLED})

    async def requeued(self, session: Session, job: Job) -> None:
        """QUEUED again.

        Raises:
            JobNotRetryable: the tokenization is gone, or another one took its place.
        """
        tokenization = await tokenizations.find(session, job.resource_id, lock=Lock.EXCLUSIVE)
        if tokenization is None:
            raise not_retryable(job, "its tokenization is deleted", "Create the tokenization again")
        if tokenization.status.ended_badly:
            await _require_no_twin(session, job, tokenization)
        await tokenizations.change(session, tokenization.id, {"status": WorkStatus.QUEUED, "error": None})


async def _require_no_twin(session: Session, job: Job, tokenization: Tokenization) -> None:
    same = tokenization.dataset_id, tokenization.model_id, tokenization.settings
    await tokenizations.lock_identity(session, *same)
    twin = await tokenizations.find_alive(session, *same)
    if twin is not None:
        raise not_retryable(job, f"the same is tokenization {twin.id} by now", "Use that one")


def not_retryable(job: Job, problem: str, next_step: str) -> JobNotRetryable:
    """The error for a job whose resource forbids another try."""
    return JobNotRetryable(
        f"Job {job.id} cannot be retried: {problem}",
        next_step=next_step,
        metadata={"subject": f"job/{job.id}", "state": job.state},
    )
