"""WatchJob and WatchJobs: where a watch begins, and its way from the first response to the last."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from mistudio.jobs.v1 import job_pb2, jobs_service_pb2
from mistudio_gateway import metrics, tokens
from mistudio_gateway.entries import TERMINAL_VALUES
from mistudio_gateway.selection import Selection
from mistudio_gateway.tail import draining
from mistudio_gateway.tokens import ResumeToken
from mistudio_gateway.watch import Feed, Pace, Watch
from mistudio_servicekit.errors import InvalidArgument
from mistudio_servicekit.interceptors import Context

DEFAULT_HEARTBEAT_SECONDS = 10
MOST_HEARTBEAT_SECONDS = 60


class Jobs(Protocol):
    """Where snapshots come from."""

    async def find(self, job_id: str) -> job_pb2.Job:
        """One job as it is; see `asking.ask_owner` for the errors."""

    async def active(self, selection: Selection) -> list[job_pb2.Job]:
        """All jobs of the selection that have not ended."""


class Watching:
    """The watch streams of this gateway.

    Args:
        feed: where events come from.
        jobs: where snapshots come from.
        blocked_seconds: how long a watcher may leave its messages unread before it is ended.
    """

    def __init__(self, feed: Feed, jobs: Jobs, blocked_seconds: float) -> None:
        self._feed, self._jobs, self._blocked_seconds = feed, jobs, blocked_seconds

    async def watch_job(self, request: jobs_service_pb2.WatchJobRequest, context: Context) -> None:
        """One job live: snapshot, events, and the end after its terminal event."""
        selection = Selection.of_job(request.id)
        pace = self._pace(request.heartbeat_seconds)
        with self._counted("WatchJob"):
            start = self._resumed(request.resume_token, selection) or self._at_tail()
            watch = Watch(self._feed, selection, jobs_service_pb2.WatchJobResponse, context.write, pace, start)
            async with watch.patience():
                if not request.resume_token:
                    # Asked for after the log's position was noted: the snapshot is at least as new.
                    job = await self._jobs.find(request.id)
                    await watch.send_snapshot(job, ends=job.state in TERMINAL_VALUES)
                await watch.follow()

    async def watch_jobs(self, request: jobs_service_pb2.WatchJobsRequest, context: Context) -> None:
        """All matching jobs live, without end."""
        selection = Selection.of_filter(request.filter)
        pace = self._pace(request.heartbeat_seconds)
        with self._counted("WatchJobs"):
            start = self._resumed(request.resume_token, selection) or await self._now()
            watch = Watch(self._feed, selection, jobs_service_pb2.WatchJobsResponse, context.write, pace, start)
            async with watch.patience():
                if not request.resume_token:
                    await self._begin(watch, selection, initial=request.send_initial)
                await watch.follow()

    async def _begin(self, watch: Watch, selection: Selection, *, initial: bool) -> None:
        if not initial:
            await watch.send_bookmark()
            return
        for job in await self._jobs.active(selection):
            await watch.send_snapshot(job, with_token=False)
        await watch.send_initial_end()

    def _resumed(self, token: str, selection: Selection) -> ResumeToken | None:
        if self._feed.tail.draining:
            raise draining()
        return tokens.decode(token, selection) if token else None

    def _at_tail(self) -> ResumeToken:
        """A place for a watch that begins with a snapshot, whose floor makes up for events from before it."""
        tail = self._feed.tail
        return ResumeToken(tail.identity, tail.ring().position)

    async def _now(self) -> ResumeToken:
        """The log's end itself: a watch without snapshots must not tell of what was before it."""
        state = await self._feed.log.state()
        return ResumeToken(state.identity, state.last)

    def _pace(self, heartbeat_seconds: int) -> Pace:
        return Pace(_heartbeat(heartbeat_seconds), self._blocked_seconds)

    @contextmanager
    def _counted(self, method: str) -> Iterator[None]:
        gauge = metrics.watchers.labels(method)
        gauge.inc()
        try:
            yield
        finally:
            gauge.dec()


def _heartbeat(seconds: int) -> float:
    if not 0 <= seconds <= MOST_HEARTBEAT_SECONDS:
        raise InvalidArgument(
            f"heartbeat_seconds is {seconds}",
            next_step=f"Use 1 to {MOST_HEARTBEAT_SECONDS}, or 0 for {DEFAULT_HEARTBEAT_SECONDS}",
            field="heartbeat_seconds",
        )
    return seconds or DEFAULT_HEARTBEAT_SECONDS
