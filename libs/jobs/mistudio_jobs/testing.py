"""For tests and benchmarks of the engine and its users: quick timing, a context for handlers, an engine at work."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Mapping, Sequence, Set
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from uuid import UUID

from nats.errors import TimeoutError as NatsTimeout
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy
from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncSession

from mistudio.jobs.v1 import job_pb2 as pb
from mistudio_jobs import streams
from mistudio_jobs.effects import NoEffects
from mistudio_jobs.engine import JobEngine
from mistudio_jobs.handler import JobKind
from mistudio_jobs.keeping import Keeper
from mistudio_jobs.queue import NewJob
from mistudio_jobs.secrets import SecretKeys
from mistudio_jobs.states import TERMINAL
from mistudio_jobs.tables import Job
from mistudio_jobs.timing import Timing
from mistudio_jobs.worker import Worker, WorkerConfig
from mistudio_servicekit.database import Database, new_id
from mistudio_servicekit.errors import JobCancelled
from mistudio_servicekit.storage import Area, Store

QUICK = Timing(
    renew=0.3, relay_poll=0.1, held=0.3, fetch=0.3, schedule=0.1, dispatch=1.0, backoff_first=0.1, backoff_most=1.0,
    drain=0.3, publish=2.0, sweep_age=0.0, look=0.1, beat=0.3,
)  # fmt: skip
"""Timing for tests: what is waited for comes soon, and no lease is lost because the machine is busy."""

FLEETING = replace(QUICK, lease=6.0, self_kill=5.0, silent=6.0)
"""Timing for tests that kill or stop workers: these are missed soon."""

PROMPT = Timing(fetch=0.1)
"""As in production, but a worker ends soon: when its wait for a doorbell does."""
SERVICE = "datasets"
_POLL_SECONDS = 0.01


@dataclass
class RecordingContext:
    """A `JobContext` for running a handler by itself. `cancel_after` cancels the job at its n-th check."""

    folder: Path
    store: Store
    settings: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, str] = field(default_factory=dict)
    job_id: UUID = field(default_factory=new_id)
    resource_id: UUID = field(default_factory=new_id)
    attempt: int = 1
    epoch: int = 1
    keeper: Keeper | None = None
    cancel_after: int | None = None
    reports: list[tuple[int, int, str, str, dict[str, float]]] = field(default_factory=list)
    checks: int = 0

    def report(self, done: int, total: int, unit: str, stage: str, metrics: Mapping[str, float] | None = None) -> None:
        """Keep the report in `reports`."""
        self.reports.append((done, total, unit, stage, dict(metrics or {})))

    def check(self) -> None:
        """Raise `JobCancelled` from the n-th call on."""
        self.checks += 1
        if self.cancelled():
            raise JobCancelled("The job was cancelled", next_step="Retry it if it is wanted after all")

    def cancelled(self) -> bool:
        """Whether `cancel_after` checks were made."""
        return self.cancel_after is not None and self.checks >= self.cancel_after


class RecordedEffects:
    """Effects that write one row each into the table `effects`, so that a test can count them."""

    async def started(self, session: AsyncSession, job: Job) -> None:
        """Record it."""
        await self._record(session, job, "started")

    async def succeeded(self, session: AsyncSession, job: Job, result: Mapping[str, Any]) -> None:
        """Record it."""
        await self._record(session, job, "succeeded")

    async def failed(self, session: AsyncSession, job: Job) -> None:
        """Record it."""
        await self._record(session, job, "failed")

    async def cancelled(self, session: AsyncSession, job: Job) -> None:
        """Record it."""
        await self._record(session, job, "cancelled")

    async def requeued(self, session: AsyncSession, job: Job) -> None:
        """Record it."""
        await self._record(session, job, "requeued")

    async def _record(self, session: AsyncSession, job: Job, what: str) -> None:
        await session.execute(
            text("INSERT INTO effects (job_id, epoch, what) VALUES (:job, :epoch, :what)"),
            {"job": job.id, "epoch": job.epoch, "what": what},
        )


def scripted_kind(name: str = "scripted", **changes: Any) -> JobKind:
    """A kind that runs `testing_handlers.scripted`."""
    wanted: dict[str, Any] = {
        "name": f"{SERVICE}.{name}",
        "pool": "cpu",
        "resource_type": "dataset",
        "handler": "mistudio_jobs.testing_handlers:scripted",
        "effects": RecordedEffects(),
        "area": Area.DATASETS,
    }
    return JobKind(**{**wanted, **changes})


PLAIN = scripted_kind()
RESUMABLE = scripted_kind("resumable", resumable=True)
KEPT = scripted_kind("kept", area=None, result_is_kept=True)
NOOP = scripted_kind("noop", handler="mistudio_jobs.testing_handlers:noop", area=None, effects=NoEffects())
KINDS = (PLAIN, RESUMABLE, KEPT, NOOP)


@dataclass
class Stand:
    """An engine at work on real servers, with as many workers as a test wants.

    Attributes:
        database: a schema with the engine's tables and the table `effects`.
        nats_url: a NATS server.
        store: an empty store.
        timing: the periods.
        keys: seal secrets.
        kinds: the kinds of jobs.
    """

    database: Database
    nats_url: str
    store: Store
    timing: Timing = QUICK
    keys: SecretKeys = field(default_factory=lambda: SecretKeys(os.urandom(32)))
    kinds: Sequence[JobKind] = KINDS
    engine: JobEngine = field(init=False)

    def __post_init__(self) -> None:
        self.engine = self.new_engine()

    def new_engine(self) -> JobEngine:
        """Another engine (a replica of the service), not started."""
        return JobEngine(
            self.database, self.nats_url, SERVICE, self.kinds, self.keys, self.store, self.named_folders, self.timing
        )

    def new_worker(self, **changes: Any) -> Worker:
        """A worker, not started; `changes` are fields of its `WorkerConfig`."""
        wanted: dict[str, Any] = {
            "nats_url": self.nats_url, "service": SERVICE, "pool": "cpu", "store": self.store, "timing": self.timing,
        }  # fmt: skip
        return Worker(WorkerConfig(**{**wanted, **changes}), self.kinds, self.database, self.keys)

    @asynccontextmanager
    async def worker(self, **changes: Any) -> AsyncIterator[Worker]:
        """A worker at work in this process, stopped afterwards."""
        worker = self.new_worker(**changes)
        running = asyncio.create_task(worker.run())
        try:
            yield worker
        finally:
            worker.stop()
            await running

    async def named_folders(self, session: AsyncSession, area: Area) -> Set[tuple[UUID, int]]:
        """Folders of jobs that succeeded: they stand for the rows of resources."""
        rows = await session.execute(select(Job.resource_id, Job.epoch).where(Job.state == "SUCCEEDED"))
        return {(row.resource_id, row.epoch) for row in rows}

    async def submit(self, steps: Sequence[Sequence[Any]] = (), kind: JobKind = PLAIN, **more: Any) -> Job:
        """Submit a scripted job; `more` are fields of `NewJob`, or `payload` to replace it whole."""
        wanted: dict[str, Any] = {"kind": kind, "resource_id": new_id(), "payload": {"steps": steps}}
        async with self.engine.transaction() as session:
            return (await self.engine.submit(session, NewJob(**{**wanted, **more}))).job

    async def cancel(self, job: Job) -> Job:
        """Cancel a job."""
        async with self.engine.transaction() as session:
            return await self.engine.cancel(session, job.id)

    async def job(self, job: Job) -> Job:
        """The job as its row is now."""
        async with self.database.transaction() as session:
            return await self.engine.get(session, job.id)

    async def reached(self, job: Job, *states: str, timeout: float = 100.0) -> Job:
        """The job, once it is in one of `states`."""
        async with asyncio.timeout(timeout):
            while (present := await self.job(job)).state not in states:  # noqa: ASYNC110 - the row is another process's
                await asyncio.sleep(_POLL_SECONDS)
        return present

    async def ended(self, job: Job, timeout: float = 100.0) -> Job:
        """The job, once it has ended."""
        return await self.reached(job, *TERMINAL, timeout=timeout)

    async def effects(self, job: Job) -> list[str]:
        """What was done to the job's resource, in order."""
        query = text("SELECT what FROM effects WHERE job_id = :job ORDER BY id")
        async with self.database.transaction() as session:
            return list(await session.scalars(query, {"job": job.id}))

    async def history(self, job: Job) -> list[pb.JobEvent]:
        """Everything that the event log has of the job, once its end (if it has ended) is there."""
        events: list[pb.JobEvent] = []
        ended = (await self.job(job)).job_state.terminal
        nats = await streams.connect(self.nats_url, "test")
        try:
            js = nats.jetstream()
            config = ConsumerConfig(ack_policy=AckPolicy.NONE, deliver_policy=DeliverPolicy.ALL, mem_storage=True)
            reader = await js.pull_subscribe(f"evt.{SERVICE}.{job.id}.>", stream=streams.EVENTS, config=config)
            async with asyncio.timeout(100):
                while not (ended and events and _tells_end(events[-1])):
                    (message,) = await reader.fetch(1, timeout=100 if ended else 0.5)
                    events.append(pb.JobEvent.FromString(message.data))
        except NatsTimeout:
            if ended:
                raise
        finally:
            await nats.close()
        return events


EFFECTS_TABLE = (
    "CREATE TABLE effects (id bigint GENERATED ALWAYS AS IDENTITY, job_id uuid NOT NULL, epoch bigint, what text)"
)


def _tells_end(event: pb.JobEvent) -> bool:
    ended = (pb.JOB_STATE_SUCCEEDED, pb.JOB_STATE_FAILED, pb.JOB_STATE_CANCELLED)
    return event.HasField("state_changed") and event.state_changed.state in ended
