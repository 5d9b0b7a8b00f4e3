"""Between v1's messages and the domain, which is v2's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from mistudio.models.v1 import model_pb2 as pb
from mistudio.models.v1 import models_service_pb2 as service_pb
from mistudio_jobs.events import error_message, timestamp
from mistudio_models.domain.models import Model, ModelStatus
from mistudio_models.domain.weights import LoadSettings, WeightFormat
from mistudio_models.service.v1_models import v1_id
from mistudio_servicekit.errors import InvalidArgument, MistudioError
from mistudio_servicekit.pagination import PageRequest

_FIELDS = {
    "hub_token": "access_token",
    "default_settings.format": "quantization",
    "settings[0].format": "quantization",
}
"""Fields of v1 by their names in v2."""

MAX_LIMIT = 500
MAX_SKIP = 10_000

_STATUSES = {
    ModelStatus.DOWNLOADING: pb.MODEL_STATUS_DOWNLOADING,
    ModelStatus.READY: pb.MODEL_STATUS_READY,
    ModelStatus.ERROR: pb.MODEL_STATUS_ERROR,
    ModelStatus.CANCELLED: pb.MODEL_STATUS_ERROR,
}
_FILTERS = {
    pb.MODEL_STATUS_UNSPECIFIED: "",
    pb.MODEL_STATUS_DOWNLOADING: "status = DOWNLOADING",
    pb.MODEL_STATUS_READY: "status = READY",
    pb.MODEL_STATUS_ERROR: "status != DOWNLOADING AND status != READY",
}
_FORMATS = {
    pb.QUANTIZATION_UNSPECIFIED: WeightFormat.FP16,
    pb.QUANTIZATION_FP32: WeightFormat.FP32,
    pb.QUANTIZATION_FP16: WeightFormat.FP16,
    pb.QUANTIZATION_Q8: WeightFormat.INT8,
    pb.QUANTIZATION_Q4: WeightFormat.NF4,
}
_QUANTIZATIONS = {
    WeightFormat.FP32: pb.QUANTIZATION_FP32,
    WeightFormat.FP16: pb.QUANTIZATION_FP16,
    WeightFormat.BF16: pb.QUANTIZATION_FP16,
    WeightFormat.INT8: pb.QUANTIZATION_Q8,
    WeightFormat.FP4: pb.QUANTIZATION_Q4,
    WeightFormat.NF4: pb.QUANTIZATION_Q4,
}
"""v1 has one name for the 16-bit formats, and one for the 4-bit ones."""


def model_message(model: Model, percent: float) -> pb.Model:
    """The model as clients of v1 see it."""
    return pb.Model(
        id=v1_id(model.id),
        name=model.name,
        repo_id=model.repo_id,
        architecture=model.facts.architecture,
        params_count=model.facts.parameters,
        quantization=_QUANTIZATIONS[model.default_settings.settled(model.facts.parameters_by_dtype).format],
        status=_STATUSES[model.status],
        progress=percent,
        error_message=_error_text(model),
        disk_size_bytes=model.size_bytes,
        created_at=timestamp(model.create_time),
        updated_at=timestamp(model.update_time),
    )


def info_message(model: Model, percent: float) -> service_pb.GetModelInfoResponse:
    """What the model is, as clients of v1 see it."""
    facts = model.facts
    return service_pb.GetModelInfoResponse(
        model=model_message(model, percent),
        num_layers=facts.layers,
        hidden_size=facts.hidden_size,
        num_attention_heads=facts.attention_heads,
        vocab_size=facts.vocabulary_size,
        max_position_embeddings=facts.context_length,
    )


def settings_of(quantization: pb.Quantization.ValueType) -> LoadSettings:
    """How a model is loaded that has this quantization in v1.

    Raises:
        InvalidArgument: it is not offered any more, or never was.
    """
    if quantization not in _FORMATS:
        known = quantization in pb.Quantization.values()
        named = pb.Quantization.Name(quantization) if known else str(quantization)
        offered = ", ".join(pb.Quantization.Name(each) for each in _FORMATS if each)
        raise InvalidArgument(
            f"quantization is {named}, which is not offered", next_step=f"Use {offered}", field="quantization"
        )
    return LoadSettings(_FORMATS[quantization])


@contextmanager
def old_field_names() -> Iterator[None]:
    """Inside the block, errors name the fields of v1."""
    try:
        yield
    except MistudioError as error:
        error.field = _FIELDS.get(error.field, error.field)
        raise


def page_request(request: service_pb.ListModelsRequest) -> PageRequest:
    """The page that a client of v1 asks for.

    Raises:
        InvalidArgument: a limit, skip or status that cannot be.
    """
    _check_range("limit", request.limit, MAX_LIMIT)
    _check_range("skip", request.skip, MAX_SKIP)
    if request.status not in _FILTERS:
        offered = ", ".join(pb.ModelStatus.Name(each) for each in _FILTERS)
        raise InvalidArgument(f"status is {request.status}, which is none", next_step=f"Use {offered}", field="status")
    return PageRequest(
        page_size=request.limit, search=request.search, filter=_FILTERS[request.status], skip=request.skip
    )


def _check_range(field: str, value: int, most: int) -> None:
    if not 0 <= value <= most:
        raise InvalidArgument(f"{field} is {value:,}", next_step=f"Use 0 to {most:,}", field=field)


def _error_text(model: Model) -> str:
    if model.status is ModelStatus.CANCELLED:
        return "The download was cancelled. Download the model again."
    return error_message(model.error).message if model.error else ""
