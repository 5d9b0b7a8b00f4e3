"""Tokenizations: any dataset for any model, started, looked at, stopped and let go one by one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from mistudio_datasets.domain.datasets import Dataset, require_ready
from mistudio_datasets.domain.statistics import TokenizationStatistics
from mistudio_datasets.domain.status import WorkStatus
from mistudio_datasets.domain.tokenizations import Tokenization, TokenizationSettings
from mistudio_datasets.service.settings import check_settings, require_tokenizer, settle
from mistudio_datasets.service.tools import ModelInfo, Tools
from mistudio_datasets.store import datasets, tokenizations
from mistudio_jobs.joining import Asked, being_cancelled, join
from mistudio_jobs.queue import NewJob
from mistudio_jobs.started import Started
from mistudio_jobs.tables import Job
from mistudio_servicekit.database import Session, new_id
from mistudio_servicekit.errors import MistudioError, TokenizationNotReady
from mistudio_servicekit.pagination import Page, PageRequest
from mistudio_servicekit.records import Lock
from mistudio_servicekit.requests import check_request_id


@dataclass(frozen=True)
class TokenizationRequest:
    """A tokenization to make; see `CreateTokenizationRequest` for the meaning of each field."""

    dataset_id: UUID
    model_id: UUID
    settings: TokenizationSettings
    request_id: str = ""

    def check(self) -> None:
        """Raise `InvalidArgument` unless the fields can be right."""
        check_settings(self.settings)
        check_request_id(self.request_id)

    def content(self) -> dict[str, Any]:
        """What the request says."""
        return {"dataset_id": str(self.dataset_id), "model_id": str(self.model_id), **self.settings.to_json()}


async def create(tools: Tools, request: TokenizationRequest) -> Started[Tokenization]:
    """Start to tokenize, or join what makes or has made the same tokenization.

    Raises:
        InvalidArgument, RequestIdReused: the request itself is wrong.
        DatasetNotFound, DatasetNotReady, SplitNotFound, DatasetEmpty, TextColumnMissing, ConversationMissing: the
            dataset forbids it.
        ModelNotFound, ModelNotReady, TokenizerMissing, ChatTemplateMissing: the model forbids it.
        Unavailable: the models service cannot be reached.
    """
    request.check()
    async with tools.database.transaction() as session:
        repeated = await _asked(tools, request).repeated(session)
        if repeated:
            return repeated
        dataset = await datasets.get(session, request.dataset_id)
    require_ready(dataset)
    model = await tools.models.get(request.model_id)
    require_tokenizer(model)
    settings = await settle(tools, dataset, model, request.settings)
    async with tools.engine.transaction() as session:
        return await _join_or_start(tools, session, request, settings, model)


async def _join_or_start(
    tools: Tools, session: Session, request: TokenizationRequest, settings: TokenizationSettings, model: ModelInfo
) -> Started[Tokenization]:
    # Held against a deletion that would miss the new tokenization.
    dataset = await datasets.get(session, request.dataset_id, lock=Lock.SHARED)
    require_ready(dataset)
    same = dataset.id, model.id, settings
    await tokenizations.lock_identity(session, *same)
    asked = _asked(tools, request)
    known = await asked.repeated(session) or await join(
        tools.engine, session, await tokenizations.find_alive(session, *same), _being_cancelled
    )
    if known:
        return await asked.remember(session, known)
    submission = await tools.engine.submit(session, _new_job(tools, request, settings, dataset, model))
    if submission.joined:
        return await asked.of_job(session, submission.job)
    tokenization = _new_tokenization(dataset, model, settings, submission.job)
    return Started(await tokenizations.add(session, tokenization), submission.job, joined=False)


def _asked(tools: Tools, request: TokenizationRequest) -> Asked[Tokenization]:
    return Asked(tools.engine, tools.kinds.tokenize, request.request_id, request.content(), tokenizations.get)


def _being_cancelled(tokenization: Tokenization) -> MistudioError:
    same, subject = f"The same tokenization {tokenization.id}", f"tokenization/{tokenization.id}"
    return being_cancelled(TokenizationNotReady, same, subject, again="make it afresh")


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
            "model_repo_id": model.repo_id,
            "tokenization": settings.to_json(),
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
        status=WorkStatus.QUEUED,
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


def require_complete(tokenization: Tokenization) -> None:
    """Raise `TokenizationNotReady` unless the tokenization is complete."""
    if tokenization.status is WorkStatus.READY:
        return
    running = tokenization.status.is_running
    raise TokenizationNotReady(
        f"Tokenization {tokenization.id} is {tokenization.status}, not READY",
        next_step=f"Wait for job {tokenization.job_id}" if running else "Create it again, or retry its job",
        metadata={"subject": f"tokenization/{tokenization.id}", "status": tokenization.status.value},
    )
