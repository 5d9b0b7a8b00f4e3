"""Rows of resources: what their tables have in common, and how one is found, locked and changed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from enum import Enum
from typing import Any, TypeVar
from uuid import UUID

from sqlalchemy import BigInteger, ColumnElement, DateTime, Text, Uuid, any_, func, literal, select, update
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import Mapped, mapped_column

from mistudio_servicekit.database import Session

COLUMN_TYPES: Mapping[Any, Any] = {
    datetime: DateTime(timezone=True),
    dict[str, Any]: JSONB(none_as_null=True),
    list[str]: JSONB,
    str: Text,
    int: BigInteger,
}
"""The `type_annotation_map` of a service's tables."""


class ResourceRow:
    """Columns of every resource that a job makes: a mixin for tables.

    `epoch` names the folder in the store that counts, 0 none. `error` is an error record
    (`MistudioError.to_record`). `version` grows with every change.
    """

    id: Mapped[UUID] = mapped_column(primary_key=True)
    status: Mapped[str]
    epoch: Mapped[int]
    size_bytes: Mapped[int]
    error: Mapped[dict[str, Any] | None]
    job_id: Mapped[UUID]
    version: Mapped[int]
    created_at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())
    updated_at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())


Row = TypeVar("Row", bound=ResourceRow)


class Lock(Enum):
    """How a row is held until the transaction ends."""

    NONE = "none"
    SHARED = "shared"
    """Nobody changes or deletes it; others may share the lock."""
    EXCLUSIVE = "exclusive"
    """Nobody changes, deletes or locks it."""


def among(column: Any, ids: Iterable[UUID]) -> ColumnElement[bool]:
    """Whether the column holds one of `ids`: one parameter however many they are, where `in_` takes one for each."""
    condition: ColumnElement[bool] = column == any_(literal(list(ids), ARRAY(Uuid)))
    return condition


async def find(session: Session, table: type[Row], row_id: UUID, lock: Lock = Lock.NONE) -> Row | None:
    """The row as it is now, or None if it is gone."""
    # What the session saw of it before may be stale.
    statement = select(table).where(table.id == row_id).execution_options(populate_existing=True)
    if lock is not Lock.NONE:
        statement = statement.with_for_update(read=lock is Lock.SHARED)
    return await session.scalar(statement)


async def lock_all(session: Session, table: type[Row], row_ids: Iterable[UUID]) -> Sequence[Row]:
    """Those of the rows that are not gone, held exclusively: locked in the order of their ids, which is theirs here."""
    wanted = select(table).where(among(table.id, row_ids)).order_by(table.id).with_for_update()
    return (await session.scalars(wanted.execution_options(populate_existing=True))).all()


async def change(session: Session, table: type[Row], row_id: UUID, values: Mapping[str, object]) -> Row | None:
    """Set columns by name, and the version and time with them; None if the row is gone."""
    return await session.scalar(
        update(table)
        .where(table.id == row_id)
        .values(**values, version=table.version + 1, updated_at=func.clock_timestamp())
        .returning(table)
        .execution_options(populate_existing=True)
    )


async def lock_identity(session: Session, identity: str) -> None:
    """Wait for every other transaction that has locked the same identity."""
    await session.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(identity, 0))))


async def named_folders(session: Session, table: type[Row]) -> set[tuple[UUID, int]]:
    """Resource and epoch of every folder that counts."""
    rows = await session.execute(select(table.id, table.epoch).where(table.epoch > 0))
    return {(row_id, epoch) for row_id, epoch in rows}
