"""`DatasetsService`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import grpc

from mistudio.datasets.v1 import dataset_pb2
from mistudio.datasets.v1 import datasets_service_pb2 as pb
from mistudio.datasets.v1 import datasets_service_pb2_grpc as pb_grpc
from mistudio_datasets.api.derived_messages import column_statistics_message
from mistudio_datasets.api.inspection_messages import inspection_message
from mistudio_datasets.api.layout_messages import LISTED
from mistudio_datasets.api.overview_messages import batch_message, overview_message
from mistudio_datasets.api.sample_messages import content_messages, samples_message, samples_request
from mistudio_datasets.api.upload_messages import upload_message, upload_request
from mistudio_datasets.domain.datasets import Dataset
from mistudio_datasets.domain.derived import DerivedKind
from mistudio_datasets.service import (
    column_statistics,
    datasets,
    deletion,
    derived,
    downloads,
    inspection,
    samples,
    uploads,
)
from mistudio_datasets.service.damaged_lines import read_damaged_lines
from mistudio_datasets.service.sample_content import get_content
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

    async def InspectDataset(self, request: pb.InspectDatasetRequest, context: Context) -> pb.InspectDatasetResponse:  # noqa: N802  # the RPC's name
        """What the Hub says about a dataset."""
        found = await inspection.inspect(self._tools, request.repo_id, request.revision, request.hub_token)
        return pb.InspectDatasetResponse(inspection=inspection_message(found))

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
            dataset=await self._message(started.resource), job=job_message(started.job), joined=started.joined
        )

    async def UploadDataset(  # noqa: N802  # the RPC's name
        self, request_iterator: AsyncIterator[pb.UploadDatasetRequest], context: Context
    ) -> pb.UploadDatasetResponse:
        """Take a local file in."""
        header = await _header(request_iterator)
        uploaded = await uploads.upload(self._tools, upload_request(header), _chunks(request_iterator, context))
        return pb.UploadDatasetResponse(
            dataset=await self._message(uploaded.started.resource),
            job=job_message(uploaded.started.job),
            size_bytes=uploaded.size_bytes,
        )

    async def GetUpload(self, request: pb.GetUploadRequest, context: Context) -> pb.GetUploadResponse:  # noqa: N802  # the RPC's name
        """How much of an upload is in the store."""
        upload = await uploads.get_upload(self._tools, request.request_id)
        return pb.GetUploadResponse(upload=upload_message(upload))

    async def ReadDamagedLines(  # noqa: N802  # the RPC's name
        self, request: pb.ReadDamagedLinesRequest, context: Context
    ) -> AsyncIterator[pb.ReadDamagedLinesResponse]:
        """The records that could not be read."""
        dataset_id = parse_id("dataset_id", request.dataset_id)
        async for chunk in read_damaged_lines(self._tools, dataset_id):
            yield pb.ReadDamagedLinesResponse(chunk=chunk)

    async def GetDataset(self, request: pb.GetDatasetRequest, context: Context) -> pb.GetDatasetResponse:  # noqa: N802  # the RPC's name
        """One dataset."""
        found = await datasets.describe(self._tools, parse_id("id", request.id))
        return pb.GetDatasetResponse(dataset=overview_message(found))

    async def ListDatasets(self, request: pb.ListDatasetsRequest, context: Context) -> pb.ListDatasetsResponse:  # noqa: N802  # the RPC's name
        """A page of datasets."""
        wanted = PageRequest(request.page_size, request.page_token, request.search, request.filter, request.order_by)
        found = await datasets.list_page(self._tools, wanted)
        return pb.ListDatasetsResponse(
            datasets=[overview_message(overview, LISTED) for overview in found.rows],
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
        return pb.UpdateDatasetResponse(dataset=overview_message(await datasets.update(self._tools, change)))

    async def CancelDataset(self, request: pb.CancelDatasetRequest, context: Context) -> pb.CancelDatasetResponse:  # noqa: N802  # the RPC's name
        """Stop a dataset that is on its way."""
        stopped = await datasets.cancel(self._tools, parse_id("id", request.id))
        return pb.CancelDatasetResponse(dataset=await self._message(stopped.resource), job=job_message(stopped.job))

    async def DeleteDataset(self, request: pb.DeleteDatasetRequest, context: Context) -> pb.DeleteDatasetResponse:  # noqa: N802  # the RPC's name
        """Delete a dataset."""
        dataset_id = parse_id("id", request.id)
        job = await deletion.delete_dataset(self._tools, dataset_id, etag=request.etag, force=request.force)
        return pb.DeleteDatasetResponse(job=job_message(job))

    async def BatchDeleteDatasets(  # noqa: N802  # the RPC's name
        self, request: pb.BatchDeleteDatasetsRequest, context: Context
    ) -> pb.BatchDeleteDatasetsResponse:
        """Delete datasets, each on its own."""
        return batch_message(await deletion.delete_datasets(self._tools, request.ids, force=request.force))

    async def CreateWordIndex(  # noqa: N802  # the RPC's name
        self, request: pb.CreateWordIndexRequest, context: Context
    ) -> pb.CreateWordIndexResponse:
        """Start to build the word index of a dataset."""
        started = await derived.create(self._tools, parse_id("dataset_id", request.dataset_id), DerivedKind.WORD_INDEX)
        dataset = await self._message(started.resource.dataset)
        return pb.CreateWordIndexResponse(dataset=dataset, job=job_message(started.job), joined=started.joined)

    async def CreateColumnStatistics(  # noqa: N802  # the RPC's name
        self, request: pb.CreateColumnStatisticsRequest, context: Context
    ) -> pb.CreateColumnStatisticsResponse:
        """Start to make the statistics of a dataset's columns."""
        dataset_id = parse_id("dataset_id", request.dataset_id)
        started = await derived.create(self._tools, dataset_id, DerivedKind.COLUMN_STATISTICS)
        dataset = await self._message(started.resource.dataset)
        return pb.CreateColumnStatisticsResponse(dataset=dataset, job=job_message(started.job), joined=started.joined)

    async def GetColumnStatistics(  # noqa: N802  # the RPC's name
        self, request: pb.GetColumnStatisticsRequest, context: Context
    ) -> pb.GetColumnStatisticsResponse:
        """The statistics of the columns of a split."""
        dataset_id = parse_id("dataset_id", request.dataset_id)
        found = await column_statistics.get(self._tools, dataset_id, request.split, request.columns)
        columns = map(column_statistics_message, found.columns)
        return pb.GetColumnStatisticsResponse(split=found.split, columns=columns)

    async def ListSamples(self, request: pb.ListSamplesRequest, context: Context) -> pb.ListSamplesResponse:  # noqa: N802  # the RPC's name
        """A page of rows."""
        return samples_message(await samples.list_samples(self._tools, samples_request(request)))

    async def GetSample(  # noqa: N802  # the RPC's name
        self, request: pb.GetSampleRequest, context: Context
    ) -> AsyncIterator[pb.GetSampleResponse]:
        """A whole cell or row."""
        dataset_id = parse_id("dataset_id", request.dataset_id)
        content = await get_content(self._tools, dataset_id, request.split, request.row, request.column)
        for message in content_messages(content):
            yield message

    async def _message(self, dataset: Dataset) -> dataset_pb2.Dataset:
        """A dataset that a use case was about, with what belongs to it."""
        return overview_message(await datasets.overview(self._tools, dataset))


async def _header(requests: AsyncIterator[pb.UploadDatasetRequest]) -> pb.UploadHeader:
    first = await anext(aiter(requests), None)
    if first is None or first.WhichOneof("part") != "header":
        raise MissingField.of("header", "file_name: rows.jsonl")
    return first.header


async def _chunks(requests: AsyncIterator[pb.UploadDatasetRequest], context: Context) -> AsyncIterator[bytes]:
    async for request in requests:
        if request.WhichOneof("part") != "chunk":
            raise InvalidArgument(
                "The upload holds a second header, or a part without content",
                next_step="Send the header first and once, then chunks only",
                field="chunk",
            )
        yield request.chunk
    await _require_client(context)


async def _require_client(context: Context) -> None:
    """A stream that was cut shows its end first and its cancellation later; what is sent fails in between already.

    Raises:
        asyncio.CancelledError: the client has gone, so that what came need not be all.
    """
    try:
        await context.send_initial_metadata(())
    except grpc.aio.InternalError:
        raise asyncio.CancelledError from None
