"""The turns of a job as they are written: each at once and whole, on the database's driver.

Turns are what a job costs. Building a session and its results takes five times as long as the statement itself, so a
turn is one statement, and a session is there for effects only.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import psycopg
from psycopg.rows import dict_row
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession

from mistudio_jobs.handler import JobKind
from mistudio_servicekit.database import Database

Row = dict[str, Any]
Values = Mapping[str, Any]
Cursor = psycopg.AsyncCursor[Row]

_ASK_AFTER_SECONDS = 1.0


async def execute(session: AsyncSession, statement: str, values: Values) -> list[Row]:
    """The rows of `statement` (in the driver's notation, `%(name)s`), run in the transaction of `session`.

    Raises:
        DBAPIError: the database refuses it, or does not answer.
    """
    return await _rows(await _cursor(await session.connection()), statement, values)


def committing(connection: AsyncConnection) -> Turn:
    """Turns on a connection that commits every statement (isolation level AUTOCOMMIT)."""

    async def run(statement: str, values: Values) -> list[Row]:
        return await _rows(await _cursor(connection), statement, values)

    return Turn(run, None)


@dataclass(frozen=True)
class Turn:
    """Where one turn of a job is written.

    Attributes:
        execute: runs the statement; see `execute`.
        session: of the same transaction, for the effects; None where the kind has none.
    """

    execute: Callable[[str, Values], Awaitable[list[Row]]]
    session: AsyncSession | None


class Turns:
    """Writes a worker's turns: in a transaction with their effects, or as statements that are transactions themselves.

    Args:
        database: where the jobs are.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._line = _OpenLine(database)

    @asynccontextmanager
    async def of(self, kind: JobKind) -> AsyncIterator[Turn]:
        """A turn of a job of `kind`: committed when the block ends; without effects, after every statement."""
        if not kind.has_effects:
            yield self.alone()
            return
        async with self._database.transaction() as session:
            yield Turn(partial(execute, session), session)

    def alone(self) -> Turn:
        """A turn whose every statement is committed by itself."""
        return Turn(self._line.execute, None)

    async def close(self) -> None:
        """Give the connection back."""
        await self._line.close()


class _OpenLine:
    """One connection that stays open and commits every statement, all through one cursor."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._connection: AsyncConnection | None = None
        self._cursor: Cursor | None = None
        self._used_at = 0.0
        self._busy = asyncio.Lock()

    async def execute(self, statement: str, values: Values) -> list[Row]:
        """See `execute`."""
        async with self._busy:
            cursor = await self._living()
            try:
                rows = await _rows(cursor, statement, values)
            except DBAPIError:
                await self._drop()
                raise
            self._used_at = time.monotonic()
            return rows

    async def close(self) -> None:
        """Give the connection back."""
        async with self._busy:
            await self._drop()

    async def _living(self) -> Cursor:
        """The cursor: one of a fresh connection where the last has died while nobody looked."""
        if self._cursor is not None and time.monotonic() - self._used_at > _ASK_AFTER_SECONDS:
            try:
                await _rows(self._cursor, "SELECT", {})
            except DBAPIError:
                await self._drop()
        if self._cursor is None:
            plain = await self._database.engine.connect()
            self._connection = await plain.execution_options(isolation_level="AUTOCOMMIT")
            self._cursor = await _cursor(self._connection)
        return self._cursor

    async def _drop(self) -> None:
        connection, self._connection, self._cursor = self._connection, None, None
        if connection is not None:
            await connection.invalidate()
            await connection.close()


async def _cursor(connection: AsyncConnection) -> Cursor:
    driver = (await connection.get_raw_connection()).driver_connection
    assert isinstance(driver, psycopg.AsyncConnection)
    return driver.cursor(row_factory=dict_row)


async def _rows(cursor: Cursor, statement: str, values: Values) -> list[Row]:
    """The rows of `statement`; the driver's errors as everybody here knows them."""
    try:
        await cursor.execute(statement, values)
        return await cursor.fetchall() if cursor.rownumber is not None else []
    except psycopg.Error as error:
        raise DBAPIError.instance(None, None, error, psycopg.Error) from error
