"""Bringing a dataset in from the Hub: everything that can be wrong is told before the job starts."""

from __future__ import annotations

import asyncio
import hashlib
import json
from dataclasses import dataclass, field
from typing import Any

from mistudio_datasets.domain.datasets import Dataset, DatasetStatus
from mistudio_datasets.service.hub_source import HubDataset
from mistudio_datasets.service.tools import Tools
from mistudio_datasets.store import datasets
from mistudio_hub.repository import DEFAULT_REVISION
from mistudio_jobs.joining import Asked, being_cancelled, join
from mistudio_jobs.queue import NewJob
from mistudio_jobs.started import Started
from mistudio_jobs.tables import Job
from mistudio_servicekit.database import Session, new_id
from mistudio_servicekit.errors import DatasetNotReady, InvalidArgument, MissingField, MistudioError
from mistudio_servicekit.requests import MAX_NAME, check_length, check_request_id

HUB_TOKEN = "hub_token"  # noqa: S105  # the name of the job's secret, not its value


@dataclass(frozen=True)
class DownloadRequest:
    """A dataset to bring in; see `DownloadDatasetRequest` for the meaning of each field."""

    repo_id: str
    revision: str = ""
    config: str = ""
    splits: tuple[str, ...] = ()
    hub_token: str = field(default="", repr=False)
    name: str = ""
    request_id: str = ""

    def check(self) -> None:
        """Raise `InvalidArgument` or `MissingField` unless the fields can be right."""
        if not self.repo_id:
            raise MissingField.of("repo_id", "HuggingFaceFW/fineweb")
        for name in ("repo_id", "revision", "config", "name", HUB_TOKEN):
            check_length(name, getattr(self, name), MAX_NAME)
        for number, split in enumerate(self.splits):
            if not split or split in self.splits[:number]:
                raise InvalidArgument(
                    f"splits[{number}] is {split!r}, which is empty or named twice",
                    next_step="Name each split once, or none for all",
                    field=f"splits[{number}]",
                )
        check_request_id(self.request_id)

    def content(self) -> dict[str, Any]:
        """What the request says, without its token."""
        return {
            "repo_id": self.repo_id,
            "revision": self.revision,
            "config": self.config,
            "splits": list(self.splits),
            "name": self.name,
        }


async def download(tools: Tools, request: DownloadRequest) -> Started[Dataset]:
    """Start to bring the dataset in, or join what brings or has brought the same one in.

    Raises:
        InvalidArgument, MissingField, RequestIdReused: the request itself is wrong.
        RepoNotFound, RevisionNotFound, RepoGated, HubTokenInvalid, ConfigNotFound, SplitNotFound, DatasetEmpty,
        UnsupportedFormat, MalformedFile, UnsafePath, HubUnavailable, HubRateLimited: what the Hub holds forbids it.
        DiskFull: its files do not fit.
        DatasetNotReady: its download is just being cancelled.
    """
    request.check()
    async with tools.database.transaction() as session:
        repeated = await _asked(tools, request).repeated(session)
    if repeated:
        return repeated
    wanted = request.repo_id, request.revision, request.config, request.splits
    found = await tools.hub.find(request.hub_token, *wanted)
    async with tools.engine.transaction() as session:
        return await _join_or_start(tools, session, request, found)


async def _join_or_start(
    tools: Tools, session: Session, request: DownloadRequest, found: HubDataset
) -> Started[Dataset]:
    identity = _identity(found)
    await datasets.lock_identity(session, identity)
    asked = _asked(tools, request)
    known = await asked.repeated(session) or await join(
        tools.engine, session, await datasets.find_alive(session, identity), _being_cancelled
    )
    if known:
        return await asked.remember(session, known)
    await asyncio.to_thread(tools.store.require_free, found.download_bytes, f"Downloading {found.repo.repo_id}")
    return await _start(tools, session, request, found, identity)


def _asked(tools: Tools, request: DownloadRequest) -> Asked[Dataset]:
    return Asked(tools.engine, tools.kinds.download, request.request_id, request.content(), datasets.get)


def _being_cancelled(dataset: Dataset) -> MistudioError:
    what, subject = f"The download of {dataset.repo_id!r} (dataset {dataset.id})", f"dataset/{dataset.id}"
    return being_cancelled(DatasetNotReady, what, subject, again="download it afresh")


async def _start(
    tools: Tools, session: Session, request: DownloadRequest, found: HubDataset, identity: str
) -> Started[Dataset]:
    submission = await tools.engine.submit(session, _new_job(tools, request, found))
    if submission.joined:  # the same request was sent twice at once, and its branch moved between the two lookups
        return await _asked(tools, request).of_job(session, submission.job)
    dataset = await datasets.add(session, _new_dataset(request, found, submission.job), identity)
    return Started(dataset, submission.job, joined=False)


def _identity(found: HubDataset) -> str:
    """What makes two downloads the same: repository, commit, configuration, splits."""
    facts = [found.repo.repo_id, found.repo.commit, found.plan.config, sorted(found.plan.splits)]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def _new_job(tools: Tools, request: DownloadRequest, found: HubDataset) -> NewJob:
    # Without dedupe_key: equal downloads meet in the dataset's row, under the lock of its identity.
    return NewJob(
        kind=tools.kinds.download,
        resource_id=new_id(),
        payload={
            "repo_id": found.repo.repo_id,
            "commit": found.repo.commit,
            "config": found.plan.config,
            "splits": list(found.plan.splits),
        },
        secrets={HUB_TOKEN: request.hub_token} if request.hub_token else {},
        request_id=request.request_id,
        request_content=request.content(),
    )


def _new_dataset(request: DownloadRequest, found: HubDataset, job: Job) -> Dataset:
    return Dataset(
        id=job.resource_id,
        name=request.name or found.repo.repo_id,
        status=DatasetStatus.DOWNLOADING,
        repo_id=found.repo.repo_id,
        revision=request.revision or DEFAULT_REVISION,
        commit=found.repo.commit,
        config=found.plan.config,
        splits=tuple(found.plan.splits),
        epoch=0,
        layout=None,
        size_bytes=0,
        error=None,
        job_id=job.id,
        create_time=job.created_at,
        update_time=job.created_at,
    )
