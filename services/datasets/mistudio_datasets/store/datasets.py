"""Datasets in the database: one function a question or change, each inside the caller's transaction."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from enum import Enum
from uuid import UUID

from sqlalchemy import delete, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from mistudio_datasets.domain.datasets import Dataset, DatasetStatus, Layout
from mistudio_datasets.store.tables import DatasetRow
from mistudio_servicekit.errors import DatasetNotFound
from mistudio_servicekit.filters import FieldParser, choice_of, conditions, parse_filter, time_value, whole_number
from mistudio_servicekit.pagination import Order, Page, PageRequest, like_pattern, page

_ENDED_BADLY = (DatasetStatus.ERROR, DatasetStatus.CANCELLED)

_FILTERS: Mapping[str, FieldParser] = {
    "status": choice_of(*DatasetStatus),
    "name": str,
    "repo_id": str,
    "rows": whole_number,
    "size_bytes": whole_number,
    "created_at": time_value,
}
_ORDERS = {
    "created_at": Order(DatasetRow.created_at, datetime),
    "name": Order(DatasetRow.name, str),
    "rows": Order(DatasetRow.rows, int),
    "size_bytes": Order(DatasetRow.size_bytes, int),
}


class Lock(Enum):
    """How a row is held until the transaction ends."""

    NONE = "none"
    SHARED = "shared"
    """Nobody changes or deletes it; others may share the lock."""
    EXCLUSIVE = "exclusive"
    """Nobody changes, deletes or locks it."""


async def add(session: AsyncSession, dataset: Dataset, identity: str | None) -> Dataset:
    """Insert `dataset` and return it with its times; `identity` is that of its download, None for an upload."""
    row = DatasetRow(
        id=dataset.id,
        name=dataset.name,
        status=dataset.status,
        identity=identity,
        repo_id=dataset.repo_id,
        revision=dataset.revision,
        commit=dataset.commit,
        config=dataset.config,
        splits=list(dataset.splits),
        labels=dict(dataset.labels),
        epoch=dataset.epoch,
        layout=None,
        rows=0,
        size_bytes=dataset.size_bytes,
        error=None,
        job_id=dataset.job_id,
        version=dataset.version,
    )
    session.add(row)
    await session.flush()
    return _dataset(row)


async def get(session: AsyncSession, dataset_id: UUID, *, lock: Lock = Lock.NONE) -> Dataset:
    """The dataset.

    Raises:
        DatasetNotFound: no dataset has this id.
    """
    found = await find(session, dataset_id, lock=lock)
    if found is None:
        raise DatasetNotFound.of(str(dataset_id))
    return found


async def find(session: AsyncSession, dataset_id: UUID, *, lock: Lock = Lock.NONE) -> Dataset | None:
    """The dataset, or None if it is gone."""
    statement = select(DatasetRow).where(DatasetRow.id == dataset_id).execution_options(populate_existing=True)
    if lock is not Lock.NONE:
        statement = statement.with_for_update(read=lock is Lock.SHARED)
    row = await session.scalar(statement)
    return None if row is None else _dataset(row)


async def find_alive(session: AsyncSession, identity: str) -> Dataset | None:
    """The dataset of this identity that is READY or on its way."""
    found = DatasetRow.identity == identity, DatasetRow.status.not_in(_ENDED_BADLY)
    row = await session.scalar(select(DatasetRow).where(*found))
    return None if row is None else _dataset(row)


async def identity_of(session: AsyncSession, dataset_id: UUID) -> str | None:
    """The identity that the dataset was added with."""
    return await session.scalar(select(DatasetRow.identity).where(DatasetRow.id == dataset_id))


async def lock_identity(session: AsyncSession, identity: str) -> None:
    """Wait for every other transaction that has locked the same identity."""
    await session.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(identity, 0))))


async def list_page(session: AsyncSession, request: PageRequest) -> Page[Dataset]:
    """A page of datasets by search, filter and order; see `ListDatasetsRequest`.

    Raises:
        InvalidFilter, InvalidOrderBy, InvalidPageToken, InvalidArgument: as the request deserves.
    """
    terms = parse_filter(request.filter, _FILTERS)
    statement = select(DatasetRow).where(*conditions(terms, {name: getattr(DatasetRow, name) for name in _FILTERS}))
    if request.search:
        statement = statement.where(DatasetRow.search_text.like(func.lower(like_pattern(request.search))))
    found = await page(session, statement, request, orders=_ORDERS, key=DatasetRow.id)
    return Page([_dataset(row) for row in found.rows], found.next_page_token, found.total_size)


async def change(session: AsyncSession, dataset_id: UUID, values: Mapping[str, object]) -> Dataset | None:
    """Set columns by name, and the version and time with them; None if the dataset is gone."""
    row = await session.scalar(
        update(DatasetRow)
        .where(DatasetRow.id == dataset_id)
        .values(**values, version=DatasetRow.version + 1, updated_at=func.clock_timestamp())
        .returning(DatasetRow)
        .execution_options(populate_existing=True)
    )
    return None if row is None else _dataset(row)


async def remove(session: AsyncSession, dataset_id: UUID) -> None:
    """Delete the row; its tokenizations must be gone."""
    await session.execute(delete(DatasetRow).where(DatasetRow.id == dataset_id))


async def named_folders(session: AsyncSession) -> set[tuple[UUID, int]]:
    """Dataset and epoch of every folder that counts."""
    rows = await session.execute(select(DatasetRow.id, DatasetRow.epoch).where(DatasetRow.epoch > 0))
    return {(row.id, row.epoch) for row in rows}


def _dataset(row: DatasetRow) -> Dataset:
    return Dataset(
        id=row.id,
        name=row.name,
        status=DatasetStatus(row.status),
        repo_id=row.repo_id,
        revision=row.revision,
        commit=row.commit,
        config=row.config,
        splits=tuple(row.splits),
        epoch=row.epoch,
        layout=None if row.layout is None else Layout.from_json(row.layout),
        size_bytes=row.size_bytes,
        error=row.error,
        labels=row.labels,
        job_id=row.job_id,
        create_time=row.created_at,
        update_time=row.updated_at,
        version=row.version,
    )
