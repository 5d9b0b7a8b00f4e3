"""What a model's weights take by the headers of its files alone: where no installed code knows the model, or where the
files' own weights are quantized, so that they are held as they are.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import replace

from mistudio_models.domain.weights import LoadSettings, UnquantizedModules
from mistudio_models.engine.headers import StoredTensor
from mistudio_models.engine.holding import HeldTensor, Holding, quantized_bytes
from mistudio_models.engine.outline import Outline, stored_bytes, value_bits
from mistudio_models.engine.quantizing import fails_on_cpu, fails_on_cpu_because, load_dtype, numberless

# Weights of linear layers lie in numbered layers; embeddings and heads beside them.
_IN_LAYER = re.compile(r"\.\d+\.")
_NOT_LINEAR = re.compile(r"(embed|wte|wpe|norm|\bln|router|expert|\bgate\.weight|conv|lora)", re.IGNORECASE)
# Formats that transformers turns into 16-bit floats while it loads: 8-bit floats on a CPU, and MXFP4 everywhere,
# because its kernels come from the Hub (`quantizers.quantizer_finegrained_fp8`, `quantizer_mxfp4`).
_DEQUANTIZED = {"cpu": frozenset({"fp8", "mxfp4"}), "cuda": frozenset({"mxfp4"})}
_HALF_BYTES = 2
_FLOATS = frozenset({"F32", "F16", "BF16"})
_MOST_CODES_PER_BYTE = 2


def stored_holding(outline: Outline, settings: LoadSettings, device_type: str) -> Holding:
    """How the weights of a model are held whose files are quantized already: as the files have them.

    Args:
        outline: of the model.
        settings: whose compute dtype the unquantized weights get.
        device_type: that it is loaded on, `cpu` or `cuda`.
    """
    if outline.quantization in _DEQUANTIZED[device_type]:
        parameters = sum(outline.parameters_by_dtype.values())
        return Holding((HeldTensor("", parameters, _HALF_BYTES, parameters * _HALF_BYTES),))
    # transformers leaves every weight as it is beside those of bitsandbytes.
    itemsize = 0 if outline.quantization.startswith("bitsandbytes") else load_dtype(settings).itemsize
    return Holding(tuple(_as_stored(name, tensor, itemsize) for name, tensor in outline.tensors.items()))


def _as_stored(name: str, tensor: StoredTensor, itemsize: int) -> HeldTensor:
    """The tensor as it is held; weights and biases that are floats with `itemsize` bytes a value, or as stored if 0."""
    held, stored_itemsize = stored_bytes(tensor), value_bits(tensor.dtype) // 8
    if tensor.dtype not in _FLOATS:
        # As many codes as 4 bits could have: what undoes them needs room for each.
        return HeldTensor(name, held * _MOST_CODES_PER_BYTE, stored_itemsize, held, quantized=True, stored_name=name)
    if itemsize and name.endswith((".weight", ".bias")):
        return HeldTensor(name, tensor.size, itemsize, tensor.size * itemsize, stored_name=name)
    return HeldTensor(name, tensor.size, stored_itemsize, held, stored_name=name)


def header_holding(outline: Outline, settings: LoadSettings, device_type: str) -> Holding:
    """How the weights of an unknown model will be held, by the names and shapes of its tensors.

    Quantized are matrices in numbered layers that are no embeddings, norms, routers or experts: experts count as fused.

    Args:
        outline: of the model.
        settings: with every default filled in.
        device_type: that it is loaded on, `cpu` or `cuda`.
    """
    itemsize = load_dtype(settings).itemsize
    held, staying = [], []
    for name, tensor in outline.tensors.items():
        reason = _stays_because(name, tensor, settings, device_type)
        plain = HeldTensor(name, tensor.size, itemsize, tensor.size * itemsize, stored_name=name)
        if reason:
            staying.append((plain, reason))
            held.append(plain)
        else:
            rows, columns = tensor.shape
            held.append(replace(plain, bytes=quantized_bytes(rows, columns, settings), quantized=True))
    return Holding(tuple(held), tuple(_unquantized(staying)) if settings.format.is_quantized else ())


def _stays_because(name: str, tensor: StoredTensor, settings: LoadSettings, device_type: str) -> str:
    """Why the tensor stays as it is; empty where it is quantized."""
    if not settings.format.is_quantized:
        return "The format is a plain one"
    matrix = len(tensor.shape) == 2 and name.endswith(".weight") and _IN_LAYER.search(name)
    if not matrix or _NOT_LINEAR.search(name):
        return "By its name and shape it is no weight of a linear layer"
    rows, columns = tensor.shape
    fails = settings.format.is_four_bit and device_type == "cpu" and fails_on_cpu(rows, columns)
    return fails_on_cpu_because(rows, columns) if fails else ""


def _unquantized(staying: Iterable[tuple[HeldTensor, str]]) -> Iterator[UnquantizedModules]:
    groups: dict[tuple[str, str], list[HeldTensor]] = defaultdict(list)
    for held, reason in staying:
        groups[numberless(held.name.rpartition(".")[0]), reason].append(held)
    for (path, reason), members in groups.items():
        modules = len({held.name.rpartition(".")[0] for held in members})
        values, bytes_ = sum(held.values for held in members), sum(held.bytes for held in members)
        yield UnquantizedModules(path, modules, values, bytes_, reason)
