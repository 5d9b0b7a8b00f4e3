"""Bringing models in from the Hub, and stopping that."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from mistudio_hub.repository import DEFAULT_REVISION
from mistudio_jobs.joining import Asked, being_cancelled, join
from mistudio_jobs.queue import NewJob
from mistudio_jobs.started import Started
from mistudio_jobs.tables import Job
from mistudio_models.domain.models import Model, ModelFacts, ModelStatus
from mistudio_models.domain.weights import LoadSettings
from mistudio_models.service.hub_source import HubModel, check_source
from mistudio_models.service.load_settings import check_for_files, check_settings
from mistudio_models.service.models import DEFAULT_SETTINGS
from mistudio_models.service.selection import ALLOW_PICKLE, EVERYTHING, FilePatterns, require_no_pickles
from mistudio_models.service.tools import Tools
from mistudio_models.store import models
from mistudio_servicekit.database import Session, new_id
from mistudio_servicekit.errors import EntryNotFound, MistudioError, ModelNotReady
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
    patterns: FilePatterns = EVERYTHING
    allow_pickle: bool = False
    default_settings: LoadSettings = field(default_factory=LoadSettings)

    @property
    def content(self) -> dict[str, Any]:
        """What the same `request_id` must always say; the token is no part of it."""
        said: dict[str, Any] = {"repo_id": self.repo_id, "revision": self.revision, "name": self.name}
        # What is not said is left out: requests of releases that did not know it stay the same.
        said |= self.patterns.to_json()
        if self.allow_pickle:
            said[ALLOW_PICKLE] = True
        if self.default_settings != LoadSettings():
            said[DEFAULT_SETTINGS] = self.default_settings.to_json()
        return said

    def check(self) -> None:
        """Raise `InvalidArgument` or `MissingField` if it can never be right."""
        check_source(self.repo_id, self.revision, self.hub_token)
        check_length("name", self.name, MAX_NAME)
        check_request_id(self.request_id)
        self.patterns.check()
        check_settings(DEFAULT_SETTINGS, self.default_settings)


async def download(tools: Tools, request: DownloadRequest) -> Started[Model]:
    """Start to bring a model in; the same model that is here or on its way is joined.

    Raises:
        MissingField, InvalidArgument: the request can never be right, or not for these files.
        RequestIdReused: its request_id was used for other content.
        RepoNotFound, RevisionNotFound, RepoGated, HubTokenInvalid, MalformedFile, HubUnavailable, HubRateLimited: as
            the Hub answers.
        EntryNotFound: the repository is empty.
        PickleRefused: pickles would be brought in, which the request or the operator does not allow.
        DiskFull: its files do not fit.
        ModelNotReady: its download is just being cancelled.
    """
    request.check()
    async with tools.database.transaction() as session:
        repeated = await _asked(tools, request).repeated(session)
    if repeated:
        return repeated
    found = await tools.hub.find(request.hub_token, request.repo_id, request.revision, request.patterns)
    if found.access_problem:
        raise found.access_problem
    if not found.selected:
        raise _nothing_to_download(found)
    allowed = {"requested": request.allow_pickle, "permitted": tools.policy.allow_pickle}
    require_no_pickles(found.selected, repo_id=found.repo.repo_id, **allowed)
    check_for_files(DEFAULT_SETTINGS, request.default_settings, _facts(found).quantization)
    async with tools.engine.transaction() as session:
        return await _join_or_start(tools, session, request, found)


def not_applied(request: DownloadRequest, started: Started[Model]) -> Sequence[str]:
    """Fields of a request whose wish the model that it joined does not have, and does not get."""
    if not started.joined:
        return []
    model, fields = started.resource, []
    if request.name and request.name != model.name:
        fields.append("name")
    if request.default_settings not in (LoadSettings(), model.default_settings):
        fields.append(DEFAULT_SETTINGS)
    return fields


def _nothing_to_download(found: HubModel) -> EntryNotFound:
    return EntryNotFound(
        f"The model repository {found.repo.repo_id!r} holds no files at commit {found.repo.commit}",
        next_step="Choose a revision that holds a model",
        field="revision",
        metadata={"id": found.repo.repo_id},
    )


async def _join_or_start(tools: Tools, session: Session, request: DownloadRequest, found: HubModel) -> Started[Model]:
    identity = found.repo.repo_id, found.repo.commit, request.patterns.selection
    await models.lock_identity(session, *identity)
    asked = _asked(tools, request)
    known = await asked.repeated(session) or await join(
        tools.engine, session, await models.find_alive(session, *identity), _being_cancelled
    )
    if known:
        return await asked.remember(session, known)
    await asyncio.to_thread(tools.store.require_free, found.download_bytes, f"Downloading {found.repo.repo_id}")
    return await _start(tools, session, request, found)


def _asked(tools: Tools, request: DownloadRequest) -> Asked[Model]:
    return Asked(tools.engine, tools.kinds.download, request.request_id, request.content, models.get)


def _being_cancelled(model: Model) -> MistudioError:
    what, subject = f"The download of {model.repo_id!r} (model {model.id})", f"model/{model.id}"
    return being_cancelled(ModelNotReady, what, subject, again="download it afresh")


async def _start(tools: Tools, session: Session, request: DownloadRequest, found: HubModel) -> Started[Model]:
    # Without dedupe_key: equal downloads meet in the model's row, under the lock of its identity.
    new = NewJob(
        kind=tools.kinds.download,
        resource_id=new_id(),
        payload=_payload(tools, request, found),
        secrets={HUB_TOKEN: request.hub_token} if request.hub_token else {},
        request_id=request.request_id,
        request_content=request.content,
    )
    submission = await tools.engine.submit(session, new)
    job = submission.job
    if submission.joined:  # the same request was sent twice at once, and its branch moved between the two lookups
        return await _asked(tools, request).of_job(session, job)
    return Started(await models.add(session, _new_model(job, request, found)), job, joined=False)


def _payload(tools: Tools, request: DownloadRequest, found: HubModel) -> dict[str, Any]:
    """What the job works by, each of its attempts alike."""
    source = {"repo_id": found.repo.repo_id, "commit": found.repo.commit}
    allowed = request.allow_pickle and tools.policy.allow_pickle
    return {**source, **request.patterns.to_json(), ALLOW_PICKLE: allowed}


def _facts(found: HubModel) -> ModelFacts:
    assert found.facts is not None, "files that may be read have facts"
    return found.facts


def _new_model(job: Job, request: DownloadRequest, found: HubModel) -> Model:
    return Model(
        id=job.resource_id,
        name=request.name or found.repo.repo_id,
        status=ModelStatus.DOWNLOADING,
        repo_id=found.repo.repo_id,
        revision=request.revision or DEFAULT_REVISION,
        commit=found.repo.commit,
        facts=_facts(found),
        epoch=0,
        size_bytes=0,
        error=None,
        allow_patterns=request.patterns.allow,
        deny_patterns=request.patterns.deny,
        default_settings=request.default_settings,
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
