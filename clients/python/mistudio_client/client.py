"""The client: one channel to the gateways, the services' stubs, and what a stub alone does not do."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self
from uuid import uuid4

import grpc

from mistudio.datasets.v1 import (
    dataset_pb2,
    datasets_service_pb2,
    datasets_service_pb2_grpc,
    exports_service_pb2,
    exports_service_pb2_grpc,
    sample_pb2,
    tokenizations_service_pb2,
    tokenizations_service_pb2_grpc,
)
from mistudio.jobs.v1 import job_pb2, jobs_service_pb2, jobs_service_pb2_grpc
from mistudio.models.v2 import models_service_pb2, models_service_pb2_grpc
from mistudio_client.channel import open_channel
from mistudio_client.errors import HistoryCompacted, LogReplaced, MistudioCallError
from mistudio_client.jobs import after, has_ended
from mistudio_client.uploading import OnProgress, ResumedUpload
from mistudio_client.watching import DEFAULT_HEARTBEAT_SECONDS, STREAM_SECONDS, Watch, WatchSettings

if TYPE_CHECKING:
    # These names exist for type checkers only.
    from mistudio.datasets.v1.datasets_service_pb2_grpc import DatasetsServiceAsyncStub
    from mistudio.datasets.v1.exports_service_pb2_grpc import ExportsServiceAsyncStub
    from mistudio.datasets.v1.tokenizations_service_pb2_grpc import TokenizationsServiceAsyncStub
    from mistudio.jobs.v1.jobs_service_pb2_grpc import JobsServiceAsyncStub
    from mistudio.models.v2.models_service_pb2_grpc import ModelsServiceAsyncStub

_SERVICES = [
    module.DESCRIPTOR.services_by_name[name]
    for module, name in (
        (datasets_service_pb2, "DatasetsService"),
        (tokenizations_service_pb2, "TokenizationsService"),
        (exports_service_pb2, "ExportsService"),
        (models_service_pb2, "ModelsService"),
        (jobs_service_pb2, "JobsService"),
    )
]


class Client:
    """A connection to miStudio: `async with Client("127.0.0.1:50050") as client`.

    Unary calls of the stubs have a deadline of 30 s, searches one of 90 s, unless they are given another, and raise
    `MistudioCallError`.
    Streams are best used through `watch_job`, `watch_jobs` and `upload`.

    Args:
        target: host:port of a gateway, or of several replicas, any of which may be away.

    Attributes:
        datasets: stub of `mistudio.datasets.v1.DatasetsService`.
        tokenizations: stub of `mistudio.datasets.v1.TokenizationsService`.
        exports: stub of `mistudio.datasets.v1.ExportsService`.
        models: stub of `mistudio.models.v2.ModelsService`.
        jobs: stub of `mistudio.jobs.v1.JobsService`.
    """

    def __init__(self, target: str | Sequence[str]) -> None:
        targets = [target] if isinstance(target, str) else list(target)
        self.target = ", ".join(targets)
        self._channel = open_channel(targets, _SERVICES)
        self.datasets: DatasetsServiceAsyncStub = datasets_service_pb2_grpc.DatasetsServiceStub(self._channel)
        self.tokenizations: TokenizationsServiceAsyncStub = tokenizations_service_pb2_grpc.TokenizationsServiceStub(
            self._channel
        )
        self.exports: ExportsServiceAsyncStub = exports_service_pb2_grpc.ExportsServiceStub(self._channel)
        self.models: ModelsServiceAsyncStub = models_service_pb2_grpc.ModelsServiceStub(self._channel)
        self.jobs: JobsServiceAsyncStub = jobs_service_pb2_grpc.JobsServiceStub(self._channel)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the channel; running calls are cancelled."""
        await self._channel.close()

    def watch_job(
        self, job_id: str, *, resume_token: str = "", heartbeat_seconds: int = DEFAULT_HEARTBEAT_SECONDS
    ) -> Watch[jobs_service_pb2.WatchJobResponse]:
        """Watch one job: a snapshot (without a token), then its events; ends with its terminal one. See `Watch`."""

        def open_stream(
            token: str,
        ) -> grpc.aio.UnaryStreamCall[jobs_service_pb2.WatchJobRequest, jobs_service_pb2.WatchJobResponse]:
            request = jobs_service_pb2.WatchJobRequest(
                id=job_id, resume_token=token, heartbeat_seconds=heartbeat_seconds
            )
            return self.jobs.WatchJob(request, timeout=STREAM_SECONDS)

        return Watch(open_stream, WatchSettings(self.target, True, heartbeat_seconds), resume_token)

    def watch_jobs(
        self,
        filter: str = "",  # the request field's own name
        *,
        send_initial: bool = False,
        resume_token: str = "",
        heartbeat_seconds: int = DEFAULT_HEARTBEAT_SECONDS,
    ) -> Watch[jobs_service_pb2.WatchJobsResponse]:
        """Watch all jobs that match `filter`, without end. See `Watch`, and `WatchJobsRequest` for the arguments."""

        def open_stream(
            token: str,
        ) -> grpc.aio.UnaryStreamCall[jobs_service_pb2.WatchJobsRequest, jobs_service_pb2.WatchJobsResponse]:
            request = jobs_service_pb2.WatchJobsRequest(
                filter=filter, resume_token=token, send_initial=send_initial, heartbeat_seconds=heartbeat_seconds
            )
            return self.jobs.WatchJobs(request, timeout=STREAM_SECONDS)

        return Watch(open_stream, WatchSettings(self.target, False, heartbeat_seconds), resume_token)

    async def follow(self, job_id: str) -> AsyncGenerator[job_pb2.Job, None]:
        """The job as it is now, then after each thing that happens to it, until it has ended.

        Where the event log cannot tell what happened meanwhile, the next job is the one of a fresh snapshot.
        """
        job = job_pb2.Job(id=job_id)
        while not has_ended(job):
            try:
                async with aclosing(self.watch_job(job_id)) as watch:
                    async for update in watch:
                        job = update.snapshot if update.HasField("snapshot") else after(job, update.event)
                        yield job
                return
            except (HistoryCompacted, LogReplaced):
                continue

    async def wait(self, job: job_pb2.Job | str) -> job_pb2.Job:
        """The job once it has ended; whether well, its `state` tells.

        Raises:
            MistudioCallError: there is no such job, or no gateway answered for long.
        """
        if isinstance(job, str):
            job = (await self.jobs.GetJob(jobs_service_pb2.GetJobRequest(id=job))).job
        if has_ended(job):
            return job
        async with aclosing(self.follow(job.id)) as states:
            async for state in states:
                job = state
        return job

    async def upload(
        self,
        path: Path,
        *,
        name: str = "",
        upload_format: dataset_pb2.UploadFormat.ValueType = dataset_pb2.UPLOAD_FORMAT_UNSPECIFIED,
        request_id: str = "",
        on_progress: OnProgress | None = None,
    ) -> datasets_service_pb2.UploadDatasetResponse:
        """Bring a local file in as a dataset; returns when it is in the store, while a job goes on to read it.

        Memory stays bounded whatever the file's size. Cut, the upload goes on where it was, through any gateway.

        Args:
            path: the file; its name gives the format and the dataset's name unless they are given.
            name: name of the dataset for people.
            upload_format: form of the file.
            request_id: makes the call safe to repeat: what an earlier one has sent of the same file is not sent again.
                By default a fresh one.
            on_progress: told the bytes sent so far and in all.

        Raises:
            MistudioCallError: the upload was refused, or no gateway answered for long.
            OSError: the file cannot be read, or changed meanwhile.
        """
        header = datasets_service_pb2.UploadHeader(
            file_name=path.name, name=name, format=upload_format, request_id=request_id or str(uuid4())
        )
        upload = ResumedUpload(self.datasets, self.target, path, header, on_progress)
        return await upload.run(begun=bool(request_id))

    async def damaged_lines(self, dataset_id: str) -> AsyncIterator[bytes]:
        """The records of a dataset's files that could not be read, as pieces of JSON Lines; nothing if there are none.

        Raises:
            MistudioCallError: there is no such dataset, or it is not READY, or the stream was cut.
        """
        request = datasets_service_pb2.ReadDamagedLinesRequest(dataset_id=dataset_id)
        try:
            async for answer in self.datasets.ReadDamagedLines(request, timeout=STREAM_SECONDS):
                yield answer.chunk
        except grpc.aio.AioRpcError as failure:
            raise MistudioCallError.of(failure, self.target) from None

    async def sample_content(
        self, dataset_id: str, row: int, *, column: str = "", split: str = ""
    ) -> AsyncGenerator[sample_pb2.SampleContent, None]:
        """A whole cell however big it is, or without `column` the whole row as JSON, in pieces; the first has a header.

        Raises:
            MistudioCallError: there is no such cell, or the stream was cut.
        """
        request = datasets_service_pb2.GetSampleRequest(dataset_id=dataset_id, split=split, row=row, column=column)
        try:
            async for answer in self.datasets.GetSample(request, timeout=STREAM_SECONDS):
                yield answer.content
        except grpc.aio.AioRpcError as failure:
            raise MistudioCallError.of(failure, self.target) from None
