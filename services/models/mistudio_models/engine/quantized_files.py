"""Whether files whose weights are quantized already can be loaded on a kind of device: what transformers says of it
before it loads them, where GPTQ, AWQ and others need libraries of their own, or a GPU.
"""

from __future__ import annotations

import copy
import re

import torch
from transformers.quantizers.auto import AutoHfQuantizer

from mistudio_models.engine.devices import CPU
from mistudio_models.engine.faults import FAULTS, typed_fault
from mistudio_models.engine.outline import Outline
from mistudio_models.engine.prequantized import quantization_settings
from mistudio_servicekit.errors import MistudioError, UnsupportedFormat

_ABOUT_DEVICES = re.compile(r"\b(GPUs?|XPU|CUDA|CPU)\b")


def quantization_refusal(outline: Outline, device_type: str) -> MistudioError | None:
    """Why the loader cannot load the model's quantized weights on devices of a type; None where nothing is known.

    Of GPUs it is known where there is one, and otherwise as far as it takes libraries that are not installed.

    Args:
        outline: of the model.
        device_type: `cpu` or `cuda`.
    """
    settings = copy.deepcopy(dict(quantization_settings(outline.config)))
    if not settings:
        return None
    try:
        if not AutoHfQuantizer.supports_quant_method(settings):  # type: ignore[no-untyped-call]  # transformers leaves it untyped
            return _unknown(outline)
        quantizer = AutoHfQuantizer.from_config(settings, pre_quantized=True)
        quantizer.validate_environment(device_map={"": device_type}, weights_only=True)
    except FAULTS as fault:
        return _refusal(fault, outline, device_type)
    return None


def _refusal(fault: Exception, outline: Outline, device_type: str) -> MistudioError | None:
    about_devices = bool(_ABOUT_DEVICES.search(str(fault)))
    if device_type != CPU and about_devices and not torch.cuda.is_available():
        return None  # it says that this process has no GPU
    if device_type == CPU and about_devices:
        return UnsupportedFormat(
            f"The model's weights are quantized as {outline.quantization}, which works on GPUs only, not on a CPU",
            next_step="Load it on a worker with a GPU, or choose a repository whose weights are not quantized",
            metadata={"quantization": outline.quantization},
        )
    return typed_fault(fault, "", f"whose weights are quantized as {outline.quantization}, on {device_type}")


def _unknown(outline: Outline) -> UnsupportedFormat:
    return UnsupportedFormat(
        f"The model's weights are quantized as {outline.quantization}, which the installed transformers does not know",
        next_step="Choose a repository whose weights are not quantized, or are in another way",
        metadata={"quantization": outline.quantization},
    )
