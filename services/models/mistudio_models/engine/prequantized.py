"""Models whose files are quantized already: by what, and how many parameters their packed numbers stand for."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from typing import Any

from mistudio_models.engine.headers import StoredTensor

_CONFIG_KEYS = ("quantization_config", "compression_config")
_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_DEFAULT_BITS = 4
_FOUR_BIT_CODES_PER_BYTE = 2
_BITS_OF_WORD = 32
# What a quantization needs beside the codes: scales, offsets, orders, maps.
_CONSTANTS = re.compile(
    r"\.(scales|qzeros|g_idx|SCB|weight_format|absmax|quant_map|nested_absmax|nested_quant_map"
    r"|quant_state\.bitsandbytes__\w+|weight_(shape|scale|scale_inv|zero_point|g_idx|global_scale|block_scale)"
    r"|input_(scale|zero_point|global_scale|activation_scale)|activation_scale(_inv)?|[kvq]_scale)$|_scales$|_scale_inv$"
)


def quantization(config: Mapping[str, Any]) -> str:
    """How the files of a model with this `config.json` are quantized, in one word, such as `gptq` or
    `bitsandbytes-nf4`; empty where they are not.
    """
    settings = quantization_settings(config)
    method = settings.get("quant_method")
    if settings.get("load_in_4bit") is True:
        kind = settings.get("bnb_4bit_quant_type")
        return f"bitsandbytes-{kind if kind in ('nf4', 'fp4') else 'fp4'}"
    if settings.get("load_in_8bit") is True:
        return "bitsandbytes-int8"
    if isinstance(method, str) and _WORD.fullmatch(method):
        return method.lower()
    return "unknown" if settings else ""


def parameters_by_dtype(tensors: Mapping[str, StoredTensor], config: Mapping[str, Any]) -> dict[str, int]:
    """Exact parameters by the dtype that they are stored in.

    Tied weights are stored, and counted, once. Of a quantized model every code counts, however many of them share a
    stored number, and the constants of the quantization do not.

    Args:
        tensors: as the weight files hold them.
        config: the model's `config.json`.
    """
    settings = quantization_settings(config)
    counts: Counter[str] = Counter()
    for name, tensor in tensors.items():
        if not settings:
            counts[tensor.dtype] += tensor.size
        elif not _CONSTANTS.search(name):
            counts[tensor.dtype] += _codes(name, tensor, tensors, settings)
    return dict(counts)


def _codes(name: str, tensor: StoredTensor, tensors: Mapping[str, StoredTensor], settings: Mapping[str, Any]) -> int:
    """How many codes the tensor's numbers hold."""
    if tensor.dtype == "I32" and name.endswith((".qweight", ".weight_packed")):
        return tensor.size * _BITS_OF_WORD // _bits(settings)
    packed_bytes = name.endswith(("_blocks", ".weight_packed")) or f"{name}.absmax" in tensors
    return tensor.size * (_FOUR_BIT_CODES_PER_BYTE if tensor.dtype == "U8" and packed_bytes else 1)


def _bits(settings: Mapping[str, Any]) -> int:
    """Bits of a code that is packed into words of 32; of the first group where there are several."""
    match settings:
        case {"bits": int(bits)} | {"w_bit": int(bits)}:
            said = bits
        case {"config_groups": {"group_0": {"weights": {"num_bits": int(bits)}}}}:
            said = bits
        case _:
            said = _DEFAULT_BITS
    return said if 0 < said <= _BITS_OF_WORD else _DEFAULT_BITS


def quantization_settings(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """What the configuration, or its language part, says of quantization; empty where that is nothing."""
    inner = config.get("text_config")
    for level in (config, inner if isinstance(inner, dict) else {}):
        for key in _CONFIG_KEYS:
            if isinstance(found := level.get(key), dict):
                return found
    return {}
