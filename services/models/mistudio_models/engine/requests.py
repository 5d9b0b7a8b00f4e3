"""What the service asks of the engine, answered in a child process of its own. Everything goes in and out as JSON.

Each function is a job's `Handler`. A model comes as `folder`, where it lies, or as `outline` (`Outline.to_json`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mistudio_jobs.handler import JobContext
from mistudio_models.domain.weights import LoadSettings, Need
from mistudio_models.engine.architecture import architecture as architecture_of
from mistudio_models.engine.folder import FolderSource
from mistudio_models.engine.memory import needs
from mistudio_models.engine.outline import Outline, read_outline
from mistudio_models.engine.quantized_files import quantization_refusal
from mistudio_models.engine.skeleton import skeleton
from mistudio_servicekit.errors import ArchitectureUnsupported


def estimate(payload: Mapping[str, Any], context: JobContext) -> Mapping[str, Any]:
    """What a model needs under each of `payload["settings"]`, for each of `payload["loads"]`: what it runs, and where.

    A load names `device_type`, `batch_size` and `sequence_length`.

    Returns:
        `needs`: for each load a list with the need under each of the settings (`Need.to_json`), and `parameters` of
        the model.

    Raises:
        MalformedFile: its configuration or weight headers cannot be those of a model.
        WeightsMissing: no installed code knows it, nor do weight headers tell.
    """
    outline = _outline(payload)
    settings = [LoadSettings.from_json(each) for each in payload["settings"]]
    found = [_needs(outline, settings, load) for load in payload["loads"]]
    return {"needs": [[need.to_json() for need in each] for each in found], "parameters": _parameters(outline)}


def architecture(payload: Mapping[str, Any], context: JobContext) -> Mapping[str, Any]:
    """What a model is made of.

    Returns:
        `architecture`: `Architecture.to_json`.

    Raises:
        ArchitectureUnsupported: no installed code knows it.
        MalformedFile: its configuration or weight headers cannot be those of a model.
    """
    return {"architecture": architecture_of(_outline(payload)).to_json()}


def quantization(payload: Mapping[str, Any], context: JobContext) -> Mapping[str, Any]:
    """Whether weights that are quantized in their files can be loaded on each of `payload["device_types"]`.

    Returns:
        `refusals`: why not (`MistudioError.to_record`), by the device types where they cannot.

    Raises:
        MalformedFile: the model's configuration or weight headers do not parse.
    """
    outline = _outline(payload)
    found = {device_type: quantization_refusal(outline, device_type) for device_type in payload["device_types"]}
    return {"refusals": {device_type: refusal.to_record() for device_type, refusal in found.items() if refusal}}


def _outline(payload: Mapping[str, Any]) -> Outline:
    if "outline" in payload:
        return Outline.from_json(payload["outline"])
    return read_outline(FolderSource(Path(payload["folder"])))


def _needs(outline: Outline, settings: Sequence[LoadSettings], load: Mapping[str, Any]) -> Sequence[Need]:
    found = needs(outline, settings, **load)
    # Files that are quantized already are held as they are, whatever is asked.
    return [*found] * len(settings) if outline.quantization else found


def _parameters(outline: Outline) -> int:
    """Each counted once where weights are tied; as many as the files hold where these are quantized, or all we know."""
    stored = sum(outline.parameters_by_dtype.values())
    if outline.quantization and stored:
        return stored
    try:
        return sum(parameter.numel() for parameter in skeleton(outline).parameters())
    except ArchitectureUnsupported:
        return stored
