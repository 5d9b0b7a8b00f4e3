"""Models here and on the Hub, as rows of tables and as lists of facts."""

from __future__ import annotations

from collections.abc import Sequence

from mistudio.models.v2 import model_pb2, weights_pb2
from mistudio_client.cli.choices import COMPUTE_DTYPES, WEIGHT_FORMATS, written
from mistudio_client.cli.rendering.facts import Facts, ending, known_count, known_size, origin, problem_facts
from mistudio_client.cli.rendering.formats import byte_size, moment, number

MODEL_COLUMNS = ("id", "name", "status", "architecture", "parameters", "size", "created")
MODEL_NUMERIC = "parameters size"

_WEIGHT_FILES = {
    model_pb2.WEIGHT_FILES_SAFETENSORS: "safetensors",
    model_pb2.WEIGHT_FILES_PICKLE: "pickles only, which can run code",
    model_pb2.WEIGHT_FILES_OTHER: "none that can be loaded",
    model_pb2.WEIGHT_FILES_NONE: "none",
}


def model_row(model: model_pb2.Model) -> Sequence[str]:
    """A model's cells for `MODEL_COLUMNS`."""
    facts = model.facts
    figures = (facts.architecture, known_count(facts.parameters), known_size(model.size_bytes))
    return (model.id, model.name, model_status(model), *figures, moment(model.create_time))


def model_facts(model: model_pb2.Model) -> Facts:
    """Everything about a model."""
    return [
        ("id", model.id),
        ("name", model.name),
        ("status", model_status(model)),
        ("error", model.error.message),
        *origin(model.repo_id, model.revision, model.commit),
        ("only files", ", ".join(model.allow_patterns)),
        ("without files", ", ".join(model.deny_patterns)),
        ("size", known_size(model.size_bytes)),
        *architecture_facts(model.facts),
        ("loads by default in", settings_text(model.default_settings)),
        *ending(model.labels, model.job_id),
    ]


def model_status(model: model_pb2.Model) -> str:
    """The status without its prefix."""
    return model_pb2.ModelStatus.Name(model.status).removeprefix("MODEL_STATUS_")


def inspection_facts(inspection: model_pb2.ModelInspection) -> Facts:
    """What the Hub says about a model."""
    gate = model_pb2.Gate.Name(inspection.gate).removeprefix("GATE_").lower()
    selected = sum(file.selected for file in inspection.files)
    access = "yes" if inspection.accessible else f"no: {inspection.access_problem}"
    return [
        *origin(inspection.repo_id, inspection.revision, inspection.commit),
        ("gate", gate),
        ("private", "yes" if inspection.private else ""),
        ("accessible", access),
        *problem_facts(inspection.load_problems),
        ("download", f"{byte_size(inspection.download_bytes)}, {selected} of {len(inspection.files)} files"),
        *(architecture_facts(inspection.facts) if inspection.HasField("facts") else []),
    ]


def architecture_facts(facts: model_pb2.ModelFacts) -> Facts:
    """What a model is; figures that are not known are left out."""
    by_dtype = ", ".join(f"{number(each.parameters)} {each.dtype}" for each in facts.parameters_by_dtype)
    return [
        ("architecture", facts.architecture or facts.model_type),
        ("parameters", by_dtype or known_count(facts.parameters)),
        ("weights", _WEIGHT_FILES.get(facts.weight_files, "")),
        ("quantized", facts.quantization),
        ("layers", known_count(facts.layers)),
        ("hidden size", known_count(facts.hidden_size)),
        ("inside the MLP", known_count(facts.intermediate_size)),
        ("experts", known_count(facts.experts)),
        ("attention heads", known_count(facts.attention_heads)),
        ("key and value heads", known_count(facts.key_value_heads)),
        ("width of a head", known_count(facts.head_size)),
        ("context length", known_count(facts.context_length)),
        ("vocabulary", known_count(facts.vocabulary_size)),
        ("tokenizer", "yes" if facts.has_tokenizer else "none"),
        ("chat template", "yes" if facts.has_chat_template else ""),
        ("remote code", "needed" if facts.needs_remote_code else ""),
    ]


def settings_text(settings: weights_pb2.LoadSettings) -> str:
    """How a model is held, as it is written on a command line: `nf4 double, computing in bf16`; empty if not said."""
    form = " ".join(
        part for part in (written(WEIGHT_FORMATS, settings.format), "double" * settings.double_quantization) if part
    )
    dtype = written(COMPUTE_DTYPES, settings.compute_dtype)
    return f"{form or 'the format of its files'}, computing in {dtype}" if dtype and dtype != form else form
