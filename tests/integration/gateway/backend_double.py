"""A domain service in small: real gRPC, real event log, jobs in memory, whose lives are played by tests."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID, uuid4

import grpc
from google.protobuf.timestamp_pb2 import Timestamp
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from nats.aio.client import Client

from mistudio.datasets.v1 import datasets_service_pb2, datasets_service_pb2_grpc
from mistudio.jobs.v1 import job_pb2, jobs_service_pb2, jobs_service_pb2_grpc
from mistudio.models.v2 import models_service_pb2, models_service_pb2_grpc
from mistudio_gateway.entries import TERMINAL_VALUES
from mistudio_jobs.events import progress_subject, state_subject
from mistudio_servicekit.errors import DatasetNotReady, JobNotFound, MistudioError
from mistudio_servicekit.filters import choice_of, parse_filter
from mistudio_servicekit.interceptors import CallInterceptor

RUNNING = job_pb2.JOB_STATE_RUNNING
SUCCEEDED = job_pb2.JOB_STATE_SUCCEEDED
FAILED = job_pb2.JOB_STATE_FAILED
RETRY_WAIT = job_pb2.JOB_STATE_RETRY_WAIT
QUEUED = job_pb2.JOB_STATE_QUEUED


class JobScript:
    """One job, played step by step: its service's answer changes first, the event follows, as in the engine."""

    def __init__(self, client: Client, job: job_pb2.Job) -> None:
        self.job = job
        self.events: list[job_pb2.JobEvent] = []
        self._client = client

    @property
    def id(self) -> str:
        return self.job.id

    def commit(self, state: job_pb2.JobState.ValueType) -> job_pb2.JobEvent:
        """The state changes in the service; the returned event is not in the log yet."""
        self.job.state = state
        self.job.version += 1
        if state == RUNNING:
            self.job.attempt += 1
            self.job.ClearField("progress")
        event = self._event()
        event.state_changed.CopyFrom(self.job)
        return event

    def advance(self, done: int) -> job_pb2.JobEvent:
        """The attempt gets on in the service; the returned event is not in the log yet."""
        progress = job_pb2.Progress(done=done, total=1000, unit="rows", fraction=done / 1000)
        progress.position = self.job.progress.position + 1
        self.job.progress.CopyFrom(progress)
        event = self._event()
        event.progress.CopyFrom(progress)
        return event

    async def publish(self, event: job_pb2.JobEvent) -> int:
        """Put an event into the log; its sequence."""
        subject = state_subject if event.HasField("state_changed") else progress_subject
        name = subject(event.service, UUID(event.job_id))
        ack = await self._client.jetstream().publish(name, event.SerializeToString())
        self.events.append(event)
        return ack.seq

    async def turn(self, state: job_pb2.JobState.ValueType) -> int:
        return await self.publish(self.commit(state))

    async def report(self, done: int) -> int:
        return await self.publish(self.advance(done))

    async def live(self, reports: int, attempts: int = 1) -> None:
        """A whole life: `attempts` attempts with `reports` reports each, all but the last in vain."""
        for attempt in range(attempts):
            await self.turn(RUNNING)
            for done in range(1, reports + 1):
                await self.report(done)
            if attempt < attempts - 1:
                await self.turn(RETRY_WAIT)
                await self.turn(QUEUED)
        await self.turn(SUCCEEDED)

    def _event(self) -> job_pb2.JobEvent:
        job = self.job
        event = job_pb2.JobEvent(job_id=job.id, service=job.service, attempt=job.attempt, kind=job.kind)
        event.resource_type, event.resource_id = job.resource_type, job.resource_id
        return event


class BackendDouble(jobs_service_pb2_grpc.JobsServiceServicer):
    """The server of one domain."""

    def __init__(self, name: str, client: Client) -> None:
        self.name, self._client = name, client
        self.scripts: dict[str, JobScript] = {}
        self.workers: list[job_pb2.Worker] = []
        self.datasets = DatasetsDouble()
        self.health = health.aio.HealthServicer()
        self.port = 0
        self._server = self._build()

    def _build(self) -> grpc.aio.Server:
        server = grpc.aio.server(interceptors=[CallInterceptor()], options=[("grpc.so_reuseport", 0)])
        jobs_service_pb2_grpc.add_JobsServiceServicer_to_server(self, server)
        health_pb2_grpc.add_HealthServicer_to_server(self.health, server)
        datasets_service_pb2_grpc.add_DatasetsServiceServicer_to_server(self.datasets, server)
        models_service_pb2_grpc.add_ModelsServiceServicer_to_server(ModelsDouble(), server)
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(FUTURE_SERVICE, FUTURE_METHODS),))
        return server

    async def start(self) -> None:
        self.port = self._server.add_insecure_port(f"127.0.0.1:{self.port}")
        await self.health.set("", health_pb2.HealthCheckResponse.SERVING)
        await self._server.start()

    async def stop(self) -> None:
        await self._server.stop(0)

    async def __aenter__(self) -> BackendDouble:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def new_job(self, *, kind: str = "download", resource_type: str = "dataset", seconds: int = 0) -> JobScript:
        """A queued job, submitted `seconds` after the epoch; its first event is in the log."""
        job = job_pb2.Job(id=str(uuid4()), service=self.name, kind=f"{self.name}.{kind}", resource_id=str(uuid4()))
        job.resource_type, job.state, job.version = resource_type, QUEUED, 0
        job.create_time.CopyFrom(Timestamp(seconds=seconds or len(self.scripts) + 1))
        script = self.scripts[job.id] = JobScript(self._client, job)
        await script.turn(QUEUED)
        return script

    def _job(self, job_id: str) -> job_pb2.Job:
        if job_id not in self.scripts:
            raise JobNotFound.of(job_id)
        return self.scripts[job_id].job

    async def GetJob(self, request: jobs_service_pb2.GetJobRequest, context: Any) -> jobs_service_pb2.GetJobResponse:
        return jobs_service_pb2.GetJobResponse(job=self._job(request.id))

    async def ListWorkers(
        self, request: jobs_service_pb2.ListWorkersRequest, context: Any
    ) -> jobs_service_pb2.ListWorkersResponse:
        wanted = [worker for worker in self.workers if request.pool in ("", worker.pool)]
        return jobs_service_pb2.ListWorkersResponse(workers=wanted)

    def put_worker(self, name: str, pool: str) -> None:
        """One more worker, which tells something of itself."""
        worker = job_pb2.Worker(name=name, service=self.name, pool=pool, host="here")
        worker.state.update({"holds": name})
        self.workers.append(worker)

    async def CancelJob(self, request: Any, context: Any) -> jobs_service_pb2.CancelJobResponse:
        job = self._job(request.id)
        if job.state in TERMINAL_VALUES:
            raise DatasetNotReady("The job has ended", next_step="Look at it", metadata={"subject": job.id})
        await self.scripts[job.id].turn(job_pb2.JOB_STATE_CANCELLED)
        return jobs_service_pb2.CancelJobResponse(job=job)

    async def ListJobs(
        self, request: jobs_service_pb2.ListJobsRequest, context: Any
    ) -> jobs_service_pb2.ListJobsResponse:
        """Keyset pages: the token is the last key."""
        descending = request.order_by != "created_at"
        keys = {(each.job.create_time.seconds, each.id): each.job for each in self.scripts.values()}
        jobs = [keys[key] for key in sorted(keys, reverse=descending) if _matches(keys[key], request.filter)]
        total = len(jobs)
        if request.page_token:
            seconds, _, job_id = request.page_token.partition("/")
            after = (int(seconds), job_id)
            jobs = [job for job in jobs if (_key(job) < after if descending else _key(job) > after)]
        page = jobs[: request.page_size]
        token = "/".join(map(str, _key(page[-1]))) if len(jobs) > len(page) else ""
        return jobs_service_pb2.ListJobsResponse(jobs=page, next_page_token=token, total_size=total)


def _key(job: job_pb2.Job) -> tuple[int, str]:
    return job.create_time.seconds, job.id


def _matches(job: job_pb2.Job, text: str) -> bool:
    states = choice_of(*(name.removeprefix("JOB_STATE_") for name in job_pb2.JobState.keys()))  # noqa: SIM118  # an enum's wrapper, not a dict
    terms = parse_filter(text, {"state": states, "kind": str, "resource_type": str, "resource_id": str})
    facts = {"state": job_pb2.JobState.Name(job.state).removeprefix("JOB_STATE_")}
    return all(term.matches(facts.get(term.field) or getattr(job, term.field)) for term in terms)


class DatasetsDouble(datasets_service_pb2_grpc.DatasetsServiceServicer):
    """Datasets that show what reached them."""

    def __init__(self) -> None:
        self.metadata: dict[str, Any] = {}
        self.remaining: float | None = None
        self.uploads: list[tuple[str, int]] = []
        self.cut = asyncio.Event()
        self._received: asyncio.Queue[int] = asyncio.Queue()
        self.refusal: MistudioError | None = None
        self.held: asyncio.Event | None = None

    def hold(self) -> asyncio.Event:
        """Leave calls without an answer from now on; the event tells that one has come."""
        self.held = asyncio.Event()
        return self.held

    async def wait_for_bytes(self, size: int) -> None:
        """Wait until an upload has brought `size` bytes."""
        while await self._received.get() < size:
            pass

    async def GetDataset(self, request: Any, context: Any) -> datasets_service_pb2.GetDatasetResponse:
        self.metadata, self.remaining = dict(context.invocation_metadata()), context.time_remaining()
        if self.refusal:
            raise self.refusal
        if self.held:
            await self._wait_to_be_cut(self.held)
        await context.send_initial_metadata((("x-initial", "early"),))
        context.set_trailing_metadata((("x-trailing", "late"), ("x-binary-bin", b"\x00\xff")))
        answer = datasets_service_pb2.GetDatasetResponse()
        answer.dataset.id = request.id
        return answer

    async def _wait_to_be_cut(self, arrived: asyncio.Event) -> None:
        arrived.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.cut.set()

    async def UploadDataset(
        self, request_iterator: AsyncIterator[Any], context: Any
    ) -> datasets_service_pb2.UploadDatasetResponse:
        name, size = "", 0
        try:
            async for part in request_iterator:
                name, size = part.header.file_name or name, size + len(part.chunk)
                self._received.put_nowait(size)
            # A cut stream shows its end first and its cancellation after; what is sent fails in between already.
            await context.send_initial_metadata(())
            self.uploads.append((name, size))
        except (asyncio.CancelledError, grpc.aio.InternalError):
            self.cut.set()
            raise
        return datasets_service_pb2.UploadDatasetResponse(size_bytes=size)


class ModelsDouble(models_service_pb2_grpc.ModelsServiceServicer):
    """Models that can be got."""

    async def GetModel(self, request: Any, context: Any) -> models_service_pb2.GetModelResponse:
        answer = models_service_pb2.GetModelResponse()
        answer.model.id = request.id
        return answer


# A service that no stub knows, with every cardinality: what a newer domain service may bring.
FUTURE_SERVICE = "mistudio.trainings.v9.FutureService"


async def _reverse(request: bytes, context: Any) -> bytes:
    return request[::-1]


async def _count(request: bytes, context: Any) -> AsyncIterator[bytes]:
    await context.send_initial_metadata((("x-initial", "early"),))
    for number in range(int(request)):
        yield str(number).encode()
    context.set_trailing_metadata((("x-trailing", "late"),))


async def _join(requests: AsyncIterator[bytes], context: Any) -> bytes:
    return b"+".join([request async for request in requests])


async def _echo(requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
    async for request in requests:
        if request == b"fail":
            raise DatasetNotReady("It is not ready", next_step="Wait", metadata={"subject": "it"})
        yield request.upper()


FUTURE_METHODS: dict[str, Any] = {
    "Reverse": grpc.unary_unary_rpc_method_handler(_reverse),
    "Count": grpc.unary_stream_rpc_method_handler(_count),
    "Join": grpc.stream_unary_rpc_method_handler(_join),
    "Echo": grpc.stream_stream_rpc_method_handler(_echo),
}
