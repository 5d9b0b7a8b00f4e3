"""What queued jobs wait for: how many are before them, and who is there to run them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from mistudio_jobs.tables import Job
from mistudio_jobs.turns import execute

# Each job counts those between the page's job before it and itself, and the counts are summed up: the queue is read
# once for the whole page.
_WAITS = """
    WITH asked AS (
        SELECT id, pool, created_at, lag(created_at) OVER (PARTITION BY pool ORDER BY created_at) AS previous
        FROM jobs WHERE id = ANY(%(ids)s) AND state = 'QUEUED'
    ), counted AS (
        SELECT a.*, (
            SELECT count(*) FROM jobs j
            WHERE j.state = 'QUEUED' AND j.pool = a.pool AND j.created_at < a.created_at
                AND j.created_at >= COALESCE(a.previous, '-infinity')) AS added
        FROM asked a
    )
    SELECT id, pool, (sum(added) OVER (PARTITION BY pool ORDER BY created_at))::int8 AS ahead FROM counted
"""


@dataclass(frozen=True)
class Wait:
    """What a queued job waits for.

    Attributes:
        pool: the pool that is to run it.
        ahead: queued jobs of the pool that were there before it.
        workers: workers of the pool that are there.
    """

    pool: str
    ahead: int
    workers: int

    @property
    def reason(self) -> str:
        """The same in words."""
        if self.workers == 0:
            others = f"; {self.ahead:,} ahead" if self.ahead else ""
            return f"no {self.pool} worker is there, start one{others}"
        if self.ahead == 0:
            return f"next in line for a {self.pool} worker"
        return f"waiting for a {self.pool} worker, {self.ahead:,} ahead"


async def waits(session: AsyncSession, queued: Sequence[Job], workers: Mapping[str, int]) -> Mapping[UUID, Wait]:
    """What queued jobs wait for, by their ids; those that a worker has taken meanwhile are left out.

    Args:
        session: of their database.
        queued: one, or a page of them.
        workers: how many are there, by pool; a pool without any may be left out.
    """
    rows = await execute(session, _WAITS, {"ids": [job.id for job in queued]})
    return {row["id"]: Wait(row["pool"], row["ahead"], workers.get(row["pool"], 0)) for row in rows}
