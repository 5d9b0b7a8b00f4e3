"""Bringing models in from the Hub, and stopping that."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from uuid import UUID

from mistudio_hub.repository import DEFAULT_REVISION
from mistudio_jobs.queue import NewJob
from mistudio_jobs.started import Started
from mistudio_jobs.tables import Job
from mistudio_models.domain.models import Model, ModelStatus
from mistudio_models.service.hub_source import HubModel
from mistudio_models.service.inspection import check_source
from mistudio_models.service.tools import Tools
from mistudio_models.store import models
from mistudio_servicekit.database import Session, new_id
from mistudio_servicekit.errors import EntryNotFound, ModelNotReady
from mistudio_servicekit.requests import MAX_NAME, check_length, check_request_id

HUB_TOKEN = "hub_token"  # noqa: S105  # the name of a secret, no password


@dataclass(frozen=True)
class DownloadRequest:
    """A model that somebody wants; see `mistudio.models.v2.DownloadModelRequest` for the meaning of each field."""

    repo_id: str
    revision: str = ""
    hub_token: str = field(default="", repr=False)
    name: str = ""
    request_id: str = ""

    @property
    def content(self) -> dict[str, str]:
        """What the same `request_id` must always say; the token is no part of it."""
        return {"repo_id": self.repo_id, "revision": self.revision, "name": self.name}

    def check(self) -> None:
        """Raise `InvalidArgument` or `MissingField` if it can never be right."""
        check_source(self.repo_id, self.revision, self.hub_token)
        check_length("name", self.name, MAX_NAME)
        check_request_id(self.request_id)


async def download(tools: Tools, request: DownloadRequest) -> Started[Model]:
    """Start to bring a model in; the same model that is here or on its way is joined.

    Raises:
        MissingField, InvalidArgument: the request can never be right.
        RequestIdReused: its request_id was used for other content.
        RepoNotFound, RevisionNotFound, RepoGated, HubTokenInvalid, MalformedFile, HubUnavailable, HubRateLimited: as
            the Hub answers.
        EntryNotFound: the repository is empty.
        DiskFull: its files do not fit.
        ModelNotReady: its download is just being cancelled.
    """
    request.check()
    async with tools.database.transaction() as session:
        repeated = await _repeated(tools, session, request)
    if repeated:
        return repeated
    found = await tools.hub.find(request.hub_token, request.repo_id, request.revision)
    if found.access_problem:
        raise found.access_problem
    if not found.selected:
        raise _nothing_to_download(found)
    async with tools.engine.transaction() as session:
        return await _join_or_start(tools, session, request, found)


def _nothing_to_download(found: HubModel) -> EntryNotFound:
    return EntryNotFound(
        f"The model repository {found.repo.repo_id!r} holds no files at commit {found.repo.commit}",
        next_step="Choose a revision that holds a model",
        field="revision",
        metadata={"id": found.repo.repo_id},
    )


async def _join_or_start(tools: Tools, session: Session, request: DownloadRequest, found: HubModel) -> Started[Model]:
    await models.lock_identity(session, found.repo.repo_id, found.repo.commit)
    known = await _repeated(tools, session, request) or await _alive(tools, session, found)
    if known:
        kind, content = tools.kinds.download, request.content
        await tools.engine.remember_request(session, kind, request.request_id, content, known.job)
        return known
    await asyncio.to_thread(tools.store.require_free, found.download_bytes, f"Downloading {found.repo.repo_id}")
    return await _start(tools, session, request, found)


async def _repeated(tools: Tools, session: Session, request: DownloadRequest) -> Started[Model] | None:
    """What the same request_id started before."""
    job = await tools.engine.find_request(session, tools.kinds.download, request.request_id, request.content)
    return await _of_job(session, job) if job else None


async def _of_job(session: Session, job: Job) -> Started[Model]:
    return Started(await models.get(session, job.resource_id), job, joined=True)


async def _alive(tools: Tools, session: Session, found: HubModel) -> Started[Model] | None:
    model = await models.find_alive(session, found.repo.repo_id, found.repo.commit)
    if model is None:
        return None
    job = await tools.engine.get(session, model.job_id)
    if job.cancel_requested_at and model.status is ModelStatus.DOWNLOADING:
        raise ModelNotReady(
            f"The download of {model.repo_id!r} (model {model.id}) is just being cancelled",
            next_step="Repeat the call in a second to download it afresh",
            retry_after_seconds=1.0,
            metadata={"subject": f"model/{model.id}"},
        )
    return Started(model, job, joined=True)


async def _start(tools: Tools, session: Session, request: DownloadRequest, found: HubModel) -> Started[Model]:
    # Without dedupe_key: equal downloads meet in the model's row, under the lock of its identity.
    new = NewJob(
        kind=tools.kinds.download,
        resource_id=new_id(),
        payload={"repo_id": found.repo.repo_id, "commit": found.repo.commit},
        secrets={HUB_TOKEN: request.hub_token} if request.hub_token else {},
        request_id=request.request_id,
        request_content=request.content,
    )
    submission = await tools.engine.submit(session, new)
    job = submission.job
    if submission.joined:  # the same request was sent twice at once, and its branch moved between the two lookups
        return await _of_job(session, job)
    return Started(await models.add(session, _new_model(job, request, found)), job, joined=False)


def _new_model(job: Job, request: DownloadRequest, found: HubModel) -> Model:
    assert found.facts is not None, "files that may be read have facts"
    return Model(
        id=job.resource_id,
        name=request.name or found.repo.repo_id,
        status=ModelStatus.DOWNLOADING,
        repo_id=found.repo.repo_id,
        revision=request.revision or DEFAULT_REVISION,
        commit=found.repo.commit,
        facts=found.facts,
        epoch=0,
        size_bytes=0,
        error=None,
        job_id=job.id,
        create_time=job.created_at,
        update_time=job.created_at,
    )


async def cancel(tools: Tools, model_id: UUID) -> Started[Model]:
    """Stop a model's download.

    Raises:
        ModelNotFound: no model has this id.
        JobNotCancellable: its download has ended.
    """
    async with tools.engine.transaction() as session:
        job_id = (await models.get(session, model_id)).job_id
        # The job first, then its model: the order in which workers lock them.
        job = await tools.engine.cancel(session, job_id)
        return Started(await models.get(session, model_id), job, joined=False)
