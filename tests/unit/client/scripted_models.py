"""A models service with one model, loaded on one worker, whose answers are written down, and workers to list."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp

from mistudio.jobs.v1 import job_pb2, jobs_service_pb2
from mistudio.models.v2 import (
    architecture_pb2,
    loading_pb2,
    model_pb2,
    models_service_pb2,
    models_service_pb2_grpc,
    weights_pb2,
)
from mistudio_servicekit import errors
from mistudio_servicekit.interceptors import abort
from tests.unit.client.scripted import JOB_ID, ScriptedLog, a_job

FIRST, SECOND, THIRD = (f"0197f2a4-000{number}-7b1a-9d2f-3e4a5b6c7d8e" for number in range(3))
NF4 = weights_pb2.LoadSettings(
    format=weights_pb2.WEIGHT_FORMAT_NF4, double_quantization=True, compute_dtype=weights_pb2.COMPUTE_DTYPE_BF16
)
FACTS = model_pb2.ModelFacts(
    architecture="MixtralForCausalLM",
    parameters=1_200,
    parameters_by_dtype=[model_pb2.ParameterCount(dtype="BF16", parameters=1_200)],
    layers=2,
    head_size=64,
    intermediate_size=256,
    experts=8,
    quantization="gptq",
    weight_files=model_pb2.WEIGHT_FILES_PICKLE,
    has_tokenizer=True,
)
MODEL = model_pb2.Model(
    id=FIRST,
    name="tiny",
    repo_id="a/tiny",
    status=model_pb2.MODEL_STATUS_READY,
    facts=FACTS,
    labels={"team": "vision", "old": "yes"},
    default_settings=NF4,
    allow_patterns=["*.safetensors"],
    etag="v3",
)
CPU = weights_pb2.Device(id="cpu", name="Xeon", total_bytes=8_000_000_000, free_bytes=2_000_000_000)
KEPT = weights_pb2.UnquantizedModules(
    path="lm_head", modules=1, parameters=500, bytes=1_000, reason="it is the output head"
)
LOADED = loading_pb2.LoadedModel(
    model_id=FIRST,
    repo_id="a/tiny",
    worker="models-gpu-1",
    device="cuda:0",
    settings=NF4,
    memory=weights_pb2.MemoryMeasurement(predicted_weights_bytes=91_000_000, measured_weights_bytes=92_000_000),
    pinned=True,
    in_use=True,
    load_seconds=2.5,
    use_time=Timestamp(seconds=1_780_000_000),
)
EVICTION = loading_pb2.Eviction(
    model_id=SECOND,
    repo_id="b/gone",
    worker="models-gpu-1",
    device="cuda:0",
    settings=NF4,
    freed_bytes=45_000_000,
    for_model_id=FIRST,
    for_repo_id="a/tiny",
    job_id=JOB_ID,
    evict_time=Timestamp(seconds=1_780_000_000),
)
NO_LEAVE = job_pb2.JobError(message="It has pickles only. Ask the operator.", reason="PICKLE_REFUSED")
HOST = loading_pb2.ModelHost(
    worker="models-gpu-1", pool="gpu", host="node-7", devices=[CPU], budget_bytes=5_000_000_000, loaded_bytes=92_000_000
)


def _estimate(format_: weights_pb2.WeightFormat.ValueType, *verdicts: weights_pb2.DeviceVerdict) -> Any:
    return weights_pb2.MemoryEstimate(
        settings=weights_pb2.LoadSettings(format=format_),
        weights_bytes=91_000_000,
        load_peak_bytes=120_000_000,
        run_peak_bytes=150_000_000,
        key_value_bytes=4_000_000,
        activation_bytes=5_000_000,
        unquantized=[KEPT],
        verdicts=verdicts,
        measurements=[
            weights_pb2.MemoryMeasurement(measured_weights_bytes=92_500_000, measured_load_peak_bytes=121_000_000)
        ],
        basis="modules",
    )


FITS = weights_pb2.DeviceVerdict(
    worker="w-1", device=CPU, verdict=weights_pb2.VERDICT_FITS, needed_bytes=150_000_000, available_bytes=2_000_000_000
)
WONT_FIT = weights_pb2.DeviceVerdict(
    worker="w-1",
    device=CPU,
    verdict=weights_pb2.VERDICT_WONT_FIT,
    needed_bytes=3_000_000_000,
    available_bytes=2_000_000_000,
    reason="It needs more than there is.",
    remedy="Load it in NF4: it then needs 1.00 GB",
)
HOPELESS = weights_pb2.DeviceVerdict(
    worker="w-2",
    device=CPU,
    verdict=weights_pb2.VERDICT_WONT_FIT,
    needed_bytes=3_000_000_000,
    available_bytes=1,
    reason="Nothing makes it fit.",
)


REFUSED = weights_pb2.DeviceVerdict(
    worker="w-3",
    device=CPU,
    verdict=weights_pb2.VERDICT_NOT_LOADABLE,
    needed_bytes=1_000_000,
    available_bytes=2_000_000,
    reason="It is of GPUs only",
    remedy="Use a worker with a GPU",
)


@dataclass
class ScriptedModels(models_service_pb2_grpc.ModelsServiceServicer):
    """One model, loaded on one worker; keeps what it was asked."""

    requests: list[Any] = field(default_factory=list)
    refusal: errors.MistudioError | None = None
    evictions: tuple[loading_pb2.Eviction, ...] = ()

    def last(self) -> Any:
        return self.requests[-1]

    async def InspectModel(self, request: Any, context: Any) -> Any:
        found = model_pb2.ModelInspection(
            repo_id=request.repo_id, accessible=True, facts=FACTS, load_problems=[NO_LEAVE]
        )
        return models_service_pb2.InspectModelResponse(inspection=found)

    async def ListModels(self, request: Any, context: Any) -> Any:
        self.requests.append(request)
        models = [MODEL] if request.search in ("", MODEL.repo_id, MODEL.name) else []
        return models_service_pb2.ListModelsResponse(models=models)

    async def GetModel(self, request: Any, context: Any) -> Any:
        return models_service_pb2.GetModelResponse(model=MODEL)

    async def DownloadModel(self, request: Any, context: Any) -> Any:
        self.requests.append(request)
        kept = ["name", "default_settings"] if request.name else []
        return models_service_pb2.DownloadModelResponse(model=MODEL, job=a_job(), joined=bool(kept), not_applied=kept)

    async def UpdateModel(self, request: Any, context: Any) -> Any:
        self.requests.append(request)
        return models_service_pb2.UpdateModelResponse(model=request.model)

    async def BatchDeleteModels(self, request: Any, context: Any) -> Any:
        self.requests.append(request)
        answer = models_service_pb2.BatchDeleteModelsResponse()
        for each in request.ids:
            if each == SECOND:
                error = job_pb2.JobError(message="It is loaded. Unload it.", reason="RESOURCE_IN_USE")
                answer.failures.append(models_service_pb2.ModelDeletionFailure(id=each, error=error))
            else:
                answer.deleted_ids.append(each)
        return answer

    async def EstimateMemory(self, request: Any, context: Any) -> Any:
        self.requests.append(request)
        estimates = [_estimate(weights_pb2.WEIGHT_FORMAT_BF16, WONT_FIT, HOPELESS)]
        if len(request.settings) != 1:
            estimates.append(_estimate(weights_pb2.WEIGHT_FORMAT_NF4, FITS, REFUSED))
        return models_service_pb2.EstimateMemoryResponse(
            estimates=estimates,
            parameters=1_200,
            batch_size=request.batch_size,
            sequence_length=2_048,
            load_problems=[NO_LEAVE],
        )

    async def GetModelArchitecture(self, request: Any, context: Any) -> Any:
        self.requests.append(request)
        points = [
            architecture_pb2.HookPoint(
                kind=architecture_pb2.HOOK_POINT_KIND_MLP_OUT,
                module_path="model.layers.0.mlp",
                side=architecture_pb2.HOOK_SIDE_OUTPUT,
                width=64,
            )
        ]
        layer = architecture_pb2.ModelLayer(
            module_path="model.layers.0", module_class="LlamaDecoderLayer", parameters=700, hook_points=points
        )
        found = architecture_pb2.ModelArchitecture(
            architecture="LlamaForCausalLM",
            layers=[layer],
            extraction=architecture_pb2.Suitability(suitable=True),
            sae_training=architecture_pb2.Suitability(reasons=["It is tiny."]),
        )
        return models_service_pb2.GetModelArchitectureResponse(architecture=found)

    async def LoadModel(self, request: Any, context: Any) -> Any:
        self.requests.append(request)
        if self.refusal:
            await abort(context, self.refusal)
        job = a_job(0, job_pb2.JOB_STATE_QUEUED)
        return models_service_pb2.LoadModelResponse(job=job)

    async def UnloadModel(self, request: Any, context: Any) -> Any:
        self.requests.append(request)
        return models_service_pb2.UnloadModelResponse(unloaded=[LOADED], freed_bytes=92_000_000)

    async def ListLoadedModels(self, request: Any, context: Any) -> Any:
        self.requests.append(request)
        return models_service_pb2.ListLoadedModelsResponse(models=[LOADED], hosts=[HOST], evictions=self.evictions)


class ScriptedJobs(ScriptedLog):
    """A job's log, and two workers."""

    async def ListWorkers(self, request: Any, context: Any) -> Any:
        seen = Timestamp(seconds=1_780_000_000)
        workers = [
            job_pb2.Worker(name="m-1", service="models", pool="gpu", host="node-7", job_id=JOB_ID, seen_time=seen),
            job_pb2.Worker(name="d-1", service="datasets", pool="cpu", host="node-8", seen_time=seen),
        ]
        wanted = [worker for worker in workers if request.pool in ("", worker.pool)]
        return jobs_service_pb2.ListWorkersResponse(workers=wanted)
