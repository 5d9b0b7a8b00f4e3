"""Exports in the database: one function a question or change, each inside the caller's transaction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import delete, select

from mistudio_datasets.domain.exports import Export, ExportSettings
from mistudio_datasets.domain.status import ENDED_BADLY, WorkStatus
from mistudio_datasets.domain.views import View
from mistudio_datasets.store.tables import ExportRow
from mistudio_servicekit import records
from mistudio_servicekit.database import Session
from mistudio_servicekit.errors import ExportNotFound
from mistudio_servicekit.filters import choice_of, time_value, uuid_value, whole_number
from mistudio_servicekit.listing import Listing
from mistudio_servicekit.pagination import Order, Page, PageRequest
from mistudio_servicekit.records import Lock

_LISTING = Listing(
    ExportRow,
    filters={
        "status": choice_of(*WorkStatus),
        "tokenization_id": uuid_value,
        "sequences": whole_number,
        "tokens": whole_number,
        "size_bytes": whole_number,
        "created_at": time_value,
    },
    orders={
        "created_at": Order(ExportRow.created_at, datetime),
        "tokens": Order(ExportRow.tokens, int),
        "size_bytes": Order(ExportRow.size_bytes, int),
    },
)


async def add(session: Session, export: Export) -> Export:
    """Insert `export` and return it with its times."""
    row = ExportRow(
        id=export.id,
        tokenization_id=export.tokenization_id,
        view=export.settings.view.to_json(),
        view_digest=export.settings.digest(),
        shuffle_seed=export.settings.shuffle_seed,
        status=export.status,
        epoch=0,
        sequences=0,
        short_sequences=0,
        tokens=0,
        size_bytes=0,
        error=None,
        job_id=export.job_id,
        version=export.version,
    )
    session.add(row)
    await session.flush()
    return _export(row)


async def get(session: Session, export_id: UUID, *, lock: Lock = Lock.NONE) -> Export:
    """The export.

    Raises:
        ExportNotFound: no export has this id.
    """
    found = await find(session, export_id, lock=lock)
    if found is None:
        raise ExportNotFound.of(str(export_id))
    return found


async def find(session: Session, export_id: UUID, *, lock: Lock = Lock.NONE) -> Export | None:
    """The export, or None if it is gone."""
    row = await records.find(session, ExportRow, export_id, lock)
    return None if row is None else _export(row)


async def find_alive(session: Session, tokenization_id: UUID, settings: ExportSettings) -> Export | None:
    """The export of this tokenization and these settings that is READY or on its way."""
    row = await session.scalar(
        select(ExportRow).where(
            ExportRow.tokenization_id == tokenization_id,
            ExportRow.view_digest == settings.digest(),
            ExportRow.status.not_in(ENDED_BADLY),
        )
    )
    return None if row is None else _export(row)


async def of_tokenizations(session: Session, tokenization_ids: Sequence[UUID]) -> Sequence[Export]:
    """Every export of the tokenizations, oldest first, however it ended."""
    statement = select(ExportRow).where(records.among(ExportRow.tokenization_id, tokenization_ids))
    return [_export(row) for row in await session.scalars(statement.order_by(ExportRow.id))]


async def lock_identity(session: Session, tokenization_id: UUID, settings: ExportSettings) -> None:
    """Wait for every other transaction that has locked the same tokenization and settings."""
    await records.lock_identity(session, f"export {tokenization_id} {settings.digest()}")


async def list_page(session: Session, request: PageRequest) -> Page[Export]:
    """A page of exports by filter and order; see `ListExportsRequest`.

    Raises:
        InvalidFilter, InvalidOrderBy, InvalidPageToken, InvalidArgument: as the request deserves.
    """
    return (await _LISTING.page(session, request)).of(_export)


async def change(session: Session, export_id: UUID, values: Mapping[str, object]) -> Export | None:
    """Set columns by name, and the version and time with them; None if the export is gone."""
    row = await records.change(session, ExportRow, export_id, values)
    return None if row is None else _export(row)


async def remove(session: Session, export_ids: Sequence[UUID]) -> None:
    """Delete the rows."""
    await session.execute(delete(ExportRow).where(records.among(ExportRow.id, export_ids)))


def _export(row: ExportRow) -> Export:
    return Export(
        id=row.id,
        tokenization_id=row.tokenization_id,
        settings=ExportSettings(View.from_json(row.view), row.shuffle_seed),
        status=WorkStatus(row.status),
        epoch=row.epoch,
        sequences=row.sequences,
        short_sequences=row.short_sequences,
        tokens=row.tokens,
        size_bytes=row.size_bytes,
        error=row.error,
        job_id=row.job_id,
        create_time=row.created_at,
        update_time=row.updated_at,
        version=row.version,
    )
