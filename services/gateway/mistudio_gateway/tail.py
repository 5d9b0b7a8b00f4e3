"""The gateway's one standing reader of the event log, and the watchers who wait for what it brings."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress

import nats.errors

from mistudio_gateway import metrics
from mistudio_gateway.entries import Ring, read_entry
from mistudio_gateway.eventlog import ALL_EVENTS, EventLog, LogMessage, LogState, ReaderLost, log_unavailable
from mistudio_servicekit.errors import Draining, LogReplaced, Unavailable

log = logging.getLogger(__name__)

_RETRY_SECONDS = 0.2
_START_SECONDS = 1.0


class Tail:
    """Follows the log's end and keeps its latest events in memory for any number of watchers.

    Args:
        event_log: the log.
        ring_bytes: memory for the latest events.

    Attributes:
        draining: whether watchers should say goodbye.
    """

    def __init__(self, event_log: EventLog, ring_bytes: int) -> None:
        self._log, self._ring_bytes = event_log, ring_bytes
        self._ring: Ring | None = None
        self._identity = b""
        self._waiters: dict[str | None, set[asyncio.Future[None]]] = {}
        self._following = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.draining = False

    async def start(self) -> None:
        """Begin to follow. NATS need not be there yet: this waits a moment for it, and then goes on without."""
        self._task = asyncio.create_task(self._run(), name="tail")
        with suppress(TimeoutError):
            await asyncio.wait_for(self._following.wait(), _START_SECONDS)

    async def stop(self) -> None:
        """Stop following."""
        if self._task:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    def drain(self) -> None:
        """Send all watchers away, to resume elsewhere; new ones are refused."""
        self.draining = True
        self._wake_all()

    async def check(self) -> None:
        """Raise `Unavailable` unless the log is being followed just now."""
        self._log.check()
        self.ring()

    @property
    def identity(self) -> bytes:
        """Identity of the log that is followed.

        Raises:
            Unavailable: there was none yet.
        """
        self.ring()
        return self._identity

    def ring(self) -> Ring:
        """The latest events.

        Raises:
            Unavailable: the log could not be reached since the gateway's start.
        """
        if self._ring is None:
            raise log_unavailable()
        return self._ring

    def require(self, identity: bytes) -> Ring:
        """The latest events of the log `identity`.

        Raises:
            LogReplaced: another log is followed.
            Unavailable: none is followed yet.
        """
        ring = self.ring()
        if identity != self._identity:
            raise log_replaced()
        return ring

    async def changed(self, job_id: str | None, seconds: float) -> None:
        """Wait for an event of a job (or of any), for the log's replacement, for draining, or for `seconds`."""
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[None] = loop.create_future()
        waiters = self._waiters.setdefault(job_id, set())
        waiters.add(waiter)
        timer = loop.call_later(seconds, _wake, waiter)
        try:
            await waiter
        finally:
            timer.cancel()
            waiters.discard(waiter)
            if not waiters and self._waiters.get(job_id) is waiters:
                del self._waiters[job_id]

    async def _run(self) -> None:
        await self._log.connect()
        while True:
            try:
                await self._follow()
            except (ReaderLost, Unavailable, nats.errors.Error) as error:
                log.warning("tail lost", extra={"cause": repr(error)})
            except Exception:  # the tail outlives every fault: without it all watchers would hear nothing for ever
                log.exception("tail failed")
            metrics.tail_restarts.inc()
            await asyncio.sleep(_RETRY_SECONDS)

    async def _follow(self) -> None:
        """Read on from where the ring ends, until the reader is lost."""
        ring = self._continued(await self._log.state())
        async with self._log.reader(ALL_EVENTS, ring.position) as reader:
            while True:
                self._take(ring, await reader.read())

    def _continued(self, state: LogState) -> Ring:
        """The ring to go on with: the present one unless the log was replaced, or lost events meanwhile."""
        ring = self._ring
        if ring and state.identity == self._identity and state.first <= ring.position + 1 <= state.last + 1:
            return ring
        compacted = ring is not None and state.identity == self._identity and state.last > ring.position
        start = state.first - 1 if compacted else state.last
        if ring:
            log.warning("event log begun anew", extra={"compacted": compacted, "position": start})
        self._ring, self._identity = Ring(start, self._ring_bytes), state.identity
        self._following.set()
        self._wake_all()
        return self._ring

    def _take(self, ring: Ring, messages: list[LogMessage]) -> None:
        jobs: set[str | None] = set()
        for message in messages:
            ring.position = message.sequence
            entry = read_entry(message.sequence, message.data)
            if entry:
                ring.add(entry)
                jobs.add(entry.event.job_id)
        if messages:
            metrics.tail_lag.set(messages[-1].pending)
        for job_id in (*jobs, None) if jobs else ():
            for waiter in self._waiters.get(job_id, ()):
                _wake(waiter)

    def _wake_all(self) -> None:
        for waiters in self._waiters.values():
            for waiter in waiters:
                _wake(waiter)


def _wake(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)


def log_replaced() -> LogReplaced:
    """The error for a watch whose log is gone."""
    return LogReplaced(
        "The event log that this watch reads was lost and begun anew",
        next_step="Watch again without a resume_token; the snapshots show how the jobs are now",
    )


def draining() -> Draining:
    """The error for a watch on a gateway that is stopping."""
    return Draining(
        "This gateway is stopping",
        next_step="Continue with the last resume_token; another gateway answers",
        retry_after_seconds=0,
    )
