"""What models need and take of memory, as clients see it."""

from __future__ import annotations

from collections.abc import Iterable

from mistudio.jobs.v1 import job_pb2
from mistudio.models.v2 import models_service_pb2 as service_pb
from mistudio.models.v2 import weights_pb2 as pb
from mistudio_jobs.events import error_message
from mistudio_models.api.settings_messages import load_settings, settings_message
from mistudio_models.domain.loading import Device, Measurement
from mistudio_models.domain.weights import UnquantizedModules
from mistudio_models.service.estimates import Estimate, EstimateRequest, Estimates
from mistudio_models.service.verdicts import DeviceVerdict
from mistudio_servicekit.errors import MissingField, MistudioError
from mistudio_servicekit.requests import parse_id


def estimate_request(request: service_pb.EstimateMemoryRequest) -> EstimateRequest:
    """The estimate that a client asks for.

    Raises:
        MissingField, MalformedId: no source is given, or an id that names nothing.
        InvalidArgument: a number stands for no format or dtype.
    """
    source = request.WhichOneof("source")
    if source is None:
        raise MissingField(
            "source is empty: neither model_id nor repo_id is given",
            next_step="Set model_id to a model that is here, or repo_id to one on the Hub",
            field="source",
        )
    return EstimateRequest(
        model_id=parse_id("model_id", request.model_id) if source == "model_id" else None,
        repo_id=request.repo_id,
        revision=request.revision,
        hub_token=request.hub_token,
        settings=tuple(load_settings(f"settings[{index}]", each) for index, each in enumerate(request.settings)),
        batch_size=request.batch_size,
        sequence_length=request.sequence_length,
    )


def estimates_message(found: Estimates) -> service_pb.EstimateMemoryResponse:
    """The estimates as clients see them."""
    return service_pb.EstimateMemoryResponse(
        estimates=[_estimate_message(estimate) for estimate in found.estimates],
        parameters=found.parameters,
        batch_size=found.batch_size,
        sequence_length=found.sequence_length,
        load_problems=problem_messages(found.load_problems),
    )


def problem_messages(problems: Iterable[MistudioError]) -> list[job_pb2.JobError]:
    """Why a load would be refused, as clients see it."""
    return [error_message(problem.to_record()) for problem in problems]


def device_message(device: Device) -> pb.Device:
    """A device as clients see it."""
    return pb.Device(
        id=device.id, name=device.name, total_bytes=device.total_bytes, free_bytes=max(0, device.free_bytes)
    )


def measurement_message(worker: str, device: str, measurement: Measurement) -> pb.MemoryMeasurement:
    """What loading took on a device of a worker, beside what was predicted."""
    return pb.MemoryMeasurement(
        worker=worker,
        device=device,
        predicted_weights_bytes=measurement.predicted_weights_bytes,
        measured_weights_bytes=measurement.measured_weights_bytes,
        predicted_load_peak_bytes=measurement.predicted_load_peak_bytes,
        measured_load_peak_bytes=measurement.measured_load_peak_bytes,
    )


def unquantized_messages(unquantized: Iterable[UnquantizedModules]) -> list[pb.UnquantizedModules]:
    """Modules that stay as they are."""
    return [
        pb.UnquantizedModules(
            path=each.path, modules=each.modules, parameters=each.parameters, bytes=each.bytes, reason=each.reason
        )
        for each in unquantized
    ]


def _estimate_message(estimate: Estimate) -> pb.MemoryEstimate:
    need = estimate.need
    return pb.MemoryEstimate(
        settings=settings_message(need.settings),
        weights_bytes=need.weights_bytes,
        load_peak_bytes=need.load_peak_bytes,
        run_peak_bytes=need.run_peak_bytes,
        key_value_bytes=need.key_value_bytes,
        activation_bytes=need.activation_bytes,
        quantized_parameters=need.quantized_parameters,
        unquantized=unquantized_messages(need.unquantized),
        verdicts=[_verdict_message(verdict) for verdict in estimate.verdicts],
        measurements=[measurement_message(past.worker, past.device, past.memory) for past in estimate.measurements],
        basis=need.basis,
    )


def _verdict_message(verdict: DeviceVerdict) -> pb.DeviceVerdict:
    return pb.DeviceVerdict(
        worker=verdict.worker,
        device=device_message(verdict.device),
        verdict=pb.Verdict.Value(f"VERDICT_{verdict.verdict}"),
        needed_bytes=verdict.needed_bytes,
        available_bytes=verdict.available_bytes,
        reason=verdict.reason,
        remedy=verdict.remedy,
    )
