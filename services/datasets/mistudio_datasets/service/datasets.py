"""Datasets as they are: look at them, rename them, stop them, let them go."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from mistudio_datasets.domain.datasets import Dataset
from mistudio_datasets.domain.tokenizations import Tokenization
from mistudio_datasets.service.cleanup import cleanup_payload
from mistudio_datasets.service.tools import Tools
from mistudio_datasets.store import datasets, tokenizations
from mistudio_jobs.queue import NewJob
from mistudio_jobs.started import Started
from mistudio_jobs.tables import Job
from mistudio_servicekit.changes import Change
from mistudio_servicekit.database import Session
from mistudio_servicekit.errors import ResourceInUse
from mistudio_servicekit.pagination import Page, PageRequest
from mistudio_servicekit.records import Lock
from mistudio_servicekit.requests import check_etag, etag_of
from mistudio_servicekit.storage import Area

_NAMED_USERS = 5


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
    async with tools.database.transaction() as session:
        return await datasets.list_page(session, request)


async def update(tools: Tools, change: Change) -> Dataset:
    """Rename or label a dataset.

    Raises:
        DatasetNotFound: no dataset has this id.
        Aborted: it has another etag.
        MissingField, InvalidArgument: as `Change.values` says.
    """
    values = change.values()
    async with tools.database.transaction() as session:
        dataset = await datasets.get(session, change.id, lock=Lock.EXCLUSIVE)
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
        own = await tools.engine.get(session, (await datasets.get(session, dataset_id)).job_id, lock=True)
        dataset = await datasets.get(session, dataset_id, lock=Lock.EXCLUSIVE)
        # Before any cancellation: that changes the dataset itself.
        check_etag(etag, etag_of(dataset.version), f"Dataset {dataset.id}")
        made = await tokenizations.of_dataset(session, dataset_id)
        _require_unused(dataset, [] if force else made)
        await tools.engine.cancel_unended(session, [own.id, *(tokenization.job_id for tokenization in made)])
        await tokenizations.remove(session, [tokenization.id for tokenization in made])
        await datasets.remove(session, dataset_id)
        return await _submit_cleanup(tools, session, dataset, made)


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
