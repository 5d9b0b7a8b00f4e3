"""`mistudio.jobs.v1.JobsService` of one service: its own jobs. Watching them is the gateway's."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from uuid import UUID

from google.protobuf.json_format import MessageToDict

from mistudio.jobs.v1 import job_pb2 as job_pb
from mistudio.jobs.v1 import jobs_service_pb2 as pb
from mistudio.jobs.v1 import jobs_service_pb2_grpc as pb_grpc
from mistudio_jobs import listing, queue
from mistudio_jobs.engine import JobEngine
from mistudio_jobs.events import attempt_message, job_message, point_message, wait_message, worker_message
from mistudio_jobs.tables import Job
from mistudio_jobs.waiting import Wait
from mistudio_servicekit.errors import MistudioError
from mistudio_servicekit.interceptors import Context
from mistudio_servicekit.pagination import PageRequest
from mistudio_servicekit.requests import check_line, parse_id

_POOL_CHARACTERS = 100


class OnlyAtGateway(MistudioError):
    """A call that the gateway answers, made at a service."""

    code = "UNIMPLEMENTED"


class JobsServicer(pb_grpc.JobsServiceServicer):
    """Serves the jobs of one service.

    Args:
        engine: its engine.
    """

    def __init__(self, engine: JobEngine) -> None:
        self._engine = engine

    async def GetJob(self, request: pb.GetJobRequest, context: Context) -> pb.GetJobResponse:  # noqa: N802 - named by the proto
        """See the proto."""
        job_id = parse_id("id", request.id)
        async with self._engine.transaction() as session:
            job = await self._engine.get(session, job_id)
            message = _with_wait(job, await self._engine.waits(session, [job]))
            message.attempts.extend(map(attempt_message, await queue.attempts(session, job_id)))
        return pb.GetJobResponse(job=message)

    async def ListJobs(self, request: pb.ListJobsRequest, context: Context) -> pb.ListJobsResponse:  # noqa: N802 - named by the proto
        """See the proto."""
        wanted = PageRequest(
            page_size=request.page_size,
            page_token=request.page_token,
            filter=request.filter,
            order_by=request.order_by,
        )
        async with self._engine.transaction() as session:
            found = await listing.list_jobs(session, self._engine.kinds, wanted)
            waits = await self._engine.waits(session, found.rows)
        return pb.ListJobsResponse(
            jobs=[_with_wait(job, waits) for job in found.rows],
            next_page_token=found.next_page_token,
            total_size=found.total_size,
        )

    async def CancelJob(self, request: pb.CancelJobRequest, context: Context) -> pb.CancelJobResponse:  # noqa: N802 - named by the proto
        """See the proto."""
        async with self._engine.transaction() as session:
            job = await self._engine.cancel(session, parse_id("id", request.id))
        return pb.CancelJobResponse(job=job_message(job))

    async def RetryJob(self, request: pb.RetryJobRequest, context: Context) -> pb.RetryJobResponse:  # noqa: N802 - named by the proto
        """See the proto."""
        async with self._engine.transaction() as session:
            job = await self._engine.retry(session, parse_id("id", request.id), MessageToDict(request.settings))
        return pb.RetryJobResponse(job=job_message(job))

    async def GetProgressHistory(  # noqa: N802 - named by the proto
        self, request: pb.GetProgressHistoryRequest, context: Context
    ) -> pb.GetProgressHistoryResponse:
        """See the proto."""
        job_id = parse_id("id", request.id)
        wanted = PageRequest(page_size=request.page_size, page_token=request.page_token)
        async with self._engine.transaction() as session:
            await self._engine.get(session, job_id)
            found = await listing.progress_history(session, job_id, wanted)
        return pb.GetProgressHistoryResponse(
            points=[point_message(point) for point in found.rows], next_page_token=found.next_page_token
        )

    async def ListWorkers(self, request: pb.ListWorkersRequest, context: Context) -> pb.ListWorkersResponse:  # noqa: N802 - named by the proto
        """See the proto."""
        found = await self._engine.workers(None, check_line("pool", request.pool, _POOL_CHARACTERS))
        return pb.ListWorkersResponse(workers=[worker_message(self._engine.service, worker) for worker in found])

    async def WatchJob(  # noqa: N802 - named by the proto
        self, request: pb.WatchJobRequest, context: Context
    ) -> AsyncIterator[pb.WatchJobResponse]:
        """See the proto."""
        raise _only_at_gateway("WatchJob")
        yield  # type: ignore[unreachable]  # makes this method a stream

    async def WatchJobs(  # noqa: N802 - named by the proto
        self, request: pb.WatchJobsRequest, context: Context
    ) -> AsyncIterator[pb.WatchJobsResponse]:
        """See the proto."""
        raise _only_at_gateway("WatchJobs")
        yield  # type: ignore[unreachable]  # makes this method a stream

    async def ListJobEvents(  # noqa: N802 - named by the proto
        self, request: pb.ListJobEventsRequest, context: Context
    ) -> pb.ListJobEventsResponse:
        """See the proto."""
        raise _only_at_gateway("ListJobEvents")


def _with_wait(job: Job, waits: Mapping[UUID, Wait]) -> job_pb.Job:
    message = job_message(job)
    if (wait := waits.get(job.id)) is not None:
        message.wait.CopyFrom(wait_message(wait))
    return message


def _only_at_gateway(method: str) -> OnlyAtGateway:
    return OnlyAtGateway(f"{method} is not answered by a single service", next_step="Call it at the gateway")
