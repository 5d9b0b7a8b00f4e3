"""One claimed job on its way through a worker: run, cancelled or lost, and its fenced end."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from nats.aio.msg import Msg
from nats.js import JetStreamContext
from sqlalchemy.exc import OperationalError, SQLAlchemyError

from mistudio_jobs import claims, failures, folders, tasks
from mistudio_jobs.claims import Claim, Closing
from mistudio_jobs.conversation import Done, Failed
from mistudio_jobs.feed import ProgressFeed
from mistudio_jobs.lease import Lease
from mistudio_jobs.outbox import Message
from mistudio_jobs.pipe import Task
from mistudio_jobs.publishing import AttemptLog, LeaseLost, PublishError
from mistudio_jobs.runner import Child
from mistudio_jobs.secrets import SecretKeys
from mistudio_jobs.timing import Timing
from mistudio_jobs.turns import Turn, Turns
from mistudio_servicekit.database import Database
from mistudio_servicekit.errors import JobCancelled, MistudioError
from mistudio_servicekit.storage import Store, sync_tree

log = logging.getLogger(__name__)

_DATABASE_RETRY_SECONDS = 0.5


class PublishedMarks(Protocol):
    """Where the ids of published rows of the outbox go, to be marked some time soon."""

    def add(self, ids: list[int]) -> None:
        """Note that these rows have been published."""


@dataclass(frozen=True)
class Surroundings:
    """What every execution of a worker shares; `settle` writes what its child keeps, before an end that tells of it."""

    database: Database
    turns: Turns
    js: JetStreamContext
    store: Store
    keys: SecretKeys
    timing: Timing
    marks: PublishedMarks
    settle: Callable[[], Awaitable[None]]


End = Callable[[Turn], Awaitable[list[Message] | None]]
"""Writes the end of an attempt; None where the fence refuses."""


class Execution:
    """Runs one claimed job in the worker's child.

    Args:
        around: what executions share.
        held: the claim, committed.
        doorbell: the message that led to it.
        child: an idle child.
        on_result: called as soon as the handler has ended, before its end is written.
    """

    def __init__(
        self, around: Surroundings, held: Claim, doorbell: Msg, child: Child, on_result: Callable[[], None]
    ) -> None:
        self._around = around
        self._held = held
        self._doorbell = doorbell
        self._child = child
        self._on_result = on_result
        self._releasing = False
        self._handling = True
        self._announced: Sequence[int] = []
        self._background: set[asyncio.Task[None]] = set()
        timing = around.timing
        self._log = AttemptLog(around.js, held.job, timing.publish, self._still_held)
        self._feed = ProgressFeed(self._log, timing, self._lose)
        self._lease = Lease(around.database, held, doorbell, timing, self._feed.snapshot, self._on_change)

    @property
    def held(self) -> Claim:
        """The claim that is run."""
        return self._held

    def wake(self) -> None:
        """There may be news of the job: look at it now."""
        self._lease.wake()

    def stop(self) -> None:
        """Give the job back, because the worker stops."""
        self._releasing = True
        self._start(self._child.kill())

    async def run(self) -> None:
        """Run the job to its end, or until it is lost. Returns when its doorbell is answered."""
        self._start(self._lease.keep())
        telling = asyncio.create_task(self._log.publish_states(self._held.messages))
        self._start(self._feed.run(asyncio.shield(telling)))
        try:
            outcome = await self._handle()
            self._handling = False
            self._on_result()
            self._announced = await telling
            await self._finish(outcome)
        finally:
            await tasks.cancel(self._background)

    async def _handle(self) -> Done | Failed:
        what = f"job {self._held.job.id}"
        try:
            folder = await self._prepare()
            task = self._task(folder)
        except (MistudioError, OSError) as error:
            return Failed(*failures.describe(error, what))
        if self._lease.cancelling:  # its child has not heard of it: there was nothing yet to be stopped
            return _not_begun(what)
        outcome = await self._child.run(task, self._feed.take)
        if isinstance(outcome, Done) and folder is not None:
            try:
                await asyncio.to_thread(sync_tree, folder)
            except OSError as error:
                return Failed(*failures.describe(error, what))
        return outcome

    async def _prepare(self) -> Path | None:
        if self._held.kind.area is None:
            return None
        return await asyncio.to_thread(folders.prepare, self._around.store, self._held)

    def _task(self, folder: Path | None) -> Task:
        job = self._held.job
        return Task(
            job_id=str(job.id),
            resource_id=str(job.resource_id),
            attempt=job.attempt,
            epoch=job.epoch,
            handler=self._held.kind.handler,
            folder=str(folder or ""),
            payload=job.payload,
            secrets=self._around.keys.open(job.id, job.secrets),
        )

    async def _finish(self, outcome: Done | Failed) -> None:
        """Write the end, unless it is no longer this worker's to write."""
        await self._flush_progress()
        if self._lease.lost or not await self._write_end(outcome):
            await self._leave()

    async def _flush_progress(self) -> None:
        """Have the last report acknowledged. Without NATS it is let go: the terminal event says the same."""
        try:
            await self._feed.flush()
        except LeaseLost:
            self._lease.lose()
        except (*PublishError, SQLAlchemyError) as error:
            log.warning("The last progress of job %s is left out: %s", self._held.job.id, type(error).__name__)

    async def _write_end(self, outcome: Done | Failed) -> bool:
        if self._releasing:
            return await self._release()
        if not self._lease.cancelling and await self._end_as(outcome):
            return True
        # The fence also refuses when the job was cancelled at the last moment.
        await self._remove_folder()
        return await self._end(lambda turn: claims.end_cancelled(turn, self._held, self._closing()))

    async def _end_as(self, outcome: Done | Failed) -> bool:
        try:
            ended = await self._end(await self._ending(outcome))
        except Exception as error:
            if isinstance(outcome, Failed):
                raise
            outcome = Failed(*failures.describe(error, f"job {self._held.job.id}"))
            ended = await self._end(await self._ending(outcome))
        # A fault of a job that was cancelled or lost is nobody's: its files may have been taken from under it.
        if ended and isinstance(outcome, Failed):
            failures.log_fault(outcome.error, outcome.trace)
        return ended

    async def _ending(self, outcome: Done | Failed) -> End:
        held = self._held
        if isinstance(outcome, Done):
            return lambda turn: claims.succeed(turn, held, self._closing(), outcome.result)
        error, wait = outcome.error, self._retry_wait(outcome.error)
        if wait is None or not held.kind.resumable:
            await self._remove_folder()
        return lambda turn: claims.fail(turn, held, self._closing(), error, retry_after=wait)

    def _closing(self) -> Closing:
        return Closing(self._feed.snapshot(), self._announced, self._around.timing.held)

    def _retry_wait(self, error: MistudioError) -> float | None:
        job = self._held.job
        again = error.transient and job.attempt < job.max_attempts
        return failures.backoff(job.attempt, error, self._around.timing) if again else None

    async def _end(self, end: End) -> bool:
        """Commit an end and publish it. A database that is away is waited for: nobody can take the job meanwhile."""
        while True:
            try:
                await self._around.settle()
                async with self._around.turns.of(self._held.kind) as turn:
                    messages = await end(turn)
                break
            except (OperationalError, OSError) as error:
                log.warning("The end of job %s is not written yet: %s", self._held.job.id, type(error).__name__)
                await asyncio.sleep(_DATABASE_RETRY_SECONDS)
        if messages is None:
            return False
        await self._answer_doorbell()
        self._around.marks.add(await self._log.publish_states(messages))
        return True

    async def _release(self) -> bool:
        async with self._around.database.transaction() as session:
            released = await claims.release(session, self._held)
        if released:
            with suppress(*PublishError):
                await self._doorbell.nak()  # it rings at another worker at once
        return released

    async def _leave(self) -> None:
        """Delete this attempt's folder, unless it counts or is of use to the next attempt. Nothing is said."""
        log.warning("Job %s, epoch %s, is no longer this worker's", self._held.job.id, self._held.job.epoch)
        try:
            async with self._around.database.transaction() as session:
                needed = await claims.folder_needed(session, self._held)
        except (SQLAlchemyError, OSError):
            return  # the sweeper will see to it
        if not needed:
            await self._remove_folder()

    async def _remove_folder(self) -> None:
        held = self._held
        await asyncio.to_thread(folders.remove, self._around.store, held.kind, held.job, [held.job.epoch])

    async def _answer_doorbell(self) -> None:
        """Take the doorbell away. If that fails it rings again, and is found stale."""
        with suppress(*PublishError):
            await self._doorbell.ack()

    async def _still_held(self) -> bool:
        return await self._lease.held()

    def _lose(self) -> None:
        self._lease.lose()

    def _on_change(self) -> None:
        # A renewal under way when the end is committed finds the lease gone, while the child is idle or elsewhere.
        if self._handling:
            self._start(self._child.kill() if self._lease.lost else self._stop_handler())

    async def _stop_handler(self) -> None:
        """Ask the handler to stop, and kill its process if it does not: later where what it keeps is lost with it."""
        self._child.cancel(self._held.job.epoch)
        timing = self._around.timing
        await asyncio.sleep(timing.keeping_grace if self._child.keeps else timing.cancel_grace)
        if self._handling:
            log.warning("Job %s did not stop when it was cancelled: its process is ended", self._held.job.id)
            await self._child.kill()

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        task.add_done_callback(self._watch)
        self._background.add(task)

    def _watch(self, task: asyncio.Task[None]) -> None:
        """A fault in the background leaves the job without guard: it is given up."""
        if not task.cancelled() and (error := task.exception()):
            log.error("Job %s is given up", self._held.job.id, exc_info=error)
            self._lease.lose()


def _not_begun(what: str) -> Failed:
    problem = f"The work of {what} was cancelled before it began"
    return Failed(JobCancelled(problem, next_step="Retry it if it is wanted after all"))
