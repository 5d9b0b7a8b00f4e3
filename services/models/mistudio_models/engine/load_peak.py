"""What a load holds at its highest moment: the weights that are there already, and what one more needs on its way.

The loader reads one tensor after another from its file into memory of its own (`checkpoint.py`), and transformers
converts, fuses or quantizes it before it reads the next one (`loading_switches.py` keeps threads from running ahead).
So the loading can be followed here, in the same order, with the sizes alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from transformers.core_model_loading import dot_natural_key

from mistudio_models.domain.weights import ComputeDtype, LoadSettings, WeightFormat
from mistudio_models.engine.holding import HeldTensor, Holding
from mistudio_models.engine.outline import Outline, value_bits
from mistudio_models.engine.quantizing import BLOCK

_FLOAT_BYTES = 4
_HALF_BYTES = 2
# What bitsandbytes 0.50 holds at the highest moment of a quantization on a CPU, in bytes a weight, beside the weight in
# the compute dtype; read from its source and measured. `backends.default.ops.quantize_4bit`: scaled weights as floats,
# codes as 32-bit integers, then as bytes, then packed; FP4 looks its codes up, with two 64-bit integers more.
_NF4_WORKING = 10
_FP4_WORKING = 24
# `int8_vectorwise_quant`: the product with the scale, and that rounded, both as floats.
_INT8_WORKING = 8


def load_peak_bytes(outline: Outline, held: Holding, settings: LoadSettings, device_type: str) -> int:
    """Highest bytes on the device while the model is loaded.

    Args:
        outline: of the model.
        held: its weights as they will be held.
        settings: with every default filled in.
        device_type: that it is loaded on, `cpu` or `cuda`.
    """
    stored_itemsize = _stored_itemsize(outline) if device_type == "cpu" else 0
    done = peak = held.stored_twice_bytes
    for tensor in sorted(held.tensors, key=_loading_order):
        done += tensor.bytes
        peak = max(peak, done, done + _beyond(tensor, settings, device_type, stored_itemsize))
    return peak


def _loading_order(held: HeldTensor) -> tuple[bool, Sequence[tuple[int | str, ...]]]:
    """As transformers orders stored tensors. What is stored under another name, and needs nothing on its way, counts as
    there from the beginning: so the peak is not too low.
    """
    is_placed = bool(held.stored_name) or held.quantized or held.fused
    return is_placed, dot_natural_key(held.stored_name or held.name)


def _beyond(held: HeldTensor, settings: LoadSettings, device_type: str, stored_itemsize: int) -> int:
    """Bytes beyond its own final ones that the tensor needs on its way; none if its file has it quantized already."""
    # Read on the host: there, the tensor of the file is beside the one of another dtype that is made of it.
    reading = stored_itemsize if stored_itemsize != held.itemsize else 0
    if held.quantized and settings.format.is_quantized:
        converting = held.values * (reading + held.itemsize) - held.bytes
        quantizing = _quantizing_on_cpu if device_type == "cpu" else _quantizing_on_gpu
        return max(converting, quantizing(held, settings))
    if held.fused and not held.stored_name:
        # The many stored tensors, converted already, are all there beside the one that they become.
        return held.bytes
    return 0 if held.quantized else held.values * reading


def _quantizing_on_cpu(held: HeldTensor, settings: LoadSettings) -> int:
    turned = held.itemsize if held.transposed else 0
    if settings.format is WeightFormat.INT8:
        as_halves = 0 if settings.compute_dtype is ComputeDtype.FP16 and not turned else _HALF_BYTES
        return held.values * (held.itemsize + as_halves + _INT8_WORKING) - held.bytes
    as_floats = 0 if settings.compute_dtype is ComputeDtype.FP32 else _FLOAT_BYTES
    working = _NF4_WORKING if settings.format is WeightFormat.NF4 else _FP4_WORKING
    constants = held.values * _FLOAT_BYTES // BLOCK
    return held.values * (held.itemsize + turned + as_floats + working) + constants - held.bytes


def _quantizing_on_gpu(held: HeldTensor, settings: LoadSettings) -> int:
    """There a kernel writes codes and constants straight where they stay."""
    turned = held.itemsize if held.transposed else 0
    return held.values * (held.itemsize + (_HALF_BYTES if settings.format is WeightFormat.INT8 else turned))


def _stored_itemsize(outline: Outline) -> int:
    """Bytes of a value as most of the model's values are stored; 0 where that is not known."""
    values: Counter[str] = Counter()
    for tensor in outline.tensors.values():
        values[tensor.dtype] += tensor.size
    return value_bits(values.most_common(1)[0][0]) // 8 if values else 0
