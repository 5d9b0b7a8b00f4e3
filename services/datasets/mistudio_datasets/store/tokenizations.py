"""Tokenizations in the database: one function a question or change, each inside the caller's transaction."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import delete, select

from mistudio_datasets.domain.statistics import TokenizationStatistics
from mistudio_datasets.domain.status import ENDED_BADLY, WorkStatus
from mistudio_datasets.domain.tokenizations import Tokenization, TokenizationSettings
from mistudio_datasets.store.tables import TokenizationRow
from mistudio_servicekit import records
from mistudio_servicekit.database import Session
from mistudio_servicekit.errors import TokenizationNotFound
from mistudio_servicekit.filters import choice_of, time_value, uuid_value, whole_number, yes_or_no
from mistudio_servicekit.listing import Listing
from mistudio_servicekit.pagination import Order, Page, PageRequest
from mistudio_servicekit.records import Lock

_LISTING = Listing(
    TokenizationRow,
    filters={
        "status": choice_of(*WorkStatus),
        "dataset_id": uuid_value,
        "model_id": uuid_value,
        "tokens": whole_number,
        "documents": whole_number,
        "size_bytes": whole_number,
        "engine": str,
        "model_deleted": yes_or_no,
        "created_at": time_value,
    },
    orders={
        "created_at": Order(TokenizationRow.created_at, datetime),
        "tokens": Order(TokenizationRow.tokens, int),
        "documents": Order(TokenizationRow.documents, int),
        "size_bytes": Order(TokenizationRow.size_bytes, int),
    },
)


async def add(session: Session, tokenization: Tokenization) -> Tokenization:
    """Insert `tokenization` and return it with its times."""
    row = TokenizationRow(
        id=tokenization.id,
        dataset_id=tokenization.dataset_id,
        model_id=tokenization.model_id,
        settings=tokenization.settings.to_json(),
        settings_digest=tokenization.settings.digest(),
        status=tokenization.status,
        epoch=0,
        documents=0,
        tokens=0,
        size_bytes=0,
        engine="",
        tokenizer_sha256="",
        statistics=None,
        error=None,
        job_id=tokenization.job_id,
        version=tokenization.version,
    )
    session.add(row)
    await session.flush()
    return _tokenization(row)


async def get(session: Session, tokenization_id: UUID, *, lock: Lock = Lock.NONE) -> Tokenization:
    """The tokenization.

    Raises:
        TokenizationNotFound: no tokenization has this id.
    """
    found = await find(session, tokenization_id, lock=lock)
    if found is None:
        raise TokenizationNotFound.of(str(tokenization_id))
    return found


async def find(session: Session, tokenization_id: UUID, *, lock: Lock = Lock.NONE) -> Tokenization | None:
    """The tokenization, or None if it is gone."""
    row = await records.find(session, TokenizationRow, tokenization_id, lock)
    return None if row is None else _tokenization(row)


async def find_alive(
    session: Session, dataset_id: UUID, model_id: UUID, settings: TokenizationSettings
) -> Tokenization | None:
    """The tokenization of this dataset, model and settings that is READY or on its way."""
    row = await session.scalar(
        select(TokenizationRow).where(
            TokenizationRow.dataset_id == dataset_id,
            TokenizationRow.model_id == model_id,
            TokenizationRow.settings_digest == settings.digest(),
            TokenizationRow.status.not_in(ENDED_BADLY),
        )
    )
    return None if row is None else _tokenization(row)


async def lock_all(session: Session, tokenization_ids: Iterable[UUID]) -> Sequence[Tokenization]:
    """Those of the tokenizations that are not gone, held exclusively, by id."""
    return [_tokenization(row) for row in await records.lock_all(session, TokenizationRow, tokenization_ids)]


async def of_datasets(session: Session, dataset_ids: Iterable[UUID]) -> Sequence[Tokenization]:
    """Every tokenization of the datasets, oldest first."""
    statement = select(TokenizationRow).where(records.among(TokenizationRow.dataset_id, dataset_ids))
    rows = await session.scalars(statement.order_by(TokenizationRow.id))
    return [_tokenization(row) for row in rows]


async def statistics(session: Session, tokenization_id: UUID) -> TokenizationStatistics | None:
    """The figures kept with the tokenization; None unless it is READY."""
    kept = await session.scalar(select(TokenizationRow.statistics).where(TokenizationRow.id == tokenization_id))
    return None if kept is None else TokenizationStatistics.from_json(kept)


async def lock_identity(session: Session, dataset_id: UUID, model_id: UUID, settings: TokenizationSettings) -> None:
    """Wait for every other transaction that has locked the same dataset, model and settings."""
    await records.lock_identity(session, f"{dataset_id} {model_id} {settings.digest()}")


async def list_page(session: Session, request: PageRequest) -> Page[Tokenization]:
    """A page of tokenizations by filter and order; see `ListTokenizationsRequest`.

    Raises:
        InvalidFilter, InvalidOrderBy, InvalidPageToken, InvalidArgument: as the request deserves.
    """
    return (await _LISTING.page(session, request)).of(_tokenization)


async def change(session: Session, tokenization_id: UUID, values: Mapping[str, object]) -> Tokenization | None:
    """Set columns by name, and the version and time with them; None if the tokenization is gone."""
    row = await records.change(session, TokenizationRow, tokenization_id, values)
    return None if row is None else _tokenization(row)


async def unmarked_models(session: Session) -> Sequence[UUID]:
    """The models of all tokenizations, except those that are known to be deleted."""
    wanted = select(TokenizationRow.model_id).where(TokenizationRow.model_deleted_at.is_(None)).distinct()
    return (await session.scalars(wanted)).all()


async def mark_model_deleted(session: Session, model_id: UUID, at: datetime) -> int:
    """Note on every tokenization of the model that it is gone since `at`, unless noted before; how many are new."""
    wanted = TokenizationRow.model_id == model_id, TokenizationRow.model_deleted_at.is_(None)
    ids = (await session.scalars(select(TokenizationRow.id).where(*wanted))).all()
    # Locked in the order in which deletions of datasets lock them.
    rows = await records.lock_all(session, TokenizationRow, ids)
    fresh = [row.id for row in rows if row.model_deleted_at is None]
    for tokenization_id in fresh:
        await change(session, tokenization_id, {"model_deleted_at": at})
    return len(fresh)


async def remove(session: Session, tokenization_ids: Sequence[UUID]) -> None:
    """Delete the rows."""
    await session.execute(delete(TokenizationRow).where(records.among(TokenizationRow.id, tokenization_ids)))


def _tokenization(row: TokenizationRow) -> Tokenization:
    return Tokenization(
        id=row.id,
        dataset_id=row.dataset_id,
        model_id=row.model_id,
        settings=TokenizationSettings.from_json(row.settings),
        status=WorkStatus(row.status),
        epoch=row.epoch,
        documents=row.documents,
        tokens=row.tokens,
        size_bytes=row.size_bytes,
        engine=row.engine,
        tokenizer_sha256=row.tokenizer_sha256,
        error=row.error,
        job_id=row.job_id,
        create_time=row.created_at,
        update_time=row.updated_at,
        model_delete_time=row.model_deleted_at,
        version=row.version,
    )
