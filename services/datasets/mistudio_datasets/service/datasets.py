"""Datasets as they are: look at them, rename them, stop them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from operator import attrgetter
from uuid import UUID

from mistudio_datasets.domain.datasets import Dataset
from mistudio_datasets.domain.derived import Derived
from mistudio_datasets.domain.disk_use import DiskUse
from mistudio_datasets.service.tools import Tools
from mistudio_datasets.store import datasets, derived, disk_use
from mistudio_jobs.started import Started
from mistudio_servicekit.changes import Change
from mistudio_servicekit.database import Session
from mistudio_servicekit.page_bytes import page_with_labels
from mistudio_servicekit.pagination import Page, PageRequest
from mistudio_servicekit.records import Lock
from mistudio_servicekit.requests import check_etag, etag_of


@dataclass(frozen=True)
class Overview:
    """A dataset with what it takes in the store and what is derived from it: of each kind the latest."""

    dataset: Dataset
    disk_use: DiskUse
    derived: Sequence[Derived]


async def overview(tools: Tools, dataset: Dataset) -> Overview:
    """The dataset as it was found by another use case, with what belongs to it."""
    async with tools.database.transaction() as session:
        return await _overview(session, dataset)


async def get(tools: Tools, dataset_id: UUID) -> Dataset:
    """The dataset.

    Raises:
        DatasetNotFound: no dataset has this id.
    """
    async with tools.database.transaction() as session:
        return await datasets.get(session, dataset_id)


async def describe(tools: Tools, dataset_id: UUID) -> Overview:
    """The dataset with what belongs to it.

    Raises:
        DatasetNotFound: no dataset has this id.
    """
    async with tools.database.transaction() as session:
        return await _overview(session, await datasets.get(session, dataset_id))


async def list_page(tools: Tools, request: PageRequest) -> Page[Overview]:
    """A page of datasets, with fewer of them where they have very many labels.

    Raises:
        InvalidFilter, InvalidOrderBy, InvalidPageToken, InvalidArgument: as the request deserves.
    """
    async with tools.database.transaction() as session:
        found = await page_with_labels(partial(datasets.list_page, session), request, attrgetter("labels"))
        return Page(await overviews(session, found.rows), found.next_page_token, found.total_size)


async def update(tools: Tools, change: Change) -> Overview:
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
        return await _overview(session, changed)


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


async def _overview(session: Session, dataset: Dataset) -> Overview:
    (only,) = await overviews(session, [dataset])
    return only


async def overviews(session: Session, found: Sequence[Dataset]) -> list[Overview]:
    """These datasets with what belongs to them; two more queries, however many they are."""
    ids = [dataset.id for dataset in found]
    uses, made = await disk_use.of_datasets(session, ids), await derived.latest_of(session, ids)
    return [Overview(dataset, uses.get(dataset.id, DiskUse()), made.get(dataset.id, ())) for dataset in found]
