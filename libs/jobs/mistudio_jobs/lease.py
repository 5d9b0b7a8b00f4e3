"""Keeping the lease of a claimed job, and noticing when it is lost or the job is cancelled."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import suppress

from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from sqlalchemy.exc import SQLAlchemyError

from mistudio_jobs import claims
from mistudio_jobs.claims import Claim, Snapshot
from mistudio_jobs.states import JobState
from mistudio_jobs.timing import Timing
from mistudio_servicekit.database import Database

log = logging.getLogger(__name__)


class Lease:
    """One claim's lease on the database's clock, and the doorbell's on JetStream's.

    Args:
        database: where the job is.
        held: the claim.
        doorbell: its message.
        timing: the periods.
        snapshot: gives the progress to keep with a renewal, and is told with `kept` when it is.
        on_change: called once the lease is lost or the job is being cancelled.
    """

    def __init__(
        self,
        database: Database,
        held: Claim,
        doorbell: Msg,
        timing: Timing,
        snapshot: Callable[[], Snapshot | None],
        on_change: Callable[[], None],
    ) -> None:
        self.lost = False
        self.cancelling = False
        self._database = database
        self._held = held
        self._doorbell = doorbell
        self._timing = timing
        self._snapshot = snapshot
        self._on_change = on_change
        self._renewed_at = time.monotonic()
        self._woken = asyncio.Event()

    def wake(self) -> None:
        """Renew now, because there may be news of the job."""
        self._woken.set()

    def lose(self) -> None:
        """Give the job up: another worker may have it."""
        if not self.lost:
            self.lost = True
            self._on_change()

    async def keep(self) -> None:
        """Renew until the lease is lost, or this is cancelled."""
        while not self.lost:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._timing.renew):
                    await self._woken.wait()
            self._woken.clear()
            await self._renew_in_time()
            with suppress(NatsError):
                await self._doorbell.in_progress()

    async def held(self) -> bool:
        """Ask the database whether the job is still this worker's.

        Raises:
            SQLAlchemyError: it does not answer.
        """
        await self._renew()
        return not self.lost

    async def _renew_in_time(self) -> None:
        """Renew, or give up once the last renewal is too long ago: then another worker may be about to take the job."""
        renewal = asyncio.create_task(self._renew())
        left = self._renewed_at + self._timing.self_kill - time.monotonic()
        done, _ = await asyncio.wait({renewal}, timeout=max(0.0, left))
        if not done:
            # Not awaited: a connection to a silent database may take long to give up as well.
            renewal.cancel()
            log.warning("Job %s is given up: its lease could not be renewed", self._held.job.id)
            self.lose()
        elif error := renewal.exception():
            if not isinstance(error, SQLAlchemyError | OSError):
                raise error
            log.warning("The lease of job %s is not renewed: %s", self._held.job.id, type(error).__name__)
            await asyncio.sleep(self._timing.renew / 8)
            self.wake()

    async def _renew(self) -> None:
        asked_at, snapshot = time.monotonic(), self._snapshot()
        async with self._database.transaction() as session:
            state = await claims.renew(session, self._held, self._timing.lease, snapshot)
        self._renewed_at = max(self._renewed_at, asked_at)
        if state is None:
            self.lose()
        elif state is JobState.CANCELLING and not self.cancelling:
            self.cancelling = True
            self._on_change()
