"""`mistudio.models.v1.ModelsService`: the use cases of v2 under the ids and fields of before."""

from __future__ import annotations

from mistudio.models.v1 import model_pb2
from mistudio.models.v1 import models_service_pb2 as pb
from mistudio.models.v1 import models_service_pb2_grpc as pb_grpc
from mistudio_models.api.v1.conversion import info_message, model_message, old_field_names, page_request, settings_of
from mistudio_models.api.v1.deprecation import deprecated
from mistudio_models.domain.models import Model
from mistudio_models.service import deletion, downloads, estimates, models
from mistudio_models.service.downloads import DownloadRequest
from mistudio_models.service.estimates import EstimateRequest
from mistudio_models.service.tools import Tools
from mistudio_models.service.v1_models import percents, resolve
from mistudio_servicekit.interceptors import Context


class V1ModelsServicer(pb_grpc.ModelsServiceServicer):
    """Serves models to clients of v1.

    Args:
        tools: what the use cases work with.
    """

    def __init__(self, tools: Tools) -> None:
        self._tools = tools

    @deprecated
    async def ListModels(self, request: pb.ListModelsRequest, context: Context) -> pb.ListModelsResponse:  # noqa: N802  # named by the proto
        """See the proto."""
        found = await models.list_page(self._tools, page_request(request), with_labels=False)
        percent = await percents(self._tools, found.rows)
        messages = [model_message(model, percent[model.id]) for model in found.rows]
        return pb.ListModelsResponse(models=messages, total=found.total_size)

    @deprecated
    async def GetModel(self, request: pb.GetModelRequest, context: Context) -> pb.GetModelResponse:  # noqa: N802  # named by the proto
        """See the proto."""
        return pb.GetModelResponse(model=await self._message(await self._model(request.id)))

    @deprecated
    async def DownloadModel(self, request: pb.DownloadModelRequest, context: Context) -> pb.DownloadModelResponse:  # noqa: N802  # named by the proto
        """See the proto."""
        wanted = DownloadRequest(
            repo_id=request.repo_id,
            hub_token=request.access_token,
            default_settings=settings_of(request.quantization),
        )
        with old_field_names():
            started = await downloads.download(self._tools, wanted)
        return pb.DownloadModelResponse(model=await self._message(started.resource))

    @deprecated
    async def DeleteModel(self, request: pb.DeleteModelRequest, context: Context) -> pb.DeleteModelResponse:  # noqa: N802  # named by the proto
        """See the proto."""
        await deletion.delete_model(self._tools, await resolve(self._tools, request.id))
        return pb.DeleteModelResponse()

    @deprecated
    async def CancelDownload(self, request: pb.CancelDownloadRequest, context: Context) -> pb.CancelDownloadResponse:  # noqa: N802  # named by the proto
        """See the proto."""
        stopped = await downloads.cancel(self._tools, await resolve(self._tools, request.id))
        return pb.CancelDownloadResponse(model=await self._message(stopped.resource))

    @deprecated
    async def GetModelInfo(self, request: pb.GetModelInfoRequest, context: Context) -> pb.GetModelInfoResponse:  # noqa: N802  # named by the proto
        """See the proto."""
        model = await self._model(request.id)
        return info_message(model, (await percents(self._tools, [model]))[model.id])

    @deprecated
    async def EstimateMemory(self, request: pb.EstimateMemoryRequest, context: Context) -> pb.EstimateMemoryResponse:  # noqa: N802  # named by the proto
        """See the proto."""
        model_id = await resolve(self._tools, request.id)
        wanted = EstimateRequest(model_id=model_id, settings=(settings_of(request.quantization),))
        with old_field_names():
            (estimate,) = (await estimates.estimate(self._tools, wanted)).estimates
        need = estimate.need
        return pb.EstimateMemoryResponse(memory_required_bytes=need.weights_bytes, load_peak_bytes=need.load_peak_bytes)

    async def _model(self, given: str) -> Model:
        return await models.get(self._tools, await resolve(self._tools, given))

    async def _message(self, model: Model) -> model_pb2.Model:
        return model_message(model, (await percents(self._tools, [model]))[model.id])
