"""`mistudio.models.v2.ModelsService`: each method converts, calls one use case, converts back."""

from __future__ import annotations

from mistudio.models.v2 import models_service_pb2 as pb
from mistudio.models.v2 import models_service_pb2_grpc as pb_grpc
from mistudio_hub.repository import DEFAULT_REVISION
from mistudio_jobs.events import job_message
from mistudio_models.api.conversion import inspection_message, model_change, model_message, page_request
from mistudio_models.service import downloads, inspection, models
from mistudio_models.service.downloads import DownloadRequest
from mistudio_models.service.tools import Tools
from mistudio_servicekit.interceptors import Context
from mistudio_servicekit.requests import parse_id


class ModelsServicer(pb_grpc.ModelsServiceServicer):
    """Serves models.

    Args:
        tools: what the use cases work with.
    """

    def __init__(self, tools: Tools) -> None:
        self._tools = tools

    async def InspectModel(self, request: pb.InspectModelRequest, context: Context) -> pb.InspectModelResponse:  # noqa: N802  # named by the proto
        """See the proto."""
        found = await inspection.inspect(self._tools, request.repo_id, request.revision, request.hub_token)
        return pb.InspectModelResponse(inspection=inspection_message(found, request.revision or DEFAULT_REVISION))

    async def DownloadModel(self, request: pb.DownloadModelRequest, context: Context) -> pb.DownloadModelResponse:  # noqa: N802  # named by the proto
        """See the proto."""
        wanted = DownloadRequest(
            repo_id=request.repo_id,
            revision=request.revision,
            hub_token=request.hub_token,
            name=request.name,
            request_id=request.request_id,
        )
        started = await downloads.download(self._tools, wanted)
        return pb.DownloadModelResponse(
            model=model_message(started.resource), job=job_message(started.job), joined=started.joined
        )

    async def GetModel(self, request: pb.GetModelRequest, context: Context) -> pb.GetModelResponse:  # noqa: N802  # named by the proto
        """See the proto."""
        return pb.GetModelResponse(model=model_message(await models.get(self._tools, parse_id("id", request.id))))

    async def ListModels(self, request: pb.ListModelsRequest, context: Context) -> pb.ListModelsResponse:  # noqa: N802  # named by the proto
        """See the proto."""
        found = await models.list_page(self._tools, page_request(request))
        return pb.ListModelsResponse(
            models=[model_message(model) for model in found.rows],
            next_page_token=found.next_page_token,
            total_size=found.total_size,
        )

    async def UpdateModel(self, request: pb.UpdateModelRequest, context: Context) -> pb.UpdateModelResponse:  # noqa: N802  # named by the proto
        """See the proto."""
        return pb.UpdateModelResponse(model=model_message(await models.update(self._tools, model_change(request))))

    async def CancelModelDownload(  # noqa: N802  # named by the proto
        self, request: pb.CancelModelDownloadRequest, context: Context
    ) -> pb.CancelModelDownloadResponse:
        """See the proto."""
        stopped = await downloads.cancel(self._tools, parse_id("id", request.id))
        return pb.CancelModelDownloadResponse(model=model_message(stopped.resource), job=job_message(stopped.job))

    async def DeleteModel(self, request: pb.DeleteModelRequest, context: Context) -> pb.DeleteModelResponse:  # noqa: N802  # named by the proto
        """See the proto."""
        model_id = parse_id("id", request.id)
        job = await models.delete(self._tools, model_id, etag=request.etag, force=request.force)
        return pb.DeleteModelResponse(job=job_message(job))
