"""A model's architecture: its layers, and where their activations are read, found in the model itself.

There is no list of known model types. The model is built on the meta device, its forward pass is followed there, and
what adds what to which residual stream is seen in the sums. So whatever the installed transformers can build is mapped,
at its real sizes, without weights and within seconds.
"""

from __future__ import annotations

import inspect

import torch

from mistudio_models.domain.architecture import Architecture
from mistudio_models.engine.dialects import LanguageConfig
from mistudio_models.engine.layers import find_layers
from mistudio_models.engine.outline import Outline
from mistudio_models.engine.skeleton import skeleton
from mistudio_models.engine.suitability import Findings, extraction, sae_training


def architecture(outline: Outline) -> Architecture:
    """The architecture of the model with this outline.

    Raises:
        ArchitectureUnsupported: no installed code knows its model type, or has a language model of it.
        MalformedFile: its configuration cannot be that of a model.
    """
    model = skeleton(outline)
    config = LanguageConfig(outline.config)
    found = find_layers(model, config.hidden_size)
    findings = Findings(found, _inputs(model), outline.quantization, "auto_map" in outline.config)
    embedding, unembedding = _part(model, "get_input_embeddings"), _part(model, "get_output_embeddings")
    suited = extraction(findings)
    return Architecture(
        architecture=outline.architecture or type(model).__name__,
        model_type=outline.model_type,
        hidden_size=found.width or config.hidden_size,
        vocabulary_size=_rows(embedding) or config.vocabulary_size,
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        parallel_layers=found.parallel,
        tied_embeddings=_tied(embedding, unembedding),
        embedding_path=_path(model, embedding),
        final_norm_path=found.final_norm,
        unembedding_path=_path(model, unembedding),
        layers=found.layers,
        extraction=suited,
        sae_training=sae_training(findings, suited),
    )


def _inputs(model: torch.nn.Module) -> tuple[str, ...]:
    return tuple(inspect.signature(model.forward).parameters)


def _part(model: torch.nn.Module, getter: str) -> torch.nn.Module | None:
    """What transformers' own `getter` of the model gives; None where this model has no such part."""
    try:
        part = getattr(model, getter)()
    except (AttributeError, NotImplementedError):
        return None
    return part if isinstance(part, torch.nn.Module) else None


def _path(model: torch.nn.Module, part: torch.nn.Module | None) -> str:
    return next((path for path, module in model.named_modules() if module is part), "")


def _weight(part: torch.nn.Module | None) -> torch.Tensor | None:
    weight = getattr(part, "weight", None)
    return weight if isinstance(weight, torch.Tensor) else None


def _rows(embedding: torch.nn.Module | None) -> int:
    weight = _weight(embedding)
    return 0 if weight is None else weight.shape[0]


def _tied(embedding: torch.nn.Module | None, unembedding: torch.nn.Module | None) -> bool:
    weight = _weight(embedding)
    return weight is not None and weight is _weight(unembedding)
