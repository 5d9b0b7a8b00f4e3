"""Models on torch's meta device: every module, parameter and buffer with its shape and dtype, and no memory.

Built from the configuration alone, by installed code only: nothing is downloaded, and no code of a repository is run.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from transformers import AutoModel, AutoModelForCausalLM, AutoModelForMaskedLM
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    MODEL_FOR_MASKED_LM_MAPPING,
    MODEL_MAPPING,
)

from mistudio_models.engine.outline import Outline
from mistudio_models.engine.source import malformed
from mistudio_servicekit.errors import ArchitectureUnsupported, MistudioError

# The largest models have some hundred layers, some hundred experts, and 10¹² parameters.
_MOST_LAYERS = 1024
_MOST_EXPERTS = 4096
_MOST_LAYERS_TIMES_EXPERTS = 100_000
_MOST_PARAMETERS = 10**13
_MOST = 2**28
"""No size of a model is larger: not its vocabulary, nor its context."""

_LAYERS = re.compile(r"(layers?|depth|blocks)$")
_EXPERTS = re.compile(r"experts$")
# Whole numbers that are no sizes.
_NO_SIZE = re.compile(r"(theta|base|freq|token_id|token_ids|index|value|version)$")
# What would make transformers fetch code or kernels, or choose another code than that of the model type.
_IGNORED = frozenset(
    {
        "auto_map",
        "quantization_config",
        "compression_config",
        "attn_implementation",
        "_attn_implementation",
        "_attn_implementation_internal",
        "experts_implementation",
        "_experts_implementation",
        "fusion_config",
        "use_pretrained_backbone",
    }
)
# Heads that are not for language: the model beneath them is taken.
_OTHER_HEAD = re.compile(r"(Classification|QuestionAnswering|MultipleChoice|Scoring|RewardModel|PreTraining)$")
# What configurations and models raise when a figure is wrong: they check little, and calculate with what they find.
_FAULTS = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    NotImplementedError,
    RuntimeError,
    StrictDataclassError,
    TypeError,
    ValueError,
)


def skeleton(outline: Outline, dtype: torch.dtype = torch.float32) -> torch.nn.Module:
    """The model on the meta device, in evaluation mode, without its weights.

    Args:
        outline: of the model.
        dtype: that it is loaded in; modules that insist on another one have that.

    Raises:
        ArchitectureUnsupported: no installed code knows its model type, has a language model of it, or can run.
        MalformedFile: its configuration cannot be that of a model.
    """
    config = model_config(outline)
    try:
        with torch.device("meta"):
            model = auto_class(outline).from_config(config, dtype=dtype, trust_remote_code=False)
    except ImportError as fault:
        raise ArchitectureUnsupported(
            f"Models of the type {outline.model_type!r} need a library that is not installed here ({_brief(fault)})",
            next_step="Ask the operator to install it, or choose another model",
            metadata={"model_type": outline.model_type, "architecture": outline.architecture},
        ) from fault
    except _FAULTS as fault:
        raise malformed("config.json", f"describes no model that can be built ({_brief(fault)})") from fault
    parameters = sum(parameter.numel() for parameter in model.parameters())
    if not 0 < parameters <= _MOST_PARAMETERS:
        raise malformed("config.json", f"describes a model of {parameters:,} parameters, which no model has")
    built: torch.nn.Module = model.eval()
    return built


def auto_class(outline: Outline) -> Any:
    """The class of transformers' `Auto…` family that the model is built and loaded with.

    A causal language model where there is one for the model type; the class that the weights were saved from where
    that is a masked language model or the model without a head, so that no weights are left out or made up.

    Raises:
        ArchitectureUnsupported: no installed code has a language model of this type.
        MalformedFile: the configuration cannot be that of a model.
    """
    config_class, saved_from = type(model_config(outline)), outline.architecture
    if saved_from and saved_from in _class_names(MODEL_MAPPING, config_class):
        return AutoModel
    if saved_from and saved_from in _class_names(MODEL_FOR_MASKED_LM_MAPPING, config_class):
        return AutoModelForMaskedLM
    if config_class in MODEL_FOR_CAUSAL_LM_MAPPING and not _OTHER_HEAD.search(saved_from):
        return AutoModelForCausalLM
    if config_class in MODEL_MAPPING:
        return AutoModel
    raise _unsupported(outline, f"models of the type {outline.model_type!r}, but none of language")


def model_config(outline: Outline) -> Any:
    """The model's configuration as transformers' own class, without what would fetch code or kernels, and without
    the quantization of its files.

    Raises:
        ArchitectureUnsupported: no installed code knows its model type.
        MalformedFile: it cannot be that of a model.
    """
    if outline.model_type not in CONFIG_MAPPING:
        raise _unsupported(outline, f"no models of the type {outline.model_type!r}")
    try:
        _check_sizes(outline.config)
        return CONFIG_MAPPING[outline.model_type].from_dict(_without_ignored(outline.config))
    except _FAULTS as fault:
        raise malformed("config.json", f"is no configuration of {outline.model_type!r} ({_brief(fault)})") from fault


def _unsupported(outline: Outline, known: str) -> MistudioError:
    own_code = "auto_map" in outline.config
    return ArchitectureUnsupported(
        f"The installed transformers knows {known} (architecture {outline.architecture or 'not said'!r})",
        next_step="Choose a model whose type transformers knows"
        + (", or load it with its repository's own code where the operator allows that" if own_code else ""),
        metadata={"model_type": outline.model_type, "architecture": outline.architecture},
    )


def _class_names(mapping: Any, config_class: type) -> tuple[str, ...]:
    found = mapping.get(config_class, ())
    return tuple(class_.__name__ for class_ in (found if isinstance(found, tuple) else (found,)))


def _without_ignored(value: Any) -> Any:
    """`value` without ignored keys, however deep; a copy, as configurations take their dictionaries apart."""
    if isinstance(value, Mapping):
        return {key: _without_ignored(inner) for key, inner in value.items() if key not in _IGNORED}
    return [_without_ignored(inner) for inner in value] if isinstance(value, list) else value


def _check_sizes(config: Mapping[str, Any]) -> None:
    """Refuse figures that only a broken or hostile configuration has, before anything is built from them."""
    layers = experts = 0
    for key, size in _whole_numbers(config):
        most = _MOST_LAYERS if _LAYERS.search(key) else _MOST_EXPERTS if _EXPERTS.search(key) else _MOST
        if size > most and not _NO_SIZE.search(key):
            raise malformed("config.json", f"says {key} is {size}, more than the {most:,} that any model has")
        layers = max(layers, size if _LAYERS.search(key) else 0)
        experts = max(experts, size if _EXPERTS.search(key) else 0)
    if layers * experts > _MOST_LAYERS_TIMES_EXPERTS:
        raise malformed("config.json", f"says that {layers} layers have {experts} experts each, more than any model")


def _whole_numbers(config: Mapping[str, Any]) -> Iterator[tuple[str, int]]:
    """Every whole number in the configuration with its key, however deep."""
    for key, value in config.items():
        if isinstance(value, Mapping):
            yield from _whole_numbers(value)
        elif type(value) is int:
            yield key, value


def _brief(fault: Exception) -> str:
    """The fault in a line, for the error's text."""
    lines = str(fault).split("\n")
    text = " ".join(line.strip() for line in lines if line.strip())
    return f"{type(fault).__name__}: {text[:200]}"
