"""The engine as a service uses it: jobs within its own transactions, and the background work that keeps them going."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any
from uuid import UUID

from nats.aio.client import Client
from nats.errors import Error as NatsError
from sqlalchemy.ext.asyncio import AsyncSession

from mistudio_jobs import (
    abandoning,
    commands,
    events,
    folders,
    outbox,
    presence,
    queue,
    requests,
    streams,
    tasks,
    waiting,
)
from mistudio_jobs.handler import JobKind
from mistudio_jobs.presence import WorkerInfo
from mistudio_jobs.publishing import PublishError
from mistudio_jobs.queue import NewJob, Submission
from mistudio_jobs.reaching import Reach
from mistudio_jobs.relay import Relay
from mistudio_jobs.scheduler import Scheduler
from mistudio_jobs.secrets import SecretKeys
from mistudio_jobs.states import JobState
from mistudio_jobs.sweeper import NamedFolders, Sweeper
from mistudio_jobs.tables import Job
from mistudio_jobs.timing import Timing
from mistudio_jobs.waiting import Wait
from mistudio_servicekit.database import Database
from mistudio_servicekit.errors import JobNotCancellable, Unavailable
from mistudio_servicekit.storage import Store

log = logging.getLogger(__name__)

_CANCELLED = "jobs cancelled in this transaction"


class JobEngine:
    """The jobs of one service.

    Use cases submit, cancel and retry inside `transaction`, together with their own rows:

        async with engine.transaction() as session:
            submission = await engine.submit(session, NewJob(...))
            if not submission.joined:
                session.add(...)

    When the block has committed, the relay is told, and so are the workers of cancelled jobs.

    Args:
        database: the service's schema, migrated with `MIGRATIONS`.
        nats_url: the NATS server.
        service: the service's name, the first part of its kinds' names.
        kinds: all its kinds of job.
        keys: seal the jobs' secrets.
        store: the shared store.
        named_folders: tells the sweeper which folders count.
        timing: the periods.
    """

    def __init__(
        self,
        database: Database,
        nats_url: str,
        service: str,
        kinds: Sequence[JobKind],
        keys: SecretKeys,
        store: Store,
        named_folders: NamedFolders,
        timing: Timing | None = None,
    ) -> None:
        self.service = service
        self.kinds = list(kinds)
        self.database = database
        self._nats_url = nats_url
        self._keys = keys
        self._store = store
        self._named_folders = named_folders
        self._timing = timing or Timing()
        self._nats: Client | None = None
        self._reach: Reach | None = None
        self._relay: Relay | None = None
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Connect, declare the streams, and start relay, scheduler and sweeper. Waits until NATS answers."""
        self._nats = await streams.connect(self._nats_url, f"service {self.service}")
        await self._declare()
        self._reach = Reach(self._nats, self.service)
        self._relay = Relay(self.database, self._nats, self.service, self._timing, self._declare)
        js = self._nats.jetstream(timeout=self._timing.publish)
        scheduler = Scheduler(self.database, self.kinds, self._store, js, self.service, self._relay, self._timing)
        areas = {kind.area for kind in self.kinds if kind.area is not None}
        sweeper = Sweeper(self.database, self._store, areas, self._named_folders, self._timing)
        self._tasks = [asyncio.create_task(part.run()) for part in (self._relay, scheduler, sweeper)]

    async def stop(self) -> None:
        """Stop the background work and disconnect. What is unpublished is published by another replica, or later."""
        await tasks.cancel(self._tasks)
        if self._nats is not None:
            with suppress(*PublishError):
                await self._nats.drain()

    @property
    def healthy(self) -> bool:
        """Whether jobs are being dispatched: NATS is connected and no part has ended."""
        connected = self._nats is not None and self._nats.is_connected
        return connected and not any(task.done() for task in self._tasks)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncSession]:
        """A transaction of the service's database; after the commit, what it did to jobs is made known."""
        async with self.database.transaction() as session:
            yield session
        await self._make_known(session.info.pop(_CANCELLED, []))

    async def submit(self, session: AsyncSession, new: NewJob) -> Submission:
        """Queue a job, or join one; see `queue.submit`."""
        return await queue.submit(session, new, self._keys)

    async def find_request(
        self, session: AsyncSession, kind: JobKind, request_id: str, request_content: Mapping[str, Any]
    ) -> Job | None:
        """The job that a request was answered with before; see `requests.find`."""
        return await requests.find(session, kind, request_id, request_content)

    async def remember_request(
        self, session: AsyncSession, kind: JobKind, request_id: str, request_content: Mapping[str, Any], job: Job
    ) -> None:
        """Note that a request is answered with `job`, which was there before; see `requests.remember`."""
        await requests.remember(session, kind, request_id, request_content, job)

    async def get(self, session: AsyncSession, job_id: UUID, *, lock: bool = False) -> Job:
        """The job `job_id`, its row locked if wished; raises `JobNotFound`."""
        return await queue.get(session, self.kinds, job_id, lock=lock)

    async def get_all(self, session: AsyncSession, job_ids: Iterable[UUID]) -> Sequence[Job]:
        """Those of the jobs that are there."""
        return await queue.get_all(session, job_ids)

    async def active_jobs(self, session: AsyncSession, resource_ids: Iterable[UUID]) -> Sequence[Job]:
        """Jobs of these resources that have not ended, oldest first."""
        return await queue.active_jobs(session, resource_ids)

    async def cancel(self, session: AsyncSession, job_id: UUID) -> Job:
        """Cancel a job, or ask its worker to; see `queue.cancel`. `session` is of `transaction`."""
        job = await queue.cancel(session, self.kinds, job_id)
        session.info.setdefault(_CANCELLED, []).append(job)
        return job

    async def cancel_unended(self, session: AsyncSession, job_ids: Iterable[UUID]) -> None:
        """Cancel these jobs, except those that have ended; all stay locked. `session` is of `transaction`."""
        for job_id in job_ids:
            with suppress(JobNotCancellable):
                await self.cancel(session, job_id)

    async def lock(self, session: AsyncSession, job_ids: Sequence[UUID]) -> None:
        """Hold these jobs until the transaction ends; see `abandoning.lock`."""
        await abandoning.lock(session, job_ids)

    async def abandon(self, session: AsyncSession, job_ids: Sequence[UUID]) -> None:
        """Cancel these jobs, whose resources go with them; see `abandoning.abandon`. `session` is of `transaction`."""
        stopping = await abandoning.abandon(session, self.service, job_ids)
        session.info.setdefault(_CANCELLED, []).extend(stopping)

    async def retry(self, session: AsyncSession, job_id: UUID, settings: Mapping[str, Any] | None = None) -> Job:
        """Start a failed or cancelled job afresh; see `queue.retry`."""
        return await queue.retry(session, self.kinds, job_id, settings)

    async def tell_deleted(self, session: AsyncSession, resource_ids: Sequence[UUID]) -> None:
        """Have other services hear that these resources are deleted, for certain, once the transaction has committed.

        They listen with `mistudio_jobs.deletions`. `session` is of `transaction`.
        """
        await outbox.add_deleted(session, self.service, resource_ids)

    async def workers(self, session: AsyncSession | None, pool: str = "") -> Sequence[WorkerInfo]:
        """The workers that are there and can be reached, by pool and name; of one pool if it is named.

        Args:
            session: where to look; None for a transaction of its own.
            pool: a pool's name, or empty.
        """
        if session is not None:
            found = await presence.workers(session, self._timing.silent)
        else:
            async with self.database.transaction() as own:
                found = await presence.workers(own, self._timing.silent)
        reached = found if self._reach is None else await self._reach.reached(found)
        return [worker for worker in reached if pool in ("", worker.pool)]

    async def waits(self, session: AsyncSession, jobs: Sequence[Job]) -> Mapping[UUID, Wait]:
        """What those of `jobs` that are queued wait for, by their ids."""
        queued = [job for job in jobs if job.state == JobState.QUEUED]
        if not queued:
            return {}
        present = Counter(worker.pool for worker in await self.workers(session))
        return await waiting.waits(session, queued, present)

    async def command(self, worker: str, payload: Mapping[str, Any], *, seconds: float) -> Mapping[str, Any]:
        """What the keeper of a worker answers to `payload`; see `Keeper.command`.

        Raises:
            Unavailable: no such worker is there, or it does not answer within `seconds`.
            MistudioError: what the keeper raised.
        """
        if self._nats is None:
            raise Unavailable(
                f"Worker {worker!r} cannot be asked: the job engine is not connected", next_step="Start NATS, or wait"
            )
        return await commands.ask(self._nats, self.service, worker, payload, seconds)

    async def _make_known(self, cancelled: Sequence[Job]) -> None:
        """Tell relay and workers at once. If that fails they find out by themselves a little later."""
        for job in cancelled:
            if job.state == JobState.CANCELLED:
                await self._remove_folders(job)
        if self._nats is None or self._relay is None or not self._nats.is_connected:
            return
        with suppress(NatsError, OSError):
            for job in cancelled:
                await self._nats.publish(events.control_subject(self.service, job.id))
            await self._relay.nudge()

    async def _remove_folders(self, job: Job) -> None:
        """Delete what earlier attempts of a job have left that was cancelled while it waited."""
        if job.attempt == 0:
            return
        async with self.database.transaction() as session:
            epochs = [attempt.epoch for attempt in await queue.attempts(session, job.id)]
        with suppress(OSError):  # what is left is the sweeper's
            await asyncio.to_thread(folders.remove, self._store, queue.kind_of(self.kinds, job), job, epochs)

    async def _declare(self) -> None:
        assert self._nats is not None
        js, pools = self._nats.jetstream(timeout=self._timing.publish), sorted({kind.pool for kind in self.kinds})
        await streams.declare_events(js)
        await streams.declare_jobs(js, self.service, pools, ack_wait=self._timing.lease)
