"""`DatasetsService`."""

from __future__ import annotations

from collections.abc import AsyncIterator

from mistudio.datasets.v1 import datasets_service_pb2 as pb
from mistudio.datasets.v1 import datasets_service_pb2_grpc as pb_grpc
from mistudio_datasets.api.conversion import dataset_message, sample_message, upload_format
from mistudio_datasets.service import datasets, downloads, samples, uploads
from mistudio_datasets.service.tools import Tools
from mistudio_jobs.events import job_message
from mistudio_servicekit.changes import Change
from mistudio_servicekit.errors import InvalidArgument, MissingField
from mistudio_servicekit.interceptors import Context
from mistudio_servicekit.pagination import PageRequest
from mistudio_servicekit.requests import parse_id


class DatasetsServicer(pb_grpc.DatasetsServiceServicer):
    """Datasets over gRPC; the contract is in the protos."""

    def __init__(self, tools: Tools) -> None:
        self._tools = tools

    async def DownloadDataset(  # noqa: N802  # the RPC's name
        self, request: pb.DownloadDatasetRequest, context: Context
    ) -> pb.DownloadDatasetResponse:
        """Start to bring a dataset in from the Hub."""
        wanted = downloads.DownloadRequest(
            repo_id=request.repo_id,
            revision=request.revision,
            config=request.config,
            splits=tuple(request.splits),
            hub_token=request.hub_token,
            name=request.name,
            request_id=request.request_id,
        )
        started = await downloads.download(self._tools, wanted)
        return pb.DownloadDatasetResponse(
            dataset=dataset_message(started.resource), job=job_message(started.job), joined=started.joined
        )

    async def UploadDataset(  # noqa: N802  # the RPC's name
        self, request_iterator: AsyncIterator[pb.UploadDatasetRequest], context: Context
    ) -> pb.UploadDatasetResponse:
        """Take a local file in."""
        header = await _header(request_iterator)
        wanted = uploads.UploadRequest(
            file_name=header.file_name,
            name=header.name,
            format=upload_format(header.format),
            size_bytes=header.size_bytes,
            request_id=header.request_id,
        )
        uploaded = await uploads.upload(self._tools, wanted, _chunks(request_iterator))
        return pb.UploadDatasetResponse(
            dataset=dataset_message(uploaded.started.resource),
            job=job_message(uploaded.started.job),
            size_bytes=uploaded.size_bytes,
        )

    async def GetDataset(self, request: pb.GetDatasetRequest, context: Context) -> pb.GetDatasetResponse:  # noqa: N802  # the RPC's name
        """One dataset."""
        dataset = await datasets.get(self._tools, parse_id("id", request.id))
        return pb.GetDatasetResponse(dataset=dataset_message(dataset))

    async def ListDatasets(self, request: pb.ListDatasetsRequest, context: Context) -> pb.ListDatasetsResponse:  # noqa: N802  # the RPC's name
        """A page of datasets."""
        wanted = PageRequest(request.page_size, request.page_token, request.search, request.filter, request.order_by)
        found = await datasets.list_page(self._tools, wanted)
        return pb.ListDatasetsResponse(
            datasets=map(dataset_message, found.rows),
            next_page_token=found.next_page_token,
            total_size=found.total_size,
        )

    async def UpdateDataset(self, request: pb.UpdateDatasetRequest, context: Context) -> pb.UpdateDatasetResponse:  # noqa: N802  # the RPC's name
        """Rename or label a dataset."""
        change = Change(
            resource="dataset",
            id=parse_id("dataset.id", request.dataset.id),
            paths=tuple(request.update_mask.paths),
            name=request.dataset.name,
            labels=dict(request.dataset.labels),
            etag=request.dataset.etag,
        )
        return pb.UpdateDatasetResponse(dataset=dataset_message(await datasets.update(self._tools, change)))

    async def CancelDataset(self, request: pb.CancelDatasetRequest, context: Context) -> pb.CancelDatasetResponse:  # noqa: N802  # the RPC's name
        """Stop a dataset that is on its way."""
        stopped = await datasets.cancel(self._tools, parse_id("id", request.id))
        return pb.CancelDatasetResponse(dataset=dataset_message(stopped.resource), job=job_message(stopped.job))

    async def DeleteDataset(self, request: pb.DeleteDatasetRequest, context: Context) -> pb.DeleteDatasetResponse:  # noqa: N802  # the RPC's name
        """Delete a dataset."""
        dataset_id = parse_id("id", request.id)
        job = await datasets.delete(self._tools, dataset_id, etag=request.etag, force=request.force)
        return pb.DeleteDatasetResponse(job=job_message(job))

    async def ListSamples(self, request: pb.ListSamplesRequest, context: Context) -> pb.ListSamplesResponse:  # noqa: N802  # the RPC's name
        """A page of rows."""
        wanted = samples.SamplesRequest(
            dataset_id=parse_id("dataset_id", request.dataset_id),
            split=request.split,
            offset=request.offset,
            page_size=request.page_size,
            page_token=request.page_token,
        )
        found = await samples.list_samples(self._tools, wanted)
        return pb.ListSamplesResponse(
            samples=map(sample_message, found.rows),
            next_page_token=found.next_page_token,
            total_size=found.total_size,
        )


async def _header(requests: AsyncIterator[pb.UploadDatasetRequest]) -> pb.UploadHeader:
    first = await anext(aiter(requests), None)
    if first is None or first.WhichOneof("part") != "header":
        raise MissingField.of("header", "file_name: rows.jsonl")
    return first.header


async def _chunks(requests: AsyncIterator[pb.UploadDatasetRequest]) -> AsyncIterator[bytes]:
    async for request in requests:
        if request.WhichOneof("part") != "chunk":
            raise InvalidArgument(
                "The upload holds a second header, or a part without content",
                next_step="Send the header first and once, then chunks only",
                field="chunk",
            )
        yield request.chunk
