"""Tokenizations: any dataset for any model, started, looked at, stopped and let go one by one."""

from __future__ import annotations

import asyncio
from dataclasses import asdict, dataclass
from typing import Any
from uuid import UUID

from mistudio_datasets.data.layout_file import read_layout
from mistudio_datasets.data.text_column import find_text_column
from mistudio_datasets.domain.datasets import Dataset
from mistudio_datasets.domain.statistics import TokenizationStatistics
from mistudio_datasets.domain.tokenizations import Tokenization, TokenizationSettings, TokenizationStatus
from mistudio_datasets.service.cleanup import cleanup_payload
from mistudio_datasets.service.samples import require_ready
from mistudio_datasets.service.tools import ModelInfo, Tools
from mistudio_datasets.store import datasets, tokenizations
from mistudio_jobs.queue import NewJob
from mistudio_jobs.started import Started
from mistudio_jobs.states import JobState
from mistudio_jobs.tables import Job
from mistudio_servicekit.database import Session, new_id
from mistudio_servicekit.errors import DatasetEmpty, ModelNotReady, TokenizationNotReady, TokenizerMissing
from mistudio_servicekit.pagination import Page, PageRequest
from mistudio_servicekit.records import Lock
from mistudio_servicekit.requests import MAX_NAME, check_etag, check_length, check_request_id, etag_of
from mistudio_servicekit.storage import Area


@dataclass(frozen=True)
class TokenizationRequest:
    """A tokenization to make; see `CreateTokenizationRequest` for the meaning of each field."""

    dataset_id: UUID
    model_id: UUID
    split: str = ""
    text_column: str = ""
    request_id: str = ""

    def check(self) -> None:
        """Raise `InvalidArgument` unless the fields can be right."""
        check_length("settings.split", self.split, MAX_NAME)
        check_length("settings.text_column", self.text_column, MAX_NAME)
        check_request_id(self.request_id)

    def content(self) -> dict[str, Any]:
        """What the request says."""
        return {
            "dataset_id": str(self.dataset_id),
            "model_id": str(self.model_id),
            "split": self.split,
            "text_column": self.text_column,
        }


async def create(tools: Tools, request: TokenizationRequest) -> Started[Tokenization]:
    """Start to tokenize, or join what makes or has made the same tokenization.

    Raises:
        InvalidArgument, RequestIdReused: the request itself is wrong.
        DatasetNotFound, DatasetNotReady, SplitNotFound, DatasetEmpty, TextColumnMissing: the dataset forbids it.
        ModelNotFound, ModelNotReady, TokenizerMissing: the model forbids it.
        Unavailable: the models service cannot be reached.
    """
    request.check()
    async with tools.database.transaction() as session:
        repeated = await _repeated(tools, session, request)
        if repeated:
            return repeated
        dataset = await datasets.get(session, request.dataset_id)
    require_ready(dataset)
    model = await tools.models.get(request.model_id)
    _require_tokenizer(model)
    settings = await asyncio.to_thread(_settle, tools, dataset, request)
    async with tools.engine.transaction() as session:
        return await _join_or_start(tools, session, request, settings, model)


def _require_tokenizer(model: ModelInfo) -> None:
    metadata = {"subject": f"model/{model.id}", "status": model.status}
    if model.status != "READY":
        raise ModelNotReady(
            f"Model {model.id} ({model.name}) is {model.status}, not READY",
            next_step="Wait until its download is complete, or download it again",
            metadata=metadata,
        )
    if not model.has_tokenizer:
        raise TokenizerMissing(
            f"Model {model.id} ({model.name}) carries no tokenizer",
            next_step="Choose a model that has one, or download the model it was made from",
            metadata=metadata,
        )


def _settle(tools: Tools, dataset: Dataset, request: TokenizationRequest) -> TokenizationSettings:
    """The settings with every default filled in."""
    folder = tools.store.epoch(Area.DATASETS, dataset.id, dataset.epoch)
    layout = read_layout(folder)
    split = layout.split(request.split)
    if split.rows == 0:
        raise DatasetEmpty(
            f"The split {split.name!r} of dataset {dataset.id} has no rows",
            next_step="Choose a split that holds rows",
            metadata={"subject": f"dataset/{dataset.id}", "split": split.name},
        )
    return TokenizationSettings(split.name, find_text_column(folder, layout, split.name, request.text_column))


async def _of_job(session: Session, job: Job) -> Started[Tokenization]:
    return Started(await tokenizations.get(session, job.resource_id), job, joined=True)


async def _join_or_start(
    tools: Tools, session: Session, request: TokenizationRequest, settings: TokenizationSettings, model: ModelInfo
) -> Started[Tokenization]:
    # Held against a deletion that would miss the new tokenization.
    dataset = await datasets.get(session, request.dataset_id, lock=Lock.SHARED)
    require_ready(dataset)
    await tokenizations.lock_identity(session, dataset.id, model.id, settings)
    known = await _repeated(tools, session, request) or await _alive(tools, session, dataset, model, settings)
    if known:
        kind, content = tools.kinds.tokenize, request.content()
        await tools.engine.remember_request(session, kind, request.request_id, content, known.job)
        return known
    submission = await tools.engine.submit(session, _new_job(tools, request, settings, dataset, model))
    if submission.joined:
        return await _of_job(session, submission.job)
    tokenization = _new_tokenization(dataset, model, settings, submission.job)
    return Started(await tokenizations.add(session, tokenization), submission.job, joined=False)


async def _repeated(tools: Tools, session: Session, request: TokenizationRequest) -> Started[Tokenization] | None:
    """What the same request_id started before."""
    job = await tools.engine.find_request(session, tools.kinds.tokenize, request.request_id, request.content())
    return await _of_job(session, job) if job else None


async def _alive(
    tools: Tools, session: Session, dataset: Dataset, model: ModelInfo, settings: TokenizationSettings
) -> Started[Tokenization] | None:
    tokenization = await tokenizations.find_alive(session, dataset.id, model.id, settings)
    if tokenization is None:
        return None
    job = await tools.engine.get(session, tokenization.job_id)
    if job.job_state is JobState.CANCELLING:
        raise TokenizationNotReady(
            f"The same tokenization {tokenization.id} is just being cancelled",
            next_step="Repeat the call in a second to make it afresh",
            retry_after_seconds=1.0,
            metadata={"subject": f"tokenization/{tokenization.id}"},
        )
    return Started(tokenization, job, joined=True)


def _new_job(
    tools: Tools, request: TokenizationRequest, settings: TokenizationSettings, dataset: Dataset, model: ModelInfo
) -> NewJob:
    # Without dedupe_key: equal tokenizations meet in their row, under the lock of their identity.
    return NewJob(
        kind=tools.kinds.tokenize,
        resource_id=new_id(),
        payload={
            "dataset_id": str(dataset.id),
            "dataset_epoch": dataset.epoch,
            "dataset_commit": dataset.commit,
            "model_id": str(model.id),
            "model_epoch": model.epoch,
            "tokenization": asdict(settings),
        },
        request_id=request.request_id,
        request_content=request.content(),
    )


def _new_tokenization(dataset: Dataset, model: ModelInfo, settings: TokenizationSettings, job: Job) -> Tokenization:
    return Tokenization(
        id=job.resource_id,
        dataset_id=dataset.id,
        model_id=model.id,
        settings=settings,
        status=TokenizationStatus.QUEUED,
        epoch=0,
        documents=0,
        tokens=0,
        size_bytes=0,
        engine="",
        tokenizer_sha256="",
        error=None,
        job_id=job.id,
        create_time=job.created_at,
        update_time=job.created_at,
    )


async def get(tools: Tools, tokenization_id: UUID) -> Tokenization:
    """The tokenization.

    Raises:
        TokenizationNotFound: no tokenization has this id.
    """
    async with tools.database.transaction() as session:
        return await tokenizations.get(session, tokenization_id)


async def list_page(tools: Tools, request: PageRequest) -> Page[Tokenization]:
    """A page of tokenizations.

    Raises:
        InvalidFilter, InvalidOrderBy, InvalidPageToken, InvalidArgument: as the request deserves.
    """
    async with tools.database.transaction() as session:
        return await tokenizations.list_page(session, request)


async def statistics(tools: Tools, tokenization_id: UUID) -> TokenizationStatistics:
    """The exact figures over all documents, as they were counted while tokenizing.

    Raises:
        TokenizationNotFound, TokenizationNotReady: there are none.
    """
    async with tools.database.transaction() as session:
        tokenization = await tokenizations.get(session, tokenization_id)
        require_complete(tokenization)
        figures = await tokenizations.statistics(session, tokenization_id)
        assert figures is not None, "written when it became READY"
        return figures


async def cancel(tools: Tools, tokenization_id: UUID) -> Started[Tokenization]:
    """Stop a tokenization.

    Raises:
        TokenizationNotFound: no tokenization has this id.
        JobNotCancellable: it is complete, or has failed, or was stopped before.
    """
    async with tools.engine.transaction() as session:
        # The job first, then its tokenization: the order in which workers lock them.
        job = await tools.engine.cancel(session, (await tokenizations.get(session, tokenization_id)).job_id)
        return Started(await tokenizations.get(session, tokenization_id), job, joined=False)


async def delete(tools: Tools, tokenization_id: UUID, *, etag: str = "") -> Job:
    """Delete a tokenization; if it is being made, that is stopped first.

    Returns:
        the job that removes the files.

    Raises:
        TokenizationNotFound: no tokenization has this id.
        Aborted: it has another etag.
    """
    async with tools.engine.transaction() as session:
        # Jobs are locked before their resources, everywhere: the end of a job does so too.
        job = await tools.engine.get(session, (await tokenizations.get(session, tokenization_id)).job_id, lock=True)
        tokenization = await tokenizations.get(session, tokenization_id, lock=Lock.EXCLUSIVE)
        # Before the cancellation, which may change the tokenization itself.
        check_etag(etag, etag_of(tokenization.version), f"Tokenization {tokenization_id}")
        await tools.engine.cancel_unended(session, [job.id])
        await tokenizations.remove(session, [tokenization_id])
        payload = cleanup_payload([(Area.TOKENIZATIONS, tokenization_id)])
        new = NewJob(kind=tools.kinds.tokenization_cleanup, resource_id=tokenization_id, payload=payload)
        return (await tools.engine.submit(session, new)).job


def require_complete(tokenization: Tokenization) -> None:
    """Raise `TokenizationNotReady` unless the tokenization is complete."""
    if tokenization.status is TokenizationStatus.READY:
        return
    running = tokenization.status.is_running
    raise TokenizationNotReady(
        f"Tokenization {tokenization.id} is {tokenization.status}, not READY",
        next_step=f"Wait for job {tokenization.job_id}" if running else "Create it again, or retry its job",
        metadata={"subject": f"tokenization/{tokenization.id}", "status": tokenization.status.value},
    )
