"""The worker: waits for doorbells, claims jobs, runs them one at a time in its child."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from uuid import UUID

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.errors import Error as NatsError
from nats.js import JetStreamContext

from mistudio_jobs import claims, events, streams, tasks
from mistudio_jobs.child import ChildSettings
from mistudio_jobs.children import Children
from mistudio_jobs.claims import Claim
from mistudio_jobs.commands import Commands
from mistudio_jobs.doorbells import Doorbells
from mistudio_jobs.execution import Execution, Surroundings
from mistudio_jobs.handler import JobKind
from mistudio_jobs.marks import Marks
from mistudio_jobs.presence import Presence
from mistudio_jobs.publishing import PublishError
from mistudio_jobs.runner import Child
from mistudio_jobs.secrets import SecretKeys
from mistudio_jobs.timing import Timing
from mistudio_jobs.turns import Turns
from mistudio_servicekit.database import Database, new_id
from mistudio_servicekit.storage import Store

log = logging.getLogger(__name__)

_PAUSE_SECONDS = 0.5


@dataclass(frozen=True)
class WorkerConfig:
    """How a worker is set up.

    Attributes:
        nats_url: the NATS server.
        service: whose jobs it runs.
        pool: the pool it belongs to.
        store: the shared store.
        name: tells workers apart in attempts and logs.
        settings: its own settings, for handlers (`JobContext.settings`); no secrets.
        preload: modules that its child imports before the first job.
        memory_limit_bytes: resident memory at which the child is killed; between jobs it is replaced at half of it,
            unless it keeps something.
        keeper: `module:function` of the `MakeKeeper` that makes the child's keeper, or None.
        log_level: least level that its child logs.
        timing: its periods.
    """

    nats_url: str
    service: str
    pool: str
    store: Store
    name: str = field(default_factory=lambda: f"{socket.gethostname()}.{os.getpid()}.{str(new_id())[-12:]}")
    settings: Mapping[str, str] = field(default_factory=dict)
    preload: Sequence[str] = ()
    memory_limit_bytes: int | None = None
    keeper: str | None = None
    log_level: str = "INFO"
    timing: Timing = field(default_factory=Timing)


class Worker:
    """Runs the jobs of one pool, one at a time.

    Args:
        config: its set-up.
        kinds: kinds of job that it runs.
        database: the service's schema.
        keys: open the jobs' secrets.
    """

    def __init__(self, config: WorkerConfig, kinds: Sequence[JobKind], database: Database, keys: SecretKeys) -> None:
        self._config = config
        self._kinds = {kind.name: kind for kind in kinds}
        self._database = database
        self._keys = keys
        self._turns = Turns(database)
        self._marks = Marks(self._turns)
        self._presence = Presence(self._turns, config.name, config.pool, config.timing)
        self._children = Children(self._child_settings(), config.memory_limit_bytes, self._presence.keeps)
        self._commands = Commands(
            config.name, lambda: self._children.present, config.keeper is not None, self._presence.settle
        )
        self._execution: Execution | None = None
        self._next: asyncio.Task[Msg | None] | None = None
        self._stopping = asyncio.Event()
        self._nats: Client | None = None

    @property
    def healthy(self) -> bool:
        """Whether it hears doorbells: it is connected to NATS."""
        return self._nats is not None and self._nats.is_connected

    @property
    def running(self) -> UUID | None:
        """Id of the job that it runs; None while it waits."""
        return self._execution.held.job.id if self._execution else None

    def stop(self) -> None:
        """Take no more jobs. `run` returns when the present one has ended, or is given back after `Timing.drain`."""
        self._stopping.set()

    async def run(self) -> None:
        """Work until `stop` is called."""
        config = self._config
        self._nats = await streams.connect(config.nats_url, f"worker {config.pool} {config.name}")
        js = self._nats.jetstream(timeout=config.timing.publish)
        doorbells = Doorbells(js, config.service, config.pool, config.timing.fetch, lambda: self._declare(js))
        await self._nats.subscribe(events.control_subject(config.service, "*"), cb=self._on_control)
        # Before its row says that it is there: a worker that hears nothing counts as lost.
        commands = await self._nats.subscribe(
            events.worker_subject(config.service, config.name), cb=self._commands.on_message
        )
        works = (self._marks.run(), self._drain(), self._children.guard_memory(), self._presence.run())
        background = [asyncio.create_task(work) for work in works]
        try:
            await self._work(js, doorbells)
        finally:
            await tasks.cancel(background)
            await self._close(doorbells, commands)

    async def _work(self, js: JetStreamContext, doorbells: Doorbells) -> None:
        around = Surroundings(
            self._database, self._turns, js, self._config.store, self._keys, self._config.timing, self._marks,
            self._presence.settle,
        )  # fmt: skip
        while not self._stopping.is_set():
            child = await self._children.idle()
            if child is None:
                continue
            self._listen(doorbells)
            if self._next is None:  # stopped while the child started
                return
            message, self._next = await self._next, None
            if message is not None and self._stopping.is_set():
                await message.nak()
            elif message is not None and child.alive:
                await self._take(around, message, doorbells, child)
            elif message is not None:  # the job is not to pay for a process that died while it waited
                await message.nak()

    def _listen(self, doorbells: Doorbells) -> None:
        """Ask for the next doorbell, unless that is under way."""
        if self._next is None and not self._stopping.is_set():
            self._next = asyncio.create_task(doorbells.next())

    async def _take(self, around: Surroundings, message: Msg, doorbells: Doorbells, child: Child) -> None:
        """Claim the job that a doorbell names, and run it. If that fails, its lease runs out and another takes it."""
        try:
            held = await self._claim(message)
            if held is None:
                await message.ack()
                return
            self._presence.runs(held.job.id)
            self._execution = Execution(around, held, message, child, lambda: self._listen(doorbells))
            await self._execution.run()
        except Exception:  # the edge of a job: the worker goes on with the next
            log.exception("The doorbell %s could not be answered", message.subject)
            await asyncio.sleep(_PAUSE_SECONDS)
        finally:
            self._execution = None
            self._presence.runs(None)

    async def _claim(self, doorbell: Msg) -> Claim | None:
        name, timing = self._config.name, self._config.timing
        kind, job_id = self._kinds.get(doorbell.data.decode()), UUID(doorbell.subject.rpartition(".")[2])
        if kind is None:
            return None
        async with self._turns.of(kind) as turn:
            return await claims.claim(turn, kind, job_id, name, lease=timing.lease, held=timing.held)

    def _child_settings(self) -> ChildSettings:
        config = self._config
        return ChildSettings(
            store_root=str(config.store.root),
            store_quota_bytes=config.store.quota_bytes,
            settings=dict(config.settings),
            preload=list(config.preload),
            report_seconds=config.timing.progress,
            process=f"{config.service}-job",
            log_level=config.log_level,
            keeper=config.keeper,
            look_seconds=config.timing.look,
        )

    async def _declare(self, js: JetStreamContext) -> None:
        config = self._config
        await streams.declare_events(js)
        await streams.declare_jobs(js, config.service, [config.pool], ack_wait=config.timing.lease)

    async def _on_control(self, message: Msg) -> None:
        if self._execution is not None and message.subject.endswith(f".{self.running}"):
            self._execution.wake()

    async def _drain(self) -> None:
        await self._stopping.wait()
        # What would go with the worker as soon as it is made is not worth waiting for.
        if self._execution is None or not self._execution.held.kind.result_is_kept:
            await asyncio.sleep(self._config.timing.drain)
        if self._execution is not None:
            self._execution.stop()

    async def _close(self, doorbells: Doorbells, commands: Subscription) -> None:
        if self._next is not None:
            message = await self._next
            if message is not None:
                await message.nak()
        with suppress(NatsError):  # from here on whoever asks is told at once that nobody is there
            await commands.unsubscribe()
        await self._children.end()
        await self._commands.close()
        await self._marks.flush()
        await self._presence.leave()
        await self._turns.close()
        await doorbells.close()
        if self._nats is not None:
            with suppress(*PublishError):
                await self._nats.drain()
