"""Tokenizations in the database: one function a question or change, each inside the caller's transaction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from uuid import UUID

from sqlalchemy import delete, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from mistudio_datasets.domain.statistics import TokenizationStatistics
from mistudio_datasets.domain.tokenizations import Tokenization, TokenizationSettings, TokenizationStatus
from mistudio_datasets.store.tables import TokenizationRow
from mistudio_servicekit.errors import TokenizationNotFound
from mistudio_servicekit.filters import (
    FieldParser,
    choice_of,
    conditions,
    parse_filter,
    time_value,
    uuid_value,
    whole_number,
)
from mistudio_servicekit.pagination import Order, Page, PageRequest, page

_ENDED_BADLY = (TokenizationStatus.ERROR, TokenizationStatus.CANCELLED)

_FILTERS: Mapping[str, FieldParser] = {
    "status": choice_of(*TokenizationStatus),
    "dataset_id": uuid_value,
    "model_id": uuid_value,
    "tokens": whole_number,
    "created_at": time_value,
}
_ORDERS = {
    "created_at": Order(TokenizationRow.created_at, datetime),
    "tokens": Order(TokenizationRow.tokens, int),
}


async def add(session: AsyncSession, tokenization: Tokenization) -> Tokenization:
    """Insert `tokenization` and return it with its times."""
    row = TokenizationRow(
        id=tokenization.id,
        dataset_id=tokenization.dataset_id,
        model_id=tokenization.model_id,
        settings=asdict(tokenization.settings),
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


async def get(session: AsyncSession, tokenization_id: UUID, *, lock: bool = False) -> Tokenization:
    """The tokenization; with `lock` nobody else changes it until the transaction ends.

    Raises:
        TokenizationNotFound: no tokenization has this id.
    """
    found = await find(session, tokenization_id, lock=lock)
    if found is None:
        raise TokenizationNotFound.of(str(tokenization_id))
    return found


async def find(session: AsyncSession, tokenization_id: UUID, *, lock: bool = False) -> Tokenization | None:
    """The tokenization, or None if it is gone; with `lock` nobody else changes it until the transaction ends."""
    statement = select(TokenizationRow).where(TokenizationRow.id == tokenization_id)
    statement = statement.execution_options(populate_existing=True)
    row = await session.scalar(statement.with_for_update() if lock else statement)
    return None if row is None else _tokenization(row)


async def find_alive(
    session: AsyncSession, dataset_id: UUID, model_id: UUID, settings: TokenizationSettings
) -> Tokenization | None:
    """The tokenization of this dataset, model and settings that is READY or on its way."""
    row = await session.scalar(
        select(TokenizationRow).where(
            TokenizationRow.dataset_id == dataset_id,
            TokenizationRow.model_id == model_id,
            TokenizationRow.settings_digest == settings.digest(),
            TokenizationRow.status.not_in(_ENDED_BADLY),
        )
    )
    return None if row is None else _tokenization(row)


async def of_dataset(session: AsyncSession, dataset_id: UUID) -> Sequence[Tokenization]:
    """Every tokenization of the dataset, oldest first."""
    statement = select(TokenizationRow).where(TokenizationRow.dataset_id == dataset_id)
    rows = await session.scalars(statement.order_by(TokenizationRow.id))
    return [_tokenization(row) for row in rows]


async def statistics(session: AsyncSession, tokenization_id: UUID) -> TokenizationStatistics | None:
    """The figures kept with the tokenization; None unless it is READY."""
    kept = await session.scalar(select(TokenizationRow.statistics).where(TokenizationRow.id == tokenization_id))
    return None if kept is None else TokenizationStatistics.from_json(kept)


async def lock_identity(
    session: AsyncSession, dataset_id: UUID, model_id: UUID, settings: TokenizationSettings
) -> None:
    """Wait for every other transaction that has locked the same dataset, model and settings."""
    identity = f"{dataset_id} {model_id} {settings.digest()}"
    await session.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(identity, 0))))


async def list_page(session: AsyncSession, request: PageRequest) -> Page[Tokenization]:
    """A page of tokenizations by filter and order; see `ListTokenizationsRequest`.

    Raises:
        InvalidFilter, InvalidOrderBy, InvalidPageToken, InvalidArgument: as the request deserves.
    """
    terms = parse_filter(request.filter, _FILTERS)
    columns = {name: getattr(TokenizationRow, name) for name in _FILTERS}
    statement = select(TokenizationRow).where(*conditions(terms, columns))
    found = await page(session, statement, request, orders=_ORDERS, key=TokenizationRow.id)
    return Page([_tokenization(row) for row in found.rows], found.next_page_token, found.total_size)


async def change(session: AsyncSession, tokenization_id: UUID, values: Mapping[str, object]) -> Tokenization | None:
    """Set columns by name, and the version and time with them; None if the tokenization is gone."""
    row = await session.scalar(
        update(TokenizationRow)
        .where(TokenizationRow.id == tokenization_id)
        .values(**values, version=TokenizationRow.version + 1, updated_at=func.clock_timestamp())
        .returning(TokenizationRow)
        .execution_options(populate_existing=True)
    )
    return None if row is None else _tokenization(row)


async def remove(session: AsyncSession, tokenization_ids: Sequence[UUID]) -> None:
    """Delete the rows."""
    await session.execute(delete(TokenizationRow).where(TokenizationRow.id.in_(tokenization_ids)))


async def named_folders(session: AsyncSession) -> set[tuple[UUID, int]]:
    """Tokenization and epoch of every folder that counts."""
    rows = await session.execute(select(TokenizationRow.id, TokenizationRow.epoch).where(TokenizationRow.epoch > 0))
    return {(row.id, row.epoch) for row in rows}


def _tokenization(row: TokenizationRow) -> Tokenization:
    return Tokenization(
        id=row.id,
        dataset_id=row.dataset_id,
        model_id=row.model_id,
        settings=TokenizationSettings.from_json(row.settings),
        status=TokenizationStatus(row.status),
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
        version=row.version,
    )
