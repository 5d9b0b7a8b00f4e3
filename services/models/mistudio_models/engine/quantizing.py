"""Which modules a quantization changes, and which stay, why: one answer for the estimate and for the loader.

Rules of three kinds add up: those of transformers (output head, tied weights, modules kept in 32 bits), those of its
bitsandbytes integration (linear layers and GPT-2's `Conv1D`, no subclasses, no experts that are fused into one tensor),
and our own: layers that bitsandbytes fails on stay as they are.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import BitsAndBytesConfig
from transformers.pytorch_utils import Conv1D
from transformers.quantizers.base import get_keys_to_not_convert
from transformers.quantizers.quantizers_utils import should_convert_module

from mistudio_models.domain.weights import ComputeDtype, LoadSettings

_DTYPES = {
    ComputeDtype.FP32: torch.float32,
    ComputeDtype.FP16: torch.float16,
    ComputeDtype.BF16: torch.bfloat16,
}

BLOCK = 64
"""Weights that share a constant in the 4-bit formats of bitsandbytes."""
_CPU_ROWS = 32
"""Rows that bitsandbytes packs together for the CPU's 4-bit kernel."""


@dataclass(frozen=True)
class Skipped:
    """A module that stays unquantized.

    Attributes:
        path: of the module.
        reason: why it stays, in words.
    """

    path: str
    reason: str


def load_dtype(settings: LoadSettings) -> torch.dtype:
    """The dtype of all that is not quantized, under settings with every default filled in."""
    if settings.format.is_quantized:
        return _DTYPES[settings.compute_dtype]
    return _DTYPES[ComputeDtype(settings.format.value)]


def quantization_config(model: torch.nn.Module, settings: LoadSettings, device_type: str) -> Any:
    """What to give `from_pretrained` as `quantization_config`; None for plain formats.

    Args:
        model: its skeleton, or the model itself before it is quantized.
        settings: with every default filled in.
        device_type: that it is loaded on, `cpu` or `cuda`.
    """
    if not settings.format.is_quantized:
        return None
    kind: Mapping[str, Any] = {"load_in_8bit": True}
    if settings.format.is_four_bit:
        kind = {
            "load_in_4bit": True,
            "bnb_4bit_quant_type": settings.format.value.lower(),
            "bnb_4bit_use_double_quant": settings.double_quantization,
            "bnb_4bit_compute_dtype": load_dtype(settings),
        }
    skips = _patterns(model, settings, device_type)
    return BitsAndBytesConfig(**kind, llm_int8_skip_modules=skips)  # type: ignore[no-untyped-call]  # transformers leaves it untyped


def quantized_modules(
    model: torch.nn.Module, settings: LoadSettings, device_type: str
) -> Mapping[str, torch.nn.Linear | Any]:
    """The modules by path whose weights are quantized; arguments as for `quantization_config`."""
    skips = _patterns(model, settings, device_type) if settings.format.is_quantized else [".*"]
    return {path: module for path, module in _replaceable(model) if should_convert_module(path, skips)}


def skipped_modules(model: torch.nn.Module, settings: LoadSettings, device_type: str) -> Sequence[Skipped]:
    """Every module with weights of its own that stays as it is; none for plain formats.

    Arguments as for `quantization_config`.
    """
    if not settings.format.is_quantized:
        return ()
    quantized = quantized_modules(model, settings, device_type)
    reasons = _linear_reasons(model, settings, device_type)
    return [
        Skipped(path, reasons.get(path) or _other_reason(module))
        for path, module in model.named_modules()
        if path not in quantized and any(True for _ in module.parameters(recurse=False))
    ]


def shape(module: Any) -> tuple[int, int]:
    """Rows and columns of the weight that is quantized: output and input features."""
    rows, columns = module.weight.shape
    return (columns, rows) if isinstance(module, Conv1D) else (rows, columns)


def fails_on_cpu(rows: int, columns: int) -> bool:
    """Whether a 4-bit layer with a weight of this shape fails at its first forward pass on a CPU.

    There bitsandbytes repacks weights for AVX512-BF16: 32 rows at a time, and its constants as so many whole blocks a
    row (`bitsandbytes.functional._convert_weight_packed_for_cpu`). CPUs without AVX512-BF16 have no such limit, and our
    own loads do without repacking, but a model shall be the same on every CPU, for everyone who computes with it.
    """
    return rows % _CPU_ROWS != 0 or columns % BLOCK != 0


def fails_on_cpu_because(rows: int, columns: int) -> str:
    """The reason in words why a layer with a weight of this shape stays unquantized on a CPU."""
    return (
        f"Its weight of {rows} × {columns} does not suit the 4-bit kernels for CPUs, which need output features in "
        f"multiples of {_CPU_ROWS} and input features in multiples of {BLOCK}"
    )


def _replaceable(model: torch.nn.Module) -> Iterator[tuple[str, Any]]:
    """Modules that the bitsandbytes integration of transformers can replace (`replace_with_bnb_linear`)."""
    for path, module in model.named_modules():
        if isinstance(module, Conv1D) or type(module) is torch.nn.Linear:
            yield path, module


def _linear_reasons(model: torch.nn.Module, settings: LoadSettings, device_type: str) -> Mapping[str, str]:
    """Why linear layers stay, by path."""
    named = _named_by_transformers(model)
    reasons = {}
    for path, module in _replaceable(model):
        matching = next((key for key in named if not should_convert_module(path, [key])), None)
        if matching is not None:
            reasons[path] = named[matching]
        elif settings.format.is_four_bit and device_type == "cpu" and fails_on_cpu(*shape(module)):
            reasons[path] = fails_on_cpu_because(*shape(module))
    return reasons


def _named_by_transformers(model: Any) -> Mapping[str, str]:
    """Why transformers leaves modules as they are, by what it matches their paths with."""
    tied = {key.removesuffix(".weight") for pair in model.all_tied_weights_keys.items() for key in pair}
    reasons = {}
    for key in sorted(get_keys_to_not_convert(model)):
        whole = "The last layer stays unquantized for the sake of accuracy"
        reasons[key] = "It shares its weights with another module" if key in tied else whole
    for key in sorted(model._keep_in_fp32_modules or ()):
        reasons[key] = "The architecture needs more than 16 bits here"
    return reasons


def _other_reason(module: torch.nn.Module) -> str:
    if isinstance(module, torch.nn.Linear):
        return f"Its class {type(module).__name__} is a linear layer that bitsandbytes cannot replace"
    if any(parameter.dim() > 2 for parameter in module.parameters(recurse=False)):
        return "Its experts are fused into one tensor, and bitsandbytes quantizes linear layers only"
    return "Only linear layers are quantized"


def _patterns(model: torch.nn.Module, settings: LoadSettings, device_type: str) -> list[str]:
    """What transformers shall leave, in its own notation: regular expressions for the beginning of a path, or its end.

    Paths that differ in numbers alone become one, where all of them stay: transformers tries every one on every module.
    """
    staying = set(_linear_reasons(model, settings, device_type))
    leaving = {numberless(path) for path, _ in _replaceable(model) if path not in staying}
    whole = {path for path in staying if numberless(path) in leaving}
    grouped = {numberless(path) for path in staying - whole}
    patterns = {re.sub(r"\*", r"\\d+", path.replace(".", r"\.")) for path in grouped}
    # What is skipped must be said in full: transformers adds its own list only where it is given none.
    return sorted(patterns | whole | set(_named_by_transformers(model)))


def numberless(path: str) -> str:
    """The path with `*` in place of the numbers of layers and experts."""
    return re.sub(r"(?<=\.)\d+(?=\.|$)|^\d+(?=\.)", "*", path)
