"""Datasets in the database: one function a question or change, each inside the caller's transaction."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from uuid import UUID

from sqlalchemy import cast, delete, func, select
from sqlalchemy.dialects.postgresql import JSONB, JSONPATH, array
from sqlalchemy.orm import defer, with_expression

from mistudio_datasets.domain.datasets import LISTED_COLUMNS, Dataset, DatasetStatus, Layout
from mistudio_datasets.store.tables import DatasetRow
from mistudio_servicekit import records
from mistudio_servicekit.database import Session
from mistudio_servicekit.errors import DatasetNotFound
from mistudio_servicekit.filters import TextByKey, choice_of, time_value, whole_number
from mistudio_servicekit.listing import Listing
from mistudio_servicekit.pagination import Order, Page, PageRequest
from mistudio_servicekit.records import Lock

_ENDED_BADLY = (DatasetStatus.ERROR, DatasetStatus.CANCELLED)

_FIRST_COLUMNS = func.jsonb_path_query_array(
    DatasetRow.layout, cast(f"$.columns[0 to {LISTED_COLUMNS - 1}]", JSONPATH), type_=JSONB
)
_LISTED_LAYOUT = func.jsonb_set(DatasetRow.layout, array(["columns"]), _FIRST_COLUMNS, type_=JSONB)
_MORE_COLUMNS = func.greatest(func.jsonb_array_length(DatasetRow.layout["columns"]) - LISTED_COLUMNS, 0)

_LISTING = Listing(
    DatasetRow,
    filters={
        "status": choice_of(*DatasetStatus),
        "name": str,
        "repo_id": str,
        "rows": whole_number,
        "size_bytes": whole_number,
        "created_at": time_value,
        "labels": TextByKey(),
    },
    orders={
        "created_at": Order(DatasetRow.created_at, datetime),
        "name": Order(DatasetRow.name, str),
        "rows": Order(DatasetRow.rows, int),
        "size_bytes": Order(DatasetRow.size_bytes, int),
    },
    searched=DatasetRow.search_text,
    options=(
        defer(DatasetRow.layout, raiseload=True),
        with_expression(DatasetRow.listed_layout, _LISTED_LAYOUT),
        with_expression(DatasetRow.more_columns, _MORE_COLUMNS),
    ),
)


async def add(session: Session, dataset: Dataset, identity: str | None) -> Dataset:
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


async def get(session: Session, dataset_id: UUID, *, lock: Lock = Lock.NONE) -> Dataset:
    """The dataset.

    Raises:
        DatasetNotFound: no dataset has this id.
    """
    found = await find(session, dataset_id, lock=lock)
    if found is None:
        raise DatasetNotFound.of(str(dataset_id))
    return found


async def find(session: Session, dataset_id: UUID, *, lock: Lock = Lock.NONE) -> Dataset | None:
    """The dataset, or None if it is gone."""
    row = await records.find(session, DatasetRow, dataset_id, lock)
    return None if row is None else _dataset(row)


async def job_ids(session: Session, dataset_ids: Iterable[UUID]) -> Sequence[UUID]:
    """The jobs that bring or brought these datasets in."""
    return (await session.scalars(select(DatasetRow.job_id).where(records.among(DatasetRow.id, dataset_ids)))).all()


async def lock_all(session: Session, dataset_ids: Iterable[UUID]) -> Sequence[Dataset]:
    """Those of the datasets that are not gone, held exclusively, by id."""
    return [_dataset(row) for row in await records.lock_all(session, DatasetRow, dataset_ids)]


async def find_alive(session: Session, identity: str) -> Dataset | None:
    """The dataset of this identity that is READY or on its way."""
    found = DatasetRow.identity == identity, DatasetRow.status.not_in(_ENDED_BADLY)
    row = await session.scalar(select(DatasetRow).where(*found))
    return None if row is None else _dataset(row)


async def identity_of(session: Session, dataset_id: UUID) -> str | None:
    """The identity that the dataset was added with."""
    return await session.scalar(select(DatasetRow.identity).where(DatasetRow.id == dataset_id))


async def lock_identity(session: Session, identity: str) -> None:
    """Wait for every other transaction that has locked the same identity."""
    await records.lock_identity(session, identity)


async def list_page(session: Session, request: PageRequest) -> Page[Dataset]:
    """A page of datasets by search, filter and order; see `ListDatasetsRequest`. Only their first columns are read.

    Raises:
        InvalidFilter, InvalidOrderBy, InvalidPageToken, InvalidArgument: as the request deserves.
    """
    return (await _LISTING.page(session, request)).of(_listed)


async def change(session: Session, dataset_id: UUID, values: Mapping[str, object]) -> Dataset | None:
    """Set columns by name, and the version and time with them; None if the dataset is gone."""
    row = await records.change(session, DatasetRow, dataset_id, values)
    return None if row is None else _dataset(row)


async def remove(session: Session, dataset_ids: Iterable[UUID]) -> None:
    """Delete the rows; their tokenizations and derived data must be gone."""
    await session.execute(delete(DatasetRow).where(records.among(DatasetRow.id, dataset_ids)))


def _dataset(row: DatasetRow) -> Dataset:
    return _with_layout(row, None if row.layout is None else Layout.from_json(row.layout))


def _listed(row: DatasetRow) -> Dataset:
    if row.listed_layout is None:
        return _with_layout(row, None)
    return _with_layout(row, replace(Layout.from_json(row.listed_layout), more_columns=row.more_columns or 0))


def _with_layout(row: DatasetRow, layout: Layout | None) -> Dataset:
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
        layout=layout,
        size_bytes=row.size_bytes,
        error=row.error,
        labels=row.labels,
        job_id=row.job_id,
        create_time=row.created_at,
        update_time=row.updated_at,
        version=row.version,
    )
