"""The scheduler: brings back jobs that nobody would otherwise look at again. Any number of replicas may run it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from contextlib import suppress

from nats.errors import Error as NatsError
from nats.js import JetStreamContext
from sqlalchemy import ARRAY, Select, Uuid, all_, func, literal, select, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncSession

from mistudio_jobs import folders, outbox, presence, queue, streams
from mistudio_jobs.handler import JobKind
from mistudio_jobs.relay import Relay
from mistudio_jobs.states import HELD, JobState, Outcome
from mistudio_jobs.tables import Job
from mistudio_jobs.timing import Timing
from mistudio_servicekit.database import Database
from mistudio_servicekit.errors import MistudioError, WorkerLost
from mistudio_servicekit.storage import Store

log = logging.getLogger(__name__)

_BATCH = 100
_PUBLISHED_KEPT_SECONDS = 3600.0
_PRUNE_HISTORY = text("DELETE FROM job_progress WHERE at < now() - make_interval(days => 90)")


class Scheduler:
    """Looks after the jobs of one service.

    Args:
        database: where they are.
        kinds: their kinds.
        store: where their folders are.
        js: where their doorbells are.
        service: whose jobs.
        relay: is told of new rows in the outbox.
        timing: its periods.
    """

    def __init__(
        self,
        database: Database,
        kinds: Sequence[JobKind],
        store: Store,
        js: JetStreamContext,
        service: str,
        relay: Relay,
        timing: Timing,
    ) -> None:
        self._database = database
        self._kinds = kinds
        self._store = store
        self._js = js
        self._service = service
        self._relay = relay
        self._timing = timing

    async def run(self) -> None:
        """Look after them until cancelled."""
        while True:
            for chore in (self.end_lost, self.queue_due, self.ring_again, self.prune):
                try:
                    await chore()
                except (SQLAlchemyError, NatsError, TimeoutError, OSError) as error:
                    log.warning("The scheduler could not %s: %s", chore.__name__, type(error).__name__)
            await asyncio.sleep(self._timing.schedule)

    async def end_lost(self) -> None:
        """Queue jobs whose lease has run out; fail those without attempts left, cancel those to be cancelled."""
        async with self._database.transaction() as session:
            expired = Job.lease_until < func.clock_timestamp()
            jobs = await self._some(session, self._jobs(*HELD).where(expired))
            for job in jobs:
                await self._end_lost(session, job)
        for job in jobs:
            if job.job_state.terminal:
                await self._remove_folders(job)
        await self._nudge(jobs)

    async def _end_lost(self, session: AsyncSession, job: Job) -> None:
        kind = queue.kind_of(self._kinds, job)
        error = lost_worker(job)
        await queue.close_attempt(session, job, Outcome.LOST, error.to_record())
        if job.state == JobState.CANCELLING:
            await queue.end_cancelled(session, kind, job)
            return
        job.error = error.to_record()
        if job.attempt < job.max_attempts:
            await queue.requeue(session, job)
            await kind.effects.requeued(session, job)
        else:
            await queue.end_failed(session, kind, job)

    async def _remove_folders(self, job: Job) -> None:
        async with self._database.transaction() as session:
            epochs = [attempt.epoch for attempt in await queue.attempts(session, job.id)]
        kind = queue.kind_of(self._kinds, job)
        with suppress(OSError):  # what is left is the sweeper's
            await asyncio.to_thread(folders.remove, self._store, kind, job, epochs)

    async def queue_due(self) -> None:
        """Queue jobs whose wait for another attempt is over."""
        async with self._database.transaction() as session:
            due = self._jobs(JobState.RETRY_WAIT).where(Job.available_at <= func.clock_timestamp())
            jobs = await self._some(session, due)
            for job in jobs:
                await queue.requeue(session, job)
        await self._nudge(jobs)

    async def ring_again(self) -> None:
        """Dispatch queued jobs whose doorbell is lost: they have none though they were dispatched a while ago."""
        before = func.clock_timestamp() - func.make_interval(0, 0, 0, 0, 0, 0, self._timing.dispatch)
        async with self._database.transaction() as session:
            silent = self._jobs(JobState.QUEUED).where(Job.dispatched_at < before)
            if await session.scalar(silent.with_only_columns(Job.id).limit(1)) is None:
                return
            rung = await streams.doorbells(self._js, self._service)
            jobs = await self._some(session, silent.where(Job.id != all_(literal(list(rung), ARRAY(Uuid)))))
            for job in jobs:
                await queue.dispatch_again(session, job)
        await self._nudge(jobs)

    async def prune(self) -> None:
        """Delete published rows of the outbox after an hour, silent workers after a day, progress after 90 days."""
        async with self._database.transaction() as session:
            await outbox.prune(session, _PUBLISHED_KEPT_SECONDS)
            await presence.prune(session)
            await session.execute(_PRUNE_HISTORY)

    def _jobs(self, *states: JobState) -> Select[Job]:
        names = [kind.name for kind in self._kinds]
        return select(Job).where(Job.state.in_(states), Job.kind.in_(names))

    async def _some(self, session: AsyncSession, query: Select[Job]) -> Sequence[Job]:
        locked = query.order_by(Job.id).limit(_BATCH).with_for_update(skip_locked=True)
        return (await session.scalars(locked)).all()

    async def _nudge(self, changed: Sequence[Job]) -> None:
        with suppress(NatsError, OSError):
            if changed:
                await self._relay.nudge()


def lost_worker(job: Job) -> MistudioError:
    """The error of an attempt whose worker fell silent."""
    return WorkerLost(
        f"Worker {job.lease_owner} died or fell silent in attempt {job.attempt} of job {job.id}",
        next_step="Look at the worker's log; it is tried again by itself while attempts are left",
        metadata={"worker": str(job.lease_owner)},
    )
