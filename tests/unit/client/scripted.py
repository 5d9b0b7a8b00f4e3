"""A real gRPC server with a small event log, which can be cut, refused and silenced wherever a test wants."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import grpc

from mistudio.jobs.v1 import job_pb2, jobs_service_pb2, jobs_service_pb2_grpc
from mistudio_servicekit.errors import MistudioError
from mistudio_servicekit.interceptors import abort

JOB_ID = "0197f2a4-5c3e-7b1a-9d2f-3e4a5b6c7d8e"
END = 21


def a_job(done: int = 0, state: job_pb2.JobState.ValueType = job_pb2.JOB_STATE_RUNNING) -> job_pb2.Job:
    """A tokenization that has done so many of 100 rows."""
    progress = job_pb2.Progress(
        done=done, total=100, unit="rows", stage="tokenizing", fraction=done / 100, rate=50.0, position=done
    )
    return job_pb2.Job(id=JOB_ID, kind="datasets.tokenize", state=state, attempt=1, progress=progress)


def progress_event(done: int) -> job_pb2.JobEvent:
    """The event that so much of 100 is done."""
    return job_pb2.JobEvent(job_id=JOB_ID, attempt=1, progress=a_job(done).progress)


def end_event() -> job_pb2.JobEvent:
    """The event that the job has succeeded."""
    return job_pb2.JobEvent(job_id=JOB_ID, attempt=1, state_changed=a_job(100, job_pb2.JOB_STATE_SUCCEEDED))


def twenty_steps_and_the_end() -> list[job_pb2.JobEvent]:
    """The whole history of a job; its length is `END`."""
    return [*(progress_event(5 * step) for step in range(20)), end_event()]


@dataclass(frozen=True)
class Disturbance:
    """What happens to a stream behind `after` messages: it ends with `error` or with a bare reset, or says no more."""

    after: int
    error: MistudioError | None = None
    silent: bool = False


@dataclass
class ScriptedLog(jobs_service_pb2_grpc.JobsServiceServicer):
    """Serves watches of `events` behind snapshots; tokens are positions. Each stream takes the next disturbance."""

    events: list[job_pb2.JobEvent] = field(default_factory=twenty_steps_and_the_end)
    snapshots: list[job_pb2.Job] = field(default_factory=lambda: [a_job()])
    disturbances: list[Disturbance] = field(default_factory=list)
    tokens_seen: list[str] = field(default_factory=list)
    deadlines_seen: list[float | None] = field(default_factory=list)
    filters_seen: list[str] = field(default_factory=list)

    async def GetJob(self, request: Any, context: Any) -> Any:
        return jobs_service_pb2.GetJobResponse(job=self.snapshots[0])

    async def WatchJob(self, request: Any, context: Any) -> AsyncIterator[Any]:
        make = jobs_service_pb2.WatchJobResponse
        first = [] if request.resume_token else [make(snapshot=self.snapshots[0], resume_token="0")]
        ended = not request.resume_token and self.snapshots[0].state == job_pb2.JOB_STATE_SUCCEEDED
        rest = [] if ended else self._after(request.resume_token, make)
        async for response in self._disturbed([*first, *rest], request, context):
            yield response

    async def WatchJobs(self, request: Any, context: Any) -> AsyncIterator[Any]:
        self.filters_seen.append(request.filter)
        make = jobs_service_pb2.WatchJobsResponse
        first = []
        if not request.resume_token:
            first = [make(snapshot=job) for job in self.snapshots]
            first.append(make(initial_end=jobs_service_pb2.InitialEnd(), resume_token="0"))
        responses = [*first, *self._after(request.resume_token, make)]
        async for response in self._disturbed(responses, request, context):
            yield response
        await asyncio.Event().wait()

    async def _disturbed(self, responses: Iterable[Any], request: Any, context: Any) -> AsyncIterator[Any]:
        self.tokens_seen.append(request.resume_token)
        self.deadlines_seen.append(context.time_remaining())
        disturbance = self.disturbances.pop(0) if self.disturbances else None
        for number, response in enumerate(responses):
            if disturbance and number == disturbance.after:
                await _disturb(context, disturbance)
            yield response

    def _after(self, token: str, make: Any) -> Iterator[Any]:
        """A bookmark and an event for each position behind the token's."""
        position = int(token or 0)
        for number, event in enumerate(self.events[position:], position + 1):
            yield make(bookmark=jobs_service_pb2.Bookmark(), resume_token=str(number - 1))
            yield make(event=event, resume_token=str(number))


def scripted_log(*disturbances: Disturbance) -> ScriptedLog:
    """A log of twenty steps and the end, whose streams are disturbed in turn."""
    return ScriptedLog(disturbances=list(disturbances))


async def _disturb(context: Any, disturbance: Disturbance) -> None:
    if disturbance.silent:
        await asyncio.Event().wait()
    if disturbance.error:
        await abort(context, disturbance.error)
    await context.abort(grpc.StatusCode.UNAVAILABLE, "Socket closed")
