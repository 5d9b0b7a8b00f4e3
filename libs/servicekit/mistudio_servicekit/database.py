"""Database sessions that are confined to one schema, and the migrations of that schema."""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeAlias
from uuid import UUID

import psycopg
import uuid_utils
from alembic import command
from alembic.config import Config
from sqlalchemy import Engine, event, text
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DataError, InterfaceError, InvalidatePoolError, OperationalError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.pool import ConnectionPoolEntry, PoolProxiedConnection

from mistudio_servicekit.connecting import Connector
from mistudio_servicekit.errors import InvalidArgument, Unavailable
from mistudio_servicekit.translation import typed

log = logging.getLogger(__name__)

Session: TypeAlias = AsyncSession
"""A session inside a transaction, for code that only hands it on."""

DatabaseError: TypeAlias = SQLAlchemyError
"""Whatever a transaction fails with for the database's sake, for code that goes on all the same."""

_IDLE_SINCE = "idle since"
_ASK_AFTER_SECONDS = 1.0


def new_id() -> UUID:
    """A fresh UUID v7: ids sort by the time of their making."""
    return UUID(bytes=uuid_utils.uuid7().bytes)


class Database:
    """One schema of a Postgres database.

    Args:
        url: `postgresql+psycopg://role:password@host:port/database`.
        schema: the schema that unqualified table names mean.
        pool_size: most connections kept open.
    """

    def __init__(self, url: str, schema: str, *, pool_size: int = 10) -> None:
        self.url = url
        self.schema = schema
        self._connector = Connector()
        self.engine = create_async_engine(
            url,
            pool_size=pool_size,
            max_overflow=pool_size,
            connect_args={
                "options": f"-c search_path={schema} -c timezone=UTC",
                "connect_timeout": 5,
                "async_creator_fn": self._connector.connect,
            },
        )
        _ask_idle(self.engine.sync_engine)
        self._sessions = async_sessionmaker(self.engine, expire_on_commit=False)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncSession]:
        """A session in one transaction: committed when the block ends, rolled back when it raises."""
        async with self._sessions() as session, session.begin():
            yield session

    async def ping(self) -> None:
        """Raise unless the database answers."""
        async with self.engine.connect() as connection:
            await connection.execute(text("SELECT 1"))

    async def close(self) -> None:
        """Close all connections."""
        await self._connector.close()
        await self.engine.dispose()


def _ask_idle(engine: Engine) -> None:
    """Have a connection asked whether it still lives when it is taken from the pool after it was idle for a while.

    SQLAlchemy's own `pool_pre_ping` asks every time, which costs every transaction a round trip.
    """

    def note_idle(connection: object, record: ConnectionPoolEntry) -> None:
        record.info[_IDLE_SINCE] = time.monotonic()

    def ask(connection: DBAPIConnection, record: ConnectionPoolEntry, fairy: PoolProxiedConnection) -> None:
        if time.monotonic() - record.info.get(_IDLE_SINCE, time.monotonic()) < _ASK_AFTER_SECONDS:
            return
        try:
            engine.dialect.do_ping(connection)
        except psycopg.Error as error:
            raise InvalidatePoolError from error

    event.listen(engine, "checkin", note_idle)
    event.listen(engine, "checkout", ask)


def migrate(url: str, schema: str, version_folders: Sequence[Path], revision: str = "heads") -> None:
    """Bring `schema` to `revision` (or back, for a relative one like `<branch>@-1`).

    Args:
        url: as for `Database`.
        schema: schema to migrate; it must exist and belong to the role.
        version_folders: folders with Alembic versions, one independent branch each.
        revision: target in Alembic's notation; `base` and lower targets go down.
    """
    config = _alembic(url, schema, version_folders)
    down = revision == "base" or revision.endswith("base") or "-" in revision
    (command.downgrade if down else command.upgrade)(config, revision)


def _alembic(url: str, schema: str, version_folders: Sequence[Path]) -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "alembic"))
    config.set_main_option("path_separator", "newline")
    config.set_main_option("version_locations", "\n".join(str(folder) for folder in version_folders))
    config.attributes["url"] = url
    config.attributes["schema"] = schema
    return config


@typed.register(OperationalError)
@typed.register(InterfaceError)
def _away(error: OperationalError | InterfaceError) -> Unavailable:
    log.warning("database unavailable", exc_info=error)
    return Unavailable("The database cannot be reached", next_step="Try again in a few seconds")


@typed.register
def _out_of_range(error: DataError) -> InvalidArgument:
    log.info("a value is out of the database's range", exc_info=error)
    return InvalidArgument("A value of the request is out of range", next_step="Use smaller numbers or a fresh token")
