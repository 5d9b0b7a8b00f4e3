"""Who is there: every worker keeps a row of its own, with what it does and holds, and others list the fresh ones.

All times are the database's: workers' clocks do not matter.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from psycopg.types.json import Jsonb
from sqlalchemy import text
from sqlalchemy.exc import OperationalError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncSession

from mistudio_jobs.keeping import NOTHING, Kept
from mistudio_jobs.timing import Timing
from mistudio_jobs.turns import Turns, execute

log = logging.getLogger(__name__)

_LEAST_SECONDS = 0.25
"""Between two rows that tell of nothing but another job: short jobs are not told one by one."""

_WRITE = """
    INSERT INTO workers (name, pool, host, job_id, state, started_at, seen_at)
    VALUES (%(name)s, %(pool)s, %(host)s, %(job_id)s, %(state)s,
        COALESCE(%(started_at)s, clock_timestamp()), clock_timestamp())
    ON CONFLICT (name) DO UPDATE SET pool = excluded.pool, host = excluded.host, job_id = excluded.job_id,
        state = excluded.state, started_at = excluded.started_at, seen_at = excluded.seen_at
    RETURNING started_at
"""
_LEAVE = "DELETE FROM workers WHERE name = %(name)s"
_LIST = """
    SELECT name, pool, host, job_id, state, started_at, seen_at FROM workers
    WHERE seen_at > clock_timestamp() - make_interval(secs => %(silent)s) ORDER BY pool, name
"""
_PRUNE = text("DELETE FROM workers WHERE seen_at < clock_timestamp() - make_interval(days => 1)")


@dataclass(frozen=True)
class WorkerInfo:
    """A worker that is there.

    Attributes:
        name: its unique name.
        pool: the pool whose jobs it runs.
        host: where it runs.
        job_id: the job that it runs; None while it waits.
        state: what its keeper tells (`Keeper.state`); empty where it has none.
        started_at: when it started.
        seen_at: when it was last heard of.
    """

    name: str
    pool: str
    host: str
    job_id: UUID | None
    state: Mapping[str, Any]
    started_at: datetime
    seen_at: datetime


async def workers(session: AsyncSession, silent: float) -> Sequence[WorkerInfo]:
    """The workers heard of in the last `silent` seconds, by pool and name."""
    return [WorkerInfo(**row) for row in await execute(session, _LIST, {"silent": silent})]


async def prune(session: AsyncSession) -> None:
    """Delete workers that have been silent for a day."""
    await session.execute(_PRUNE)


class Presence:
    """One worker's row.

    Args:
        turns: where it is written.
        name: the worker's unique name.
        pool: its pool.
        timing: the periods.
    """

    def __init__(self, turns: Turns, name: str, pool: str, timing: Timing) -> None:
        self._turns = turns
        self._name = name
        self._pool = pool
        self._timing = timing
        self._started_at: datetime | None = None
        self._job_id: UUID | None = None
        self._kept = self._written = NOTHING
        self._news = asyncio.Event()
        self._writing = asyncio.Lock()
        self._left = False

    def runs(self, job_id: UUID | None) -> None:
        """Note the job that the worker runs; it is told soon."""
        self._job_id = job_id
        self._news.set()

    def keeps(self, kept: Kept) -> None:
        """Note what the worker's child keeps; it is told soon, or by `settle`."""
        self._kept = kept
        self._news.set()

    async def run(self) -> None:
        """Write at every beat, and when there is news, until cancelled."""
        while True:
            try:
                await self._write()
            except (SQLAlchemyError, OSError) as error:
                log.warning("The worker cannot say that it is there: %s", type(error).__name__)
            await asyncio.sleep(_LEAST_SECONDS)
            with suppress(TimeoutError):
                async with asyncio.timeout(self._timing.beat):
                    await self._news.wait()

    async def settle(self) -> None:
        """Have it written what the child keeps, if that is not what was written last.

        Raises:
            OperationalError, OSError: the database is away.
        """
        while self._written is not self._kept:
            try:
                await self._write()
            except OperationalError:
                raise
            except SQLAlchemyError:  # a state that the database does not take is no reason to hold a job back
                log.exception("What the worker keeps cannot be told")
                return

    async def leave(self) -> None:
        """Delete the row: the worker stops. What it would still tell is not written any more."""
        try:
            async with self._writing:
                self._left = True
                await self._turns.alone().execute(_LEAVE, {"name": self._name})
        except (SQLAlchemyError, OSError) as error:
            log.warning("The worker cannot say that it leaves: %s", type(error).__name__)

    async def _write(self) -> None:
        async with self._writing:
            if self._left:  # a row that is written now would tell of a worker that is gone
                self._written = self._kept
                return
            self._news.clear()
            kept = self._kept
            row: dict[str, Any] = {"name": self._name, "pool": self._pool, "host": socket.gethostname()}
            row |= {"job_id": self._job_id, "state": Jsonb(dict(kept.state)), "started_at": self._started_at}
            (written,) = await self._turns.alone().execute(_WRITE, row)
            self._started_at, self._written = written["started_at"], kept
