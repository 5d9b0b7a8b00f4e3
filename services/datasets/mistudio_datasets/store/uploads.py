"""Uploads in the database: one function a question or change, each inside the caller's transaction."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID

from sqlalchemy import delete, func, select, update

from mistudio_datasets.domain.datasets import DataFormat
from mistudio_datasets.domain.uploads import Segment, Upload
from mistudio_datasets.store.tables import UploadRow
from mistudio_servicekit import records
from mistudio_servicekit.database import Session

_UNEXPIRED = UploadRow.expires_at > func.now()


async def lock(session: Session, request_id: str) -> None:
    """Wait for every other transaction that is about to begin the same upload, or to go on with it."""
    await records.lock_identity(session, f"upload {request_id}")


async def find(session: Session, request_id: str) -> Upload | None:
    """The upload as it is now, or None if none was begun or it has expired."""
    found = UploadRow.request_id == request_id, _UNEXPIRED
    row = await session.scalar(select(UploadRow).where(*found).execution_options(populate_existing=True))
    return None if row is None else _upload(row)


async def put(session: Session, upload: Upload, lifetime: timedelta) -> None:
    """Write `upload` in place of whatever had its request_id; it expires after `lifetime`."""
    await session.execute(delete(UploadRow).where(UploadRow.request_id == upload.request_id))
    row = UploadRow(
        request_id=upload.request_id,
        file_name=upload.file_name,
        name=upload.name,
        format=upload.format.value if upload.format else "",
        writer=upload.writer,
        expires_at=func.now() + lifetime,
    )
    for column, value in _progress(upload).items():
        setattr(row, column, value)
    session.add(row)
    await session.flush()


async def note(session: Session, upload: Upload, lifetime: timedelta) -> bool:
    """Write how far `upload` is, unless another stream than its writer goes on with it by now; whether it did."""
    own = UploadRow.request_id == upload.request_id, UploadRow.writer == upload.writer, ~UploadRow.complete
    values = {**_progress(upload), "expires_at": func.now() + lifetime}
    return await session.scalar(update(UploadRow).where(*own).values(values).returning(UploadRow.writer)) is not None


async def remove(session: Session, upload: Upload) -> bool:
    """Delete the row of `upload`, unless another stream than its writer goes on with it; whether it did."""
    own = UploadRow.request_id == upload.request_id, UploadRow.writer == upload.writer
    return await session.scalar(delete(UploadRow).where(*own).returning(UploadRow.writer)) is not None


async def remove_expired(session: Session) -> Sequence[UUID]:
    """Delete every row that has expired; the datasets that those of them would have been that are incomplete."""
    gone = delete(UploadRow).where(~_UNEXPIRED).returning(UploadRow.dataset_id, UploadRow.complete)
    return [dataset_id for dataset_id, complete in await session.execute(gone) if not complete]


async def unfinished(session: Session) -> Sequence[UUID]:
    """The datasets that incomplete uploads will be."""
    query = select(UploadRow.dataset_id).where(~UploadRow.complete, _UNEXPIRED)
    return (await session.scalars(query)).all()


def _progress(upload: Upload) -> dict[str, object]:
    return {
        "dataset_id": upload.dataset_id,
        "size_bytes": upload.size_bytes,
        "received_bytes": upload.received_bytes,
        "segments": [[segment.name, segment.size_bytes] for segment in upload.segments],
        "digest": upload.digest,
        "complete": upload.complete,
    }


def _upload(row: UploadRow) -> Upload:
    return Upload(
        request_id=row.request_id,
        dataset_id=row.dataset_id,
        file_name=row.file_name,
        name=row.name,
        format=DataFormat(row.format) if row.format else None,
        size_bytes=row.size_bytes,
        segments=tuple(Segment(name, size) for name, size in row.segments),
        digest=row.digest,
        writer=row.writer,
        complete=row.complete,
        expires_at=row.expires_at,
    )
