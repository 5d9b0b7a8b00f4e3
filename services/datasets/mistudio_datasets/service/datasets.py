"""Datasets as they are: look at them, rename them, stop them, let them go."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from mistudio_datasets.domain.datasets import Dataset
from mistudio_datasets.domain.tokenizations import Tokenization
from mistudio_datasets.service.cleanup import cleanup_payload
from mistudio_datasets.service.tools import Started, Tools
from mistudio_datasets.store import datasets, tokenizations
from mistudio_datasets.store.datasets import Lock
from mistudio_jobs.queue import NewJob
from mistudio_jobs.tables import Job
from mistudio_servicekit.database import Session
from mistudio_servicekit.errors import InvalidArgument, JobNotCancellable, MissingField, ResourceInUse
from mistudio_servicekit.pagination import Page, PageRequest
from mistudio_servicekit.requests import MAX_NAME, check_etag, check_labels, check_length, etag_of
from mistudio_servicekit.storage import Area

_CHANGEABLE = ("name", "labels")
_NAMED_USERS = 5
MAX_QUERY = 2048
"""Most characters of a filter."""


@dataclass(frozen=True)
class DatasetChange:
    """New values for a dataset; `paths` tells which of them count."""

    dataset_id: UUID
    paths: tuple[str, ...]
    name: str
    labels: Mapping[str, str]
    etag: str = ""

    def values(self) -> dict[str, object]:
        """The columns to change.

        Raises:
            MissingField: no path is given, or the name would be empty.
            InvalidArgument: a path cannot be changed, or a value is too long.
        """
        if not self.paths:
            raise MissingField.of("update_mask", "name")
        unknown = next((path for path in self.paths if path not in _CHANGEABLE), None)
        if unknown is not None:
            raise InvalidArgument(
                f"update_mask names {unknown!r}, which cannot be changed",
                next_step=f"Name {' or '.join(_CHANGEABLE)}",
                field="update_mask",
            )
        return {path: self._value(path) for path in self.paths}

    def _value(self, path: str) -> object:
        if path == "labels":
            return check_labels("dataset.labels", dict(self.labels))
        if not self.name.strip():
            raise MissingField.of("dataset.name", "Fine web sample")
        return check_length("dataset.name", self.name, MAX_NAME)


async def get(tools: Tools, dataset_id: UUID) -> Dataset:
    """The dataset.

    Raises:
        DatasetNotFound: no dataset has this id.
    """
    async with tools.database.transaction() as session:
        return await datasets.get(session, dataset_id)


async def list_page(tools: Tools, request: PageRequest) -> Page[Dataset]:
    """A page of datasets.

    Raises:
        InvalidFilter, InvalidOrderBy, InvalidPageToken, InvalidArgument: as the request deserves.
    """
    check_length("search", request.search, MAX_NAME)
    check_length("filter", request.filter, MAX_QUERY)
    async with tools.database.transaction() as session:
        return await datasets.list_page(session, request)


async def update(tools: Tools, change: DatasetChange) -> Dataset:
    """Rename or label a dataset.

    Raises:
        DatasetNotFound: no dataset has this id.
        Aborted: it has another etag.
        MissingField, InvalidArgument: as `DatasetChange.values` says.
    """
    values = change.values()
    async with tools.database.transaction() as session:
        dataset = await datasets.get(session, change.dataset_id, lock=Lock.EXCLUSIVE)
        check_etag(change.etag, etag_of(dataset.version), f"Dataset {dataset.id}")
        changed = await datasets.change(session, dataset.id, values)
        assert changed is not None, "its row is locked"
        return changed


async def cancel(tools: Tools, dataset_id: UUID) -> Started[Dataset]:
    """Stop a dataset that is on its way.

    Raises:
        DatasetNotFound: no dataset has this id.
        JobNotCancellable: it is complete, or has failed, or was stopped before.
    """
    async with tools.engine.transaction() as session:
        # The job first, then its dataset: the order in which workers lock them.
        job = await tools.engine.cancel(session, (await datasets.get(session, dataset_id)).job_id)
        return Started(await datasets.get(session, dataset_id), job, joined=False)


async def delete(tools: Tools, dataset_id: UUID, *, etag: str = "", force: bool = False) -> Job:
    """Delete a dataset, with `force` its tokenizations too; what runs for them is stopped first.

    Returns:
        the job that removes the files.

    Raises:
        DatasetNotFound: no dataset has this id.
        Aborted: it has another etag.
        ResourceInUse: tokenizations need it, and `force` is not given.
    """
    async with tools.engine.transaction() as session:
        # Jobs are locked before their resources, everywhere: the end of a job does so too.
        await stop_jobs(tools, session, [(await datasets.get(session, dataset_id)).job_id])
        dataset = await datasets.get(session, dataset_id, lock=Lock.EXCLUSIVE)
        check_etag(etag, etag_of(dataset.version), f"Dataset {dataset.id}")
        made = await tokenizations.of_dataset(session, dataset_id)
        _require_unused(dataset, [] if force else made)
        await stop_jobs(tools, session, [tokenization.job_id for tokenization in made])
        await tokenizations.remove(session, [tokenization.id for tokenization in made])
        await datasets.remove(session, dataset_id)
        return await _submit_cleanup(tools, session, dataset, made)


async def stop_jobs(tools: Tools, session: Session, job_ids: Iterable[UUID]) -> None:
    """Cancel these jobs, except those that have ended; all stay locked."""
    for job_id in job_ids:
        with contextlib.suppress(JobNotCancellable):
            await tools.engine.cancel(session, job_id)


def _require_unused(dataset: Dataset, made: Sequence[Tokenization]) -> None:
    needing = [str(tokenization.id) for tokenization in made if not tokenization.status.ended_badly]
    if not needing:
        return
    more = f" and {len(needing) - _NAMED_USERS} more" if len(needing) > _NAMED_USERS else ""
    raise ResourceInUse(
        f"Dataset {dataset.id} is needed by tokenization {', '.join(needing[:_NAMED_USERS])}{more}",
        next_step="Delete these first, or delete the dataset with force",
        metadata={"subject": f"dataset/{dataset.id}", "tokenizations": ",".join(needing[:_NAMED_USERS])},
    )


async def _submit_cleanup(tools: Tools, session: Session, dataset: Dataset, made: Sequence[Tokenization]) -> Job:
    folders = [(Area.DATASETS, dataset.id), *((Area.TOKENIZATIONS, tokenization.id) for tokenization in made)]
    new = NewJob(kind=tools.kinds.dataset_cleanup, resource_id=dataset.id, payload=cleanup_payload(folders))
    return (await tools.engine.submit(session, new)).job
