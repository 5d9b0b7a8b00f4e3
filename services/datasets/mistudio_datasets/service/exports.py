"""Exports: views of tokenizations as datasets on disk, started, looked at, stopped and let go one by one."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from mistudio_datasets.data.tokens.manifest import special_ids
from mistudio_datasets.domain.datasets import Dataset
from mistudio_datasets.domain.exports import Export, ExportSettings
from mistudio_datasets.domain.status import WorkStatus
from mistudio_datasets.domain.tokenizations import Tokenization
from mistudio_datasets.domain.views import View
from mistudio_datasets.service.tokenizations import require_complete
from mistudio_datasets.service.tools import Tools
from mistudio_datasets.store import datasets, exports, tokenizations
from mistudio_jobs.joining import Asked, being_cancelled, join
from mistudio_jobs.queue import NewJob
from mistudio_jobs.started import Started
from mistudio_jobs.tables import Job
from mistudio_servicekit.database import Session, new_id
from mistudio_servicekit.errors import ExportNotReady, InvalidArgument, MistudioError
from mistudio_servicekit.pagination import Page, PageRequest
from mistudio_servicekit.records import Lock
from mistudio_servicekit.requests import check_request_id
from mistudio_servicekit.storage import Area


@dataclass(frozen=True)
class ExportRequest:
    """An export to make; see `CreateExportRequest` for the meaning of each field."""

    tokenization_id: UUID
    view: View
    shuffle_seed: int | None = None
    request_id: str = ""

    def check(self) -> None:
        """Raise `InvalidArgument` unless the fields can be right."""
        check_request_id(self.request_id)
        self.view.check()
        if self.shuffle_seed is not None and self.shuffle_seed < 0:
            raise InvalidArgument(
                f"shuffle_seed is {self.shuffle_seed}",
                next_step="Use a seed from 0 on, or leave it out to keep the order",
                field="shuffle_seed",
            )

    def content(self) -> dict[str, Any]:
        """What the request says."""
        return {
            "tokenization_id": str(self.tokenization_id),
            "view": self.view.to_json(),
            "shuffle_seed": self.shuffle_seed,
        }


async def create(tools: Tools, request: ExportRequest) -> Started[Export]:
    """Start to write an export, or join what writes or has written the same one.

    Raises:
        InvalidArgument, RequestIdReused: the request itself is wrong, or its view needs a token that there is none of.
        TokenizationNotFound, TokenizationNotReady: the tokenization forbids it.
        ExportNotReady: the same export is just being cancelled.
    """
    request.check()
    async with tools.engine.transaction() as session:
        # Held against a deletion that would miss the new export.
        tokenization = await tokenizations.get(session, request.tokenization_id, lock=Lock.SHARED)
        require_complete(tokenization)
        folder = tools.store.epoch(Area.TOKENIZATIONS, tokenization.id, tokenization.epoch)
        await asyncio.to_thread(special_ids, folder, request.view)
        settings = ExportSettings.of(request.view, request.shuffle_seed)
        await exports.lock_identity(session, tokenization.id, settings)
        asked = _asked(tools, request)
        known = await asked.repeated(session) or await join(
            tools.engine, session, await exports.find_alive(session, tokenization.id, settings), _being_cancelled
        )
        if known:
            return await asked.remember(session, known)
        return await _start(tools, session, request, settings, tokenization)


def _asked(tools: Tools, request: ExportRequest) -> Asked[Export]:
    return Asked(tools.engine, tools.kinds.export, request.request_id, request.content(), exports.get)


def _being_cancelled(export: Export) -> MistudioError:
    same, subject = f"The same export {export.id}", f"export/{export.id}"
    return being_cancelled(ExportNotReady, same, subject, again="write it afresh")


async def _start(
    tools: Tools, session: Session, request: ExportRequest, settings: ExportSettings, tokenization: Tokenization
) -> Started[Export]:
    dataset = await datasets.get(session, tokenization.dataset_id)
    submission = await tools.engine.submit(session, _new_job(tools, request, settings, tokenization, dataset))
    if submission.joined:
        return await _asked(tools, request).of_job(session, submission.job)
    export = _new_export(tokenization.id, settings, submission.job)
    return Started(await exports.add(session, export), submission.job, joined=False)


def _new_job(
    tools: Tools, request: ExportRequest, settings: ExportSettings, tokenization: Tokenization, dataset: Dataset
) -> NewJob:
    # Without dedupe_key: equal exports meet in their row, under the lock of their identity.
    return NewJob(
        kind=tools.kinds.export,
        resource_id=new_id(),
        payload={
            "tokenization_id": str(tokenization.id),
            "tokenization_epoch": tokenization.epoch,
            "dataset": dataset.repo_id or dataset.name,
            "view": settings.view.to_json(),
            "shuffle_seed": settings.shuffle_seed,
        },
        request_id=request.request_id,
        request_content=request.content(),
    )


def _new_export(tokenization_id: UUID, settings: ExportSettings, job: Job) -> Export:
    return Export(
        id=job.resource_id,
        tokenization_id=tokenization_id,
        settings=settings,
        status=WorkStatus.QUEUED,
        epoch=0,
        sequences=0,
        short_sequences=0,
        tokens=0,
        size_bytes=0,
        error=None,
        job_id=job.id,
        create_time=job.created_at,
        update_time=job.created_at,
    )


async def get(tools: Tools, export_id: UUID) -> Export:
    """The export.

    Raises:
        ExportNotFound: no export has this id.
    """
    async with tools.database.transaction() as session:
        return await exports.get(session, export_id)


async def list_page(tools: Tools, request: PageRequest) -> Page[Export]:
    """A page of exports.

    Raises:
        InvalidFilter, InvalidOrderBy, InvalidPageToken, InvalidArgument: as the request deserves.
    """
    async with tools.database.transaction() as session:
        return await exports.list_page(session, request)


async def cancel(tools: Tools, export_id: UUID) -> Started[Export]:
    """Stop an export.

    Raises:
        ExportNotFound: no export has this id.
        JobNotCancellable: it is complete, or has failed, or was stopped before.
    """
    async with tools.engine.transaction() as session:
        # The job first, then its export: the order in which workers lock them.
        job = await tools.engine.cancel(session, (await exports.get(session, export_id)).job_id)
        return Started(await exports.get(session, export_id), job, joined=False)
