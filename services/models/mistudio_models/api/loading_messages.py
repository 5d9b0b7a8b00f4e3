"""Models in the memory of workers: between the domain and messages."""

from __future__ import annotations

from collections.abc import Mapping

from mistudio.models.v2 import loading_pb2 as pb
from mistudio.models.v2 import models_service_pb2 as service_pb
from mistudio_jobs.events import timestamp
from mistudio_models.api.settings_messages import load_settings, settings_message
from mistudio_models.api.weights_messages import device_message, measurement_message, unquantized_messages
from mistudio_models.domain.loading import Host
from mistudio_models.service.hosts import Evicted, Placed
from mistudio_models.service.loading import DevicePreference, LoadRequest
from mistudio_models.service.unloading import UnloadRequest
from mistudio_servicekit.errors import InvalidArgument
from mistudio_servicekit.requests import parse_id

_PREFERENCES: Mapping[int, DevicePreference] = {
    pb.DEVICE_PREFERENCE_UNSPECIFIED: DevicePreference.ANY,
    pb.DEVICE_PREFERENCE_GPU: DevicePreference.GPU,
    pb.DEVICE_PREFERENCE_CPU: DevicePreference.CPU,
}


def load_request(request: service_pb.LoadModelRequest) -> LoadRequest:
    """The load that a client asks for.

    Raises:
        MissingField, MalformedId: it names no model.
        InvalidArgument: a number stands for no format, dtype or device.
    """
    preference = _PREFERENCES.get(request.device)
    if preference is None:
        raise InvalidArgument(
            f"device is {request.device}, which stands for nothing", next_step="Use GPU, CPU or none", field="device"
        )
    return LoadRequest(
        model_id=parse_id("id", request.id),
        settings=load_settings("settings", request.settings),
        device=preference,
        pin=request.pin,
        trust_remote_code=request.trust_remote_code,
        request_id=request.request_id,
    )


def unload_request(request: service_pb.UnloadModelRequest) -> UnloadRequest:
    """What a client wants to have unloaded.

    Raises:
        MissingField, MalformedId: it names no model.
        InvalidArgument: a number stands for no format or dtype.
    """
    return UnloadRequest(
        model_id=parse_id("id", request.id),
        worker=request.worker,
        settings=load_settings("settings", request.settings) if request.HasField("settings") else None,
    )


def placed_message(placed: Placed) -> pb.LoadedModel:
    """A loaded model and where it is, as clients see it."""
    model = placed.model
    return pb.LoadedModel(
        model_id=str(model.model_id),
        repo_id=model.repo_id,
        worker=placed.worker,
        device=model.device,
        settings=settings_message(model.settings),
        memory=measurement_message(placed.worker, model.device, model.memory),
        unquantized=unquantized_messages(model.unquantized),
        pinned=model.pinned,
        in_use=model.in_use,
        load_seconds=model.load_seconds,
        forward_seconds=model.forward_seconds,
        load_time=timestamp(model.loaded_at),
        use_time=timestamp(model.used_at),
        job_id=str(model.job_id),
        quantization=model.quantization,
    )


def eviction_message(evicted: Evicted) -> pb.Eviction:
    """A model that made room for another one, as clients see it."""
    eviction = evicted.eviction
    return pb.Eviction(
        model_id=str(eviction.model_id),
        repo_id=eviction.repo_id,
        worker=evicted.worker,
        device=eviction.device,
        settings=settings_message(eviction.settings),
        quantization=eviction.quantization,
        freed_bytes=eviction.freed_bytes,
        for_model_id=str(eviction.for_model_id),
        for_repo_id=eviction.for_repo_id,
        job_id=str(eviction.job_id),
        evict_time=timestamp(eviction.evicted_at),
    )


def host_message(host: Host) -> pb.ModelHost:
    """A worker that can hold models, as clients see it."""
    return pb.ModelHost(
        worker=host.worker,
        pool=host.pool,
        host=host.host,
        devices=[device_message(device) for device in host.state.devices],
        budget_bytes=host.state.budget_bytes,
        loaded_bytes=host.state.loaded_bytes,
    )
