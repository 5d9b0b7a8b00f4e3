"""Bytes in the store by dataset, summed up in the database."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from uuid import UUID

from sqlalchemy import ScalarSelect, Select, func, select

from mistudio_datasets.domain.disk_use import DiskUse
from mistudio_datasets.store.tables import DatasetRow, DerivedRow, ExportRow, TokenizationRow
from mistudio_servicekit.database import Session
from mistudio_servicekit.records import among


async def of_datasets(session: Session, dataset_ids: Sequence[UUID]) -> Mapping[UUID, DiskUse]:
    """What each of these datasets and all that was made of it take, by one query; those that are gone are left out."""
    derived = select(func.sum(DerivedRow.size_bytes)).where(DerivedRow.dataset_id == DatasetRow.id)
    made = select(func.sum(TokenizationRow.size_bytes)).where(TokenizationRow.dataset_id == DatasetRow.id)
    written = (
        select(func.sum(ExportRow.size_bytes))
        .join(TokenizationRow, TokenizationRow.id == ExportRow.tokenization_id)
        .where(TokenizationRow.dataset_id == DatasetRow.id)
    )
    statement = select(DatasetRow.id, DatasetRow.size_bytes, _sum(derived), _sum(made), _sum(written))
    rows = await session.execute(statement.where(among(DatasetRow.id, dataset_ids)))
    # A sum of whole numbers comes as a decimal.
    return {dataset_id: DiskUse(*(int(each or 0) for each in sums)) for dataset_id, *sums in rows}


def _sum(statement: Select[int]) -> ScalarSelect[int]:
    return statement.correlate(DatasetRow).scalar_subquery()
