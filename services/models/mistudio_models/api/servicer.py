"""`mistudio.models.v2.ModelsService`: each method converts, calls one use case, converts back."""

from __future__ import annotations

from mistudio.models.v2 import models_service_pb2 as pb
from mistudio.models.v2 import models_service_pb2_grpc as pb_grpc
from mistudio_hub.repository import DEFAULT_REVISION
from mistudio_jobs.events import job_message
from mistudio_models.api.architecture_messages import architecture_message
from mistudio_models.api.batch_messages import batch_message
from mistudio_models.api.conversion import inspection_message, model_change, model_message, page_request
from mistudio_models.api.loading_messages import (
    eviction_message,
    host_message,
    load_request,
    placed_message,
    unload_request,
)
from mistudio_models.api.settings_messages import load_settings
from mistudio_models.api.weights_messages import estimate_request, estimates_message
from mistudio_models.service import (
    architectures,
    deletion,
    downloads,
    estimates,
    hosts,
    inspection,
    loading,
    models,
    unloading,
)
from mistudio_models.service.downloads import DownloadRequest
from mistudio_models.service.models import DEFAULT_SETTINGS
from mistudio_models.service.selection import FilePatterns
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
            patterns=FilePatterns(tuple(request.allow_patterns), tuple(request.deny_patterns)),
            allow_pickle=request.allow_pickle,
            default_settings=load_settings(DEFAULT_SETTINGS, request.default_settings),
        )
        started = await downloads.download(self._tools, wanted)
        return pb.DownloadModelResponse(
            model=model_message(started.resource),
            job=job_message(started.job),
            joined=started.joined,
            not_applied=downloads.not_applied(wanted, started),
        )

    async def GetModel(self, request: pb.GetModelRequest, context: Context) -> pb.GetModelResponse:  # noqa: N802  # named by the proto
        """See the proto."""
        return pb.GetModelResponse(model=model_message(await models.get(self._tools, parse_id("id", request.id))))

    async def ListModels(self, request: pb.ListModelsRequest, context: Context) -> pb.ListModelsResponse:  # noqa: N802  # named by the proto
        """See the proto."""
        found = await models.list_page(self._tools, page_request(request), with_labels=True)
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
        job = await deletion.delete_model(self._tools, model_id, etag=request.etag, force=request.force)
        return pb.DeleteModelResponse(job=job_message(job))

    async def BatchDeleteModels(  # noqa: N802  # named by the proto
        self, request: pb.BatchDeleteModelsRequest, context: Context
    ) -> pb.BatchDeleteModelsResponse:
        """See the proto."""
        return batch_message(await deletion.delete_models(self._tools, request.ids, force=request.force))

    async def EstimateMemory(self, request: pb.EstimateMemoryRequest, context: Context) -> pb.EstimateMemoryResponse:  # noqa: N802  # named by the proto
        """See the proto."""
        return estimates_message(await estimates.estimate(self._tools, estimate_request(request)))

    async def GetModelArchitecture(  # noqa: N802  # named by the proto
        self, request: pb.GetModelArchitectureRequest, context: Context
    ) -> pb.GetModelArchitectureResponse:
        """See the proto."""
        found = await architectures.get(self._tools, parse_id("id", request.id))
        return pb.GetModelArchitectureResponse(architecture=architecture_message(found))

    async def LoadModel(self, request: pb.LoadModelRequest, context: Context) -> pb.LoadModelResponse:  # noqa: N802  # named by the proto
        """See the proto."""
        started = await loading.load(self._tools, load_request(request))
        return pb.LoadModelResponse(
            job=job_message(started.job),
            joined=started.joined,
            loaded=placed_message(started.loaded) if started.loaded else None,
        )

    async def UnloadModel(self, request: pb.UnloadModelRequest, context: Context) -> pb.UnloadModelResponse:  # noqa: N802  # named by the proto
        """See the proto."""
        unloaded = await unloading.unload(self._tools, unload_request(request))
        return pb.UnloadModelResponse(
            unloaded=[placed_message(each) for each in unloaded],
            freed_bytes=sum(each.model.weights_bytes for each in unloaded),
        )

    async def ListLoadedModels(  # noqa: N802  # named by the proto
        self, request: pb.ListLoadedModelsRequest, context: Context
    ) -> pb.ListLoadedModelsResponse:
        """See the proto."""
        model_id = parse_id("model_id", request.model_id) if request.model_id else None
        found = await hosts.list_loaded(self._tools, model_id)
        return pb.ListLoadedModelsResponse(
            models=[placed_message(each) for each in found.models],
            hosts=[host_message(host) for host in found.hosts],
            evictions=[eviction_message(each) for each in found.evictions],
        )
