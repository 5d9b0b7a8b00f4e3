"""One watch stream: what was missed is replayed from the log, then the tail is followed, in one unbroken order."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import NoReturn, TypeAlias

from mistudio.jobs.v1 import job_pb2, jobs_service_pb2
from mistudio_gateway import metrics, tokens
from mistudio_gateway.entries import Entry, Ring, read_entry
from mistudio_gateway.eventlog import EventLog, LogMessage, LogReader, LogState, ReaderLost
from mistudio_gateway.floors import Progression
from mistudio_gateway.selection import Selection
from mistudio_gateway.tail import Tail, draining, log_replaced
from mistudio_gateway.tokens import ResumeToken
from mistudio_servicekit.errors import HistoryCompacted, SlowReader

Response: TypeAlias = jobs_service_pb2.WatchJobResponse | jobs_service_pb2.WatchJobsResponse
Write: TypeAlias = Callable[[bytes], Awaitable[None]]


@dataclass(frozen=True)
class Pace:
    """How a watch deals with silence.

    Attributes:
        heartbeat_seconds: silence of the jobs after which a bookmark is sent.
        blocked_seconds: silence of the client, which does not read, after which the watch is ended.
    """

    heartbeat_seconds: float
    blocked_seconds: float


@dataclass(frozen=True)
class Feed:
    """Where a watch reads: the tail, and the log for what the tail no longer remembers."""

    tail: Tail
    log: EventLog


class Watch:
    """One watcher's way through the log. Everything that it sends is sent inside its `patience`.

    Args:
        feed: what it reads.
        selection: what it wants to see; a selection of one job ends with that job.
        response: class of its responses.
        write: sends one serialized response, and waits while the client does not read.
        pace: bookmarks and limits.
        start: where it begins.
    """

    def __init__(
        self, feed: Feed, selection: Selection, response: type[Response], write: Write, pace: Pace, start: ResumeToken
    ) -> None:
        self._tail, self._log = feed.tail, feed.log
        self._selection, self._response, self._write, self._pace = selection, response, write, pace
        self._identity, self._cursor, self._ended = start.identity, start.sequence, start.ended
        self._progression = Progression(start.floors)
        self._packed, self._packed_change = tokens.packed(start.floors), 0
        self._beat_at = 0.0
        self._ring: Ring | None = None
        self._loop, self._patience = asyncio.get_running_loop(), asyncio.timeout(None)

    @asynccontextmanager
    async def patience(self) -> AsyncIterator[None]:
        """Ends what is inside when the client does not read.

        Raises:
            SlowReader: it has left a response unread for too long.
        """
        try:
            async with self._patience:
                yield
        except TimeoutError:
            if self._patience.expired():
                raise self._slow() from None
            raise

    async def send_snapshot(self, job: job_pb2.Job, *, ends: bool = False, with_token: bool = True) -> None:
        """Tell of `job` as it is; what the log has of it up to there is not told again.

        Args:
            job: the job.
            ends: whether it has ended, and the watch with it.
            with_token: False while other snapshots follow, when there is nothing to resume from yet.
        """
        self._progression.snapshot(job)
        self._ended = ends
        token = self._token() if with_token else ""
        await self._send(self._response(snapshot=job, resume_token=token).SerializeToString())

    async def send_initial_end(self) -> None:
        """Tell that all snapshots have been sent."""
        end = jobs_service_pb2.InitialEnd()
        response = jobs_service_pb2.WatchJobsResponse(initial_end=end, resume_token=self._token())
        await self._send(response.SerializeToString())

    async def send_bookmark(self) -> None:
        """Tell how far the watch is."""
        bookmark = jobs_service_pb2.Bookmark()
        await self._send(self._response(bookmark=bookmark, resume_token=self._token()).SerializeToString())

    async def follow(self) -> None:
        """Send events until the watched job has ended; a watch of many jobs never ends by itself.

        Raises:
            LogReplaced, HistoryCompacted: the log no longer has what comes next.
            Draining: this gateway is stopping.
            Unavailable: the log has to be read and cannot be reached.
        """
        self._beat_at = time.monotonic() + self._pace.heartbeat_seconds
        while not self._ended:
            ring = self._tail.require(self._identity)
            if ring is not self._ring:
                await self._enter(ring)
            if self._tail.draining:
                await self.send_bookmark()
                raise draining()
            if self._cursor < ring.oldest:
                await self._replay()
            elif not await self._pass_on(ring):
                await self._rest()

    async def _enter(self, ring: Ring) -> None:
        """Make sure that this log reached the cursor: a place behind the tail may be news, or of a log that was cut."""
        if self._cursor > ring.position and (await self._log.state()).last < self._cursor:
            raise log_replaced()
        self._ring = ring

    async def _pass_on(self, ring: Ring) -> bool:
        """Send what the tail has for this watch; False if there was nothing."""
        position = ring.position
        entries = ring.after(self._cursor, self._selection.job_id)
        for entry in entries:
            await self._pass(entry)
            if self._ended:
                return True
        if not entries:
            self._cursor = max(self._cursor, position)
        return bool(entries)

    async def _pass(self, entry: Entry) -> None:
        self._cursor = entry.sequence
        if self._selection.matches(entry.event) and self._progression.admit(entry.event):
            self._ended = entry.terminal and self._selection.job_id is not None
            await self._send(self._rendered(entry))

    async def _rest(self) -> None:
        seconds = self._beat_at - time.monotonic()
        if seconds <= 0:
            await self.send_bookmark()
        else:
            await self._tail.changed(self._selection.job_id, seconds)

    async def _replay(self) -> None:
        """Read on in the log up to its present end, from where the tail can take over."""
        metrics.replays.inc()
        state = await self._held()
        async with self._log.reader(self._selection.subject, self._cursor) as reader:
            complete = await self._read_to(reader, state.last)
        if complete and not self._ended:
            self._cursor = max(self._cursor, state.last)

    async def _read_to(self, reader: LogReader, last: int) -> bool:
        """Pass on what `reader` brings up to the sequence `last`; False if it was lost on the way."""
        pending = reader.pending
        while pending and self._cursor < last and not self._ended and not self._tail.draining:
            try:
                messages = await reader.read()
            except ReaderLost:
                return False
            if not messages:
                return False  # Events were dropped from the log meanwhile; look at its state again.
            pending = messages[-1].pending
            await self._held()
            await self._pass_messages(messages)
        return not self._tail.draining

    async def _pass_messages(self, messages: list[LogMessage]) -> None:
        for message in messages:
            entry = read_entry(message.sequence, message.data)
            if entry:
                await self._pass(entry)
            if self._ended:
                return
            self._cursor = message.sequence

    async def _held(self) -> LogState:
        """The log's state, in which everything behind the cursor is still there."""
        state = await self._log.state()
        if state.identity != self._identity:
            raise log_replaced()
        if state.first > self._cursor + 1:
            self._fail_compacted(state.first)
        return state

    def _fail_compacted(self, first: int) -> NoReturn:
        oldest = ResumeToken(self._identity, first - 1).encode(self._selection)
        raise HistoryCompacted(
            f"The event log begins at {first} and no longer holds {self._cursor + 1}, where this watch would go on",
            next_step="Watch again without a resume_token, or with the oldest one if gaps do no harm",
            metadata={"oldest_resume_token": oldest},
        )

    def _rendered(self, entry: Entry) -> bytes:
        floors = self._floors()
        key = (self._response, self._selection.key + bytes([self._ended]) + floors)
        return entry.rendered(
            key, lambda: self._response(event=entry.event, resume_token=self._token()).SerializeToString()
        )

    def _floors(self) -> bytes:
        if self._packed_change != self._progression.changes:
            self._packed, self._packed_change = tokens.packed(self._progression.floors), self._progression.changes
        return self._packed

    def _token(self) -> str:
        return tokens.encode(self._identity, self._cursor, self._selection, ended=self._ended, floors=self._floors())

    async def _send(self, response: bytes) -> None:
        # One timeout, put off with every response, costs half of one for each.
        self._patience.reschedule(self._loop.time() + self._pace.blocked_seconds)
        await self._write(response)
        self._patience.reschedule(None)
        self._beat_at = time.monotonic() + self._pace.heartbeat_seconds

    def _slow(self) -> SlowReader:
        # The response that waits is already on its way and arrives before the status, so the token counts it.
        return SlowReader(
            f"The watcher has not read for {self._pace.blocked_seconds:g} s",
            next_step="Read faster, and continue with the last resume_token: nothing is lost",
            metadata={"resume_token": self._token()},
        )
