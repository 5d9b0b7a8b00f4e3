"""Derived data in the database: one function a question or change, each inside the caller's transaction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from uuid import UUID

from sqlalchemy import delete, select

from mistudio_datasets.domain.derived import Derived, DerivedKind
from mistudio_datasets.domain.status import ENDED_BADLY, WorkStatus
from mistudio_datasets.store.tables import DerivedRow
from mistudio_servicekit import records
from mistudio_servicekit.database import Session
from mistudio_servicekit.records import Lock


async def add(session: Session, derived: Derived) -> Derived:
    """Insert `derived` and return it with its times."""
    row = DerivedRow(
        id=derived.id,
        dataset_id=derived.dataset_id,
        kind=derived.kind,
        status=derived.status,
        epoch=0,
        size_bytes=0,
        error=None,
        job_id=derived.job_id,
        version=derived.version,
    )
    session.add(row)
    await session.flush()
    return _derived(row)


async def find(session: Session, derived_id: UUID, *, lock: Lock = Lock.NONE) -> Derived | None:
    """The derived data, or None if it is gone."""
    row = await records.find(session, DerivedRow, derived_id, lock)
    return None if row is None else _derived(row)


async def find_alive(session: Session, dataset_id: UUID, kind: DerivedKind) -> Derived | None:
    """The derived data of this dataset and kind that is READY or on its way."""
    row = await session.scalar(
        select(DerivedRow).where(
            DerivedRow.dataset_id == dataset_id,
            DerivedRow.kind == kind,
            DerivedRow.status.not_in(ENDED_BADLY),
        )
    )
    return None if row is None else _derived(row)


async def find_latest(session: Session, dataset_id: UUID, kind: DerivedKind) -> Derived | None:
    """The derived data of this dataset and kind that was asked for last, however it ended."""
    made = (await latest_of(session, [dataset_id])).get(dataset_id, ())
    return next((derived for derived in made if derived.kind is kind), None)


async def latest_of(session: Session, dataset_ids: Sequence[UUID]) -> Mapping[UUID, Sequence[Derived]]:
    """The derived data of each kind that was asked for last, by dataset; datasets without any are left out."""
    statement = (
        select(DerivedRow)
        .where(records.among(DerivedRow.dataset_id, dataset_ids))
        .order_by(DerivedRow.dataset_id, DerivedRow.kind, DerivedRow.id.desc())
        .distinct(DerivedRow.dataset_id, DerivedRow.kind)
    )
    found: dict[UUID, list[Derived]] = {}
    for row in await session.scalars(statement):
        found.setdefault(row.dataset_id, []).append(_derived(row))
    return found


async def of_datasets(session: Session, dataset_ids: Sequence[UUID]) -> Sequence[Derived]:
    """Everything that was ever derived from these datasets, oldest first."""
    statement = select(DerivedRow).where(records.among(DerivedRow.dataset_id, dataset_ids))
    return [_derived(row) for row in await session.scalars(statement.order_by(DerivedRow.id))]


async def lock_identity(session: Session, dataset_id: UUID, kind: DerivedKind) -> None:
    """Wait for every other transaction that has locked the same dataset and kind."""
    await records.lock_identity(session, f"{dataset_id} {kind}")


async def change(session: Session, derived_id: UUID, values: Mapping[str, object]) -> Derived | None:
    """Set columns by name, and the version and time with them; None if the derived data is gone."""
    row = await records.change(session, DerivedRow, derived_id, values)
    return None if row is None else _derived(row)


async def remove(session: Session, derived_ids: Sequence[UUID]) -> None:
    """Delete the rows."""
    await session.execute(delete(DerivedRow).where(records.among(DerivedRow.id, derived_ids)))


def _derived(row: DerivedRow) -> Derived:
    return Derived(
        id=row.id,
        dataset_id=row.dataset_id,
        kind=DerivedKind(row.kind),
        status=WorkStatus(row.status),
        epoch=row.epoch,
        size_bytes=row.size_bytes,
        error=row.error,
        job_id=row.job_id,
        create_time=row.created_at,
        update_time=row.updated_at,
        version=row.version,
    )
