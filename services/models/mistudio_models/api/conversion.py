"""Between the domain and messages."""

from __future__ import annotations

from mistudio.models.v2 import model_pb2 as pb
from mistudio.models.v2 import models_service_pb2 as service_pb
from mistudio_jobs.events import error_message, timestamp
from mistudio_models.api.settings_messages import load_settings, settings_message
from mistudio_models.api.weights_messages import problem_messages
from mistudio_models.domain.models import Model, ModelFacts
from mistudio_models.service.inspection import Inspection
from mistudio_models.service.models import DEFAULT_SETTINGS
from mistudio_servicekit.changes import Change
from mistudio_servicekit.pagination import PageRequest
from mistudio_servicekit.requests import etag_of, parse_id

_GATES = {"": pb.GATE_OPEN, "auto": pb.GATE_AUTOMATIC, "manual": pb.GATE_MANUAL}


def model_message(model: Model) -> pb.Model:
    """The model as clients see it."""
    return pb.Model(
        id=str(model.id),
        name=model.name,
        status=pb.ModelStatus.Value(f"MODEL_STATUS_{model.status}"),
        error=error_message(model.error) if model.error else None,
        repo_id=model.repo_id,
        revision=model.revision,
        commit=model.commit,
        facts=facts_message(model.facts),
        size_bytes=model.size_bytes,
        labels=model.labels,
        allow_patterns=model.allow_patterns,
        deny_patterns=model.deny_patterns,
        default_settings=settings_message(model.default_settings),
        epoch=model.epoch,
        job_id=str(model.job_id),
        create_time=timestamp(model.create_time),
        update_time=timestamp(model.update_time),
        etag=etag_of(model.version),
    )


def facts_message(facts: ModelFacts) -> pb.ModelFacts:
    """What a model is, as clients see it."""
    counts = sorted(facts.parameters_by_dtype.items())
    return pb.ModelFacts(
        architecture=facts.architecture,
        model_type=facts.model_type,
        parameters=facts.parameters,
        parameters_by_dtype=[pb.ParameterCount(dtype=dtype, parameters=count) for dtype, count in counts],
        layers=facts.layers,
        hidden_size=facts.hidden_size,
        attention_heads=facts.attention_heads,
        key_value_heads=facts.key_value_heads,
        context_length=facts.context_length,
        vocabulary_size=facts.vocabulary_size,
        has_tokenizer=facts.has_tokenizer,
        has_chat_template=facts.has_chat_template,
        needs_remote_code=facts.needs_remote_code,
        head_size=facts.head_size,
        intermediate_size=facts.intermediate_size,
        experts=facts.experts,
        quantization=facts.quantization,
        weight_files=pb.WeightFiles.Value(f"WEIGHT_FILES_{facts.weight_files}"),
    )


def inspection_message(inspection: Inspection, revision: str) -> pb.ModelInspection:
    """What is said of a model on the Hub; `revision` is what was asked for."""
    found = inspection.found
    selected = {file.path for file in found.selected}
    return pb.ModelInspection(
        repo_id=found.repo.repo_id,
        revision=revision,
        commit=found.repo.commit,
        gate=_GATES.get(found.repo.gated, pb.GATE_MANUAL),
        private=found.repo.private,
        accessible=found.access_problem is None,
        access_problem=found.access_problem.message if found.access_problem else "",
        facts=facts_message(found.facts) if found.facts else None,
        files=[
            pb.ModelFile(path=file.path, size_bytes=file.size, selected=file.path in selected) for file in found.files
        ],
        download_bytes=found.download_bytes,
        load_problems=problem_messages(inspection.load_problems),
    )


def model_change(request: service_pb.UpdateModelRequest) -> Change:
    """The change that a client asks for.

    Raises:
        MissingField, MalformedId: it does not name a model.
        InvalidArgument: its settings name a format or dtype that there is not.
    """
    model = request.model
    return Change(
        resource="model",
        id=parse_id("model.id", model.id),
        paths=tuple(request.update_mask.paths),
        name=model.name,
        labels=dict(model.labels),
        etag=model.etag,
        others={DEFAULT_SETTINGS: load_settings(f"model.{DEFAULT_SETTINGS}", model.default_settings)},
    )


def page_request(request: service_pb.ListModelsRequest) -> PageRequest:
    """The page that a client asks for."""
    return PageRequest(
        page_size=request.page_size,
        page_token=request.page_token,
        search=request.search,
        filter=request.filter,
        order_by=request.order_by,
    )
