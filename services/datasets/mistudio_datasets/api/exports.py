"""`ExportsService`."""

from __future__ import annotations

from mistudio.datasets.v1 import exports_service_pb2 as pb
from mistudio.datasets.v1 import exports_service_pb2_grpc as pb_grpc
from mistudio_datasets.api.export_messages import export_message
from mistudio_datasets.api.view_messages import view_of
from mistudio_datasets.service import deletion, exports
from mistudio_datasets.service.tools import Tools
from mistudio_jobs.events import job_message
from mistudio_servicekit.interceptors import Context
from mistudio_servicekit.pagination import PageRequest
from mistudio_servicekit.requests import parse_id


class ExportsServicer(pb_grpc.ExportsServiceServicer):
    """Exports over gRPC; the contract is in the protos."""

    def __init__(self, tools: Tools) -> None:
        self._tools = tools

    async def CreateExport(  # noqa: N802  # the RPC's name
        self, request: pb.CreateExportRequest, context: Context
    ) -> pb.CreateExportResponse:
        """Start to write a view of a tokenization as a dataset."""
        wanted = exports.ExportRequest(
            tokenization_id=parse_id("tokenization_id", request.tokenization_id),
            view=view_of(request.view),
            shuffle_seed=request.shuffle_seed if request.HasField("shuffle_seed") else None,
            request_id=request.request_id,
        )
        started = await exports.create(self._tools, wanted)
        return pb.CreateExportResponse(
            export=export_message(started.resource), job=job_message(started.job), joined=started.joined
        )

    async def GetExport(  # noqa: N802  # the RPC's name
        self, request: pb.GetExportRequest, context: Context
    ) -> pb.GetExportResponse:
        """One export."""
        export = await exports.get(self._tools, parse_id("id", request.id))
        return pb.GetExportResponse(export=export_message(export))

    async def ListExports(  # noqa: N802  # the RPC's name
        self, request: pb.ListExportsRequest, context: Context
    ) -> pb.ListExportsResponse:
        """A page of exports."""
        wanted = PageRequest(
            page_size=request.page_size,
            page_token=request.page_token,
            filter=request.filter,
            order_by=request.order_by,
        )
        found = await exports.list_page(self._tools, wanted)
        return pb.ListExportsResponse(
            exports=map(export_message, found.rows),
            next_page_token=found.next_page_token,
            total_size=found.total_size,
        )

    async def CancelExport(  # noqa: N802  # the RPC's name
        self, request: pb.CancelExportRequest, context: Context
    ) -> pb.CancelExportResponse:
        """Stop an export."""
        stopped = await exports.cancel(self._tools, parse_id("id", request.id))
        return pb.CancelExportResponse(export=export_message(stopped.resource), job=job_message(stopped.job))

    async def DeleteExport(  # noqa: N802  # the RPC's name
        self, request: pb.DeleteExportRequest, context: Context
    ) -> pb.DeleteExportResponse:
        """Delete an export."""
        job = await deletion.delete_export(self._tools, parse_id("id", request.id), etag=request.etag)
        return pb.DeleteExportResponse(job=job_message(job))
